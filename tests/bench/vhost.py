"""vhost-user ports: what they cost at rest, how soon one carries frames, what offloads are worth.

The guests are those of guests.cc, and real ones in tcp_of_vms(). vmqd is the daemon itself, and its
worker has one CPU of two.
"""

import contextlib
import pathlib
import re
import subprocess
import time

from tests.bench.processes import (EDGE_CPU, HELPERS, SWITCH_CPU, Broken, Figure, Helper,
                                   idle_shares, median, wired_nic)
from tests.lab import guest_image
from tests.lab.api import Client, messages
from tests.lab.endpoints import wait_until
from tests.lab.guest import NO_OFFLOADS
from tests.lab.lab import Lab
from tests.lab.transfer import PORT, accepting

WORTH_BOUND = 5  # times
IDLE_SECONDS, IDLE_BOUND = 10, 1  # percent of one CPU
MEMORY_BOUND = 60  # MiB
PORT_ADD_BOUND = 10  # ms
PORT_ADDS = 5  # a round and client
SEND_SECONDS, SEND_RATE = 0.5, 10000
TCP_SECONDS = 2
MAC = "02:00:00:00:00:01"  # of guests.cc's guest 1


def switch(stack):
    """A lab whose vmqd has one uplink with one queue, and silence behind that."""
    lab = Lab()
    stack.callback(lab.close)
    lab.nic("nic0", queues=1)
    lab.start("--processor-set", SWITCH_CPU, uplink="nic0")
    return lab


def guests(stack, *arguments, namespace=None):
    helper = Helper(HELPERS / "vmqd_bench_guests", *arguments, namespace=namespace)
    stack.callback(helper.close)
    return helper


def plug(lab, helper, number, kind):
    name = f"vm{number}"
    lab.cli("port", "add", name, "--vhost-user", name, "--mac", f"02:00:00:00:00:0{number}")
    helper.ask("connect", number, lab.daemon.sockets / name, kind)
    lab.wait_up(name)


def times(values, unit=""):
    return f"{len(values)} times, {min(values):.3g}-{max(values):.3g}{unit}"


def worth(name, rates):
    """Figure of what offloads are worth; rates: ([with], [without]) in bytes a second."""
    ratios = [with_them / without for with_them, without in zip(*rates)]
    absolute = " against ".join(f"{median(values) * 8e-9:.2f}" for values in rates)
    return Figure(name, median(ratios), "times", WORTH_BOUND, at_least=True,
                  note=f"{times(ratios)}; {absolute} Gbit/s",
                  samples={"ratio": ratios, "with": rates[0], "without": rates[1]})


def move_in(lab, helper, number, kind):
    """A namespace behind a tap that is guest `number` of guests.cc."""
    plug(lab, helper, number, kind)
    helper.ask("tap", number, f"t{number}")
    namespace = lab.namespace(f"vm{number}", ipv6=False)
    lab.host.ip("link", "set", f"t{number}", "netns", namespace.name, "name", "eth0")
    namespace.ip("link", "set", "eth0", "address", f"02:00:00:00:00:0{number}")
    namespace.up("eth0")
    namespace.address("eth0", f"10.0.0.{number}/24")
    return namespace


def native_stream(helper, sender, receiver, number):
    """Bytes a second of a TCP stream between two namespaces."""
    program = HELPERS / "vmqd_bench_stream"
    helper.tell("pump", TCP_SECONDS + 2)
    with contextlib.ExitStack() as stack:
        ends = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in (
            receiver.command(program, "receive", PORT),
            sender.command(program, "send", f"10.0.0.{number}", PORT, TCP_SECONDS))]
        for end in ends:
            stack.enter_context(end)
            stack.callback(end.kill)
        try:
            said = ends[0].communicate(timeout=10 * TCP_SECONDS)[0]
        except subprocess.TimeoutExpired:
            raise Broken("vhost-tcp: the stream does not end") from None
    helper.answer()
    return rate_of(said)


def rate_of(said):
    """Bytes a second, of what stream.cc's receiver said."""
    got = re.search(r"bytes (\d+) ns (\d+)", said)
    if not got:
        raise Broken("a stream's receiver said nothing")
    return 1e9 * int(got[1]) / int(got[2])


def tcp(rounds, say):
    """A TCP stream between two namespaces behind virtqueues, with all offloads and without any."""
    with contextlib.ExitStack() as stack:
        lab = switch(stack)
        helper = guests(stack, namespace=lab.host)
        pairs = [([move_in(lab, helper, number, kind) for number in numbers], numbers[1])
                 for kind, numbers in (("large", (1, 2)), ("plain", (3, 4)))]
        rates = ([], [])
        for number in range(rounds):
            for rate, (ends, to) in zip(rates, pairs):
                rate.append(native_stream(helper, *ends, to))
            say(f"vhost-tcp: round {number + 1} of {rounds}: "
                f"{rates[0][-1] / rates[1][-1]:.2f} times")
        return [worth("TCP guest to guest, offloads over none", rates)]


def status(pid, fields):
    """Fields of /proc/PID/status that are in kB, in MiB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {field: int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) / 1024
            for field in fields}


def guest_memory(pid):
    """What a process has resident of the memory of the guests of guests.cc, in MiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    sizes = re.findall(r"memfd:guest.*\n(?:(?!Rss).*\n)*Rss:\s+(\d+)", text)
    return sum(map(int, sizes)) / 1024


def rest(rounds, say):
    """Two ports, both connected: memory, and CPU time while nothing is sent."""
    with contextlib.ExitStack() as stack:
        lab = switch(stack)
        helper = guests(stack, "-c", EDGE_CPU)
        for number in (1, 2):
            plug(lab, helper, number, "large")
        time.sleep(3)
        pid = lab.daemon.pid
        shares = idle_shares(pid, min(rounds, 3), IDLE_SECONDS, "vhost-rest", say)
        kinds = status(pid, ("RssAnon", "RssFile", "RssShmem"))
        lent = guest_memory(pid)
        note = ", ".join(f"{kind} {size:.1f}" for kind, size in kinds.items())
        say(f"vhost-rest: {note}, of which {lent:.1f} MiB are the guests'")
        return [Figure("idle daemon, 2 vhost-user ports", median(shares), "% of a CPU", IDLE_BOUND,
                       note="CPU time of all its threads", samples={"percent": shares}),
                Figure("memory, 2 vhost-user ports, 1 queue", sum(kinds.values()) - lent, "MiB",
                       MEMORY_BOUND, note=f"{note}; without the guests' {lent:.1f}")]


class Adding:
    """A switch on whose wire somebody sends to a guest whose VMM listens already."""

    def __init__(self, stack):
        self.lab = Lab()
        stack.callback(self.lab.close)
        self.nic = wired_nic(stack, self.lab)
        self.lab.start("--processor-set", SWITCH_CPU, uplink="nic0")
        self.guests = guests(stack, "-c", EDGE_CPU)
        self.client = stack.enter_context(Client(self.lab.daemon.address))
        self.client.GetSwitch()

    def by_grpc(self):
        port = messages().Port(kind=messages().VHOST_USER, macs=[MAC], socket="vm",
                               vhost_role=messages().VMM_LISTENS)
        called = time.monotonic_ns()
        self.client.CreatePort(port_id="vm", port=port)
        return called, time.monotonic_ns()

    def by_cli(self):
        called = time.monotonic_ns()
        self.lab.cli("port", "add", "vm", "--vhost-user", "vm", "--vhost-role", "vmm-listens",
                     "--mac", MAC)
        return called, time.monotonic_ns()

    def time(self, add):
        """Milliseconds from the call of add() to {returned, connected, started, first}."""
        self.guests.ask("listen", 1, self.lab.daemon.sockets / "vm", "large")
        self.nic.tell("send", SEND_SECONDS, SEND_RATE, 60, MAC)
        time.sleep(0.1)
        self.guests.tell("first", 1)
        called, returned = add()
        marks = {"returned": returned} | self.guests.answer()
        self.nic.answer()
        self.lab.cli("port", "del", "vm")
        self.guests.ask("close", 1)
        return {name: (mark - called) / 1e6 for name, mark in marks.items()}


def port_add(rounds, say):
    with contextlib.ExitStack() as stack:
        adding = Adding(stack)
        seen = {"gRPC": [], "vmqd-cli": []}
        for number in range(rounds):
            for _ in range(PORT_ADDS):
                seen["gRPC"].append(adding.time(adding.by_grpc))
                seen["vmqd-cli"].append(adding.time(adding.by_cli))
            say(f"vhost-add: round {number + 1} of {rounds}: "
                + ", with vmqd-cli ".join(f"{got[-1]['first']:.1f} ms" for got in seen.values()))
        figures = []
        for client, got in seen.items():
            first = [each["first"] for each in got]
            steps = ", ".join(f"{name} {median([each[name] for each in got]):.1f}"
                              for name in ("connected", "started", "returned"))
            figures.append(Figure(f"vhost-user port add to first frame, {client}", median(first),
                                  "ms", PORT_ADD_BOUND if client == "gRPC" else None,
                                  note=f"{times(first, ' ms')}; {steps}", samples={"ms": first}))
        return figures


def boot(lab, wire, device, numbers):
    """Two guests with these properties, with the program that sends and receives."""
    vms = [lab.vhost_guest(f"vm{number}", number, device=device) for number in numbers]
    program = (HELPERS / "vmqd_bench_stream").read_bytes()
    for number, vm in zip(numbers, vms):
        vm.wait_for_boot()
        lab.wait_up(f"vm{number}")
        with accepting(wire, lambda connection: connection.sendall(program)):
            vm.run(f"nc 10.0.0.254 {PORT} </dev/null >/tmp/stream", timeout=120)
        vm.run("chmod +x /tmp/stream")
    return vms


def vm_stream(sender, receiver, number):
    """Bytes a second of a TCP stream to the VM with this number."""
    receiver.run(f"rm -f /tmp/got; /tmp/stream receive {PORT} >/tmp/got &")
    sender.run(f"/tmp/stream send 10.0.0.{number} {PORT} {TCP_SECONDS}", timeout=120)
    wait_until(lambda: receiver.run("test -s /tmp/got", check=False).code == 0, 60, 0.1,
               what="the end of the stream")
    return rate_of(receiver.run("cat /tmp/got").output)


def tcp_of_vms(rounds, say):
    """The same between real VMs, whose emulated CPUs limit it."""
    try:
        guest_image.image()
    except guest_image.Unavailable as reason:
        raise Broken(str(reason)) from None
    with contextlib.ExitStack() as stack:
        lab = Lab()
        stack.callback(lab.close)
        wire = lab.wire(queues=1)
        lab.start("--processor-set", SWITCH_CPU, uplink="eth1")
        pairs = [(boot(lab, wire, device, numbers), numbers[1])
                 for device, numbers in (((), (1, 2)), (NO_OFFLOADS, (3, 4)))]
        rates = ([], [])
        for number in range(rounds):
            for rate, (ends, to) in zip(rates, pairs):
                rate.append(vm_stream(*ends, to))
            say(f"vhost-vm: round {number + 1} of {rounds}: "
                f"{rates[0][-1] / rates[1][-1]:.2f} times")
        return [worth("TCP between emulated VMs, offloads over none", rates)]


PARTS = {"vhost-rest": rest, "vhost-add": port_add, "vhost-tcp": tcp, "vhost-vm": tcp_of_vms}

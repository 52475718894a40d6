"""What vmqd costs and how long it takes when little happens: idle, first frame, new port.

All times are CLOCK_MONOTONIC, on the sending side before the system call, on the VM's side by the
program on its interface. So a wake-up of the VM is not in them, a wake-up of the worker is.
"""

import contextlib
import os
import time

from tests.bench.processes import (EDGE_CPU, HELPERS, SWITCH_CPU, Broken, Figure, Helper,
                                   idle_shares, median, percentile, pinned, traffic, wired_nic)
from tests.lab import frames
from tests.lab.lab import Lab
from tests.lab.namespaces import make_veth

IDLE_SECONDS, IDLE_BOUND = 5, 0.5  # percent of one CPU
SILENCE, ARRIVAL, PATIENCE = 0.1, 0.01, 5
FIRST_FRAME_BOUND = 100  # us
FIRST_FRAMES = 40  # a round
SEND_SECONDS, SEND_RATE = 0.5, 10000
PORT_ADD_BOUND = 20  # ms
PORT_ADDS = 3  # a round and client
MAC = frames.vm_mac(1)
UDP_FRAME = frames.ether(MAC, "02:00:00:00:ff:fe", frames.ETH_IPV4, frames.ipv4(
    "198.18.0.1", "198.19.0.1", frames.UDP,
    frames.udp("198.18.0.1", "198.19.0.1", 1024, 9, bytes(22))))


def idle(rounds, say):
    """Six ports on a NIC with four queues, nothing sent."""
    with contextlib.ExitStack() as stack:
        lab = Lab()
        stack.callback(lab.close)
        lab.nic("nic0")
        daemon = lab.start(uplink="nic0")
        for index in range(1, 4):
            lab.tap_vm(f"tap{index}", frames.vm_mac(100 + index))
            lab.veth_vm(f"veth{index}", index)
        time.sleep(3)  # neighbour discovery of fresh interfaces is over
        shares = idle_shares(daemon.pid, min(rounds, 3), IDLE_SECONDS, "idle", say)
        return [Figure("idle daemon, 6 ports, 4 queues", median(shares), "% of a CPU", IDLE_BOUND,
                       note="CPU time of all its threads", samples={"percent": shares})]


class Silent:
    """A NIC and one VM with nothing under way between them; vmqd, or the bare loop, in the middle."""

    def __init__(self, stack, edge, bare):
        self.lab, self.edge, self.times = Lab(), edge, []
        stack.callback(self.lab.close)
        self.nic = self.lab.nic("nic0", queues=1)
        self.vm = add_vm(self.lab, edge)
        if bare:
            helper = Helper("/usr/bin/taskset", "-c", SWITCH_CPU, HELPERS / "vmqd_bench_bare_loop",
                            "-w", "nic0", "vm0", namespace=self.lab.host)
            stack.callback(helper.process.wait)
            stack.callback(helper.process.kill)  # it ends no other way
        else:
            self.lab.start("--processor-set", SWITCH_CPU, uplink="nic0")
            self.lab.cli("port", "add", "vm", "--netdev", "vm0", "--mac", MAC)
            self.lab.wait_up("vm")

    def time(self):
        """Microseconds from before the write until the frame is in the VM."""
        self.edge.ask("reset")
        time.sleep(SILENCE)
        sent = time.monotonic_ns()
        os.write(self.nic.descriptors[0], UDP_FRAME)
        time.sleep(ARRIVAL)
        got = self.edge.ask("counts")
        while not got["pkts"] and time.monotonic_ns() < sent + PATIENCE * 1e9:
            time.sleep(ARRIVAL)  # a virtual machine may be stopped for that long
            got = self.edge.ask("counts")
        if got["pkts"] != 1:
            raise Broken(f"first-frame: {got['pkts']:.0f} frames arrived in {self.vm.name}, not one")
        return (got["first"] - sent) / 1e3


def first_frame(rounds, say):
    """One frame after 100 ms of silence; the worker sleeps, on another CPU than the sender."""
    with contextlib.ExitStack() as stack:
        edge = traffic(stack)
        vmqd, bare = Silent(stack, edge, bare=False), Silent(stack, edge, bare=True)
        stack.enter_context(pinned(EDGE_CPU))
        for silent in (vmqd, bare):
            silent.time()  # the very first one touches memory for the first time
        for number in range(rounds):
            for _ in range(FIRST_FRAMES):
                for silent in (vmqd, bare):
                    silent.times.append(silent.time())
            say(f"first-frame: round {number + 1} of {rounds}: {median(vmqd.times):.0f} us, "
                f"bare loop {median(bare.times):.0f} us")
        return [arrival(vmqd, "first frame after idle", FIRST_FRAME_BOUND, median, "median"),
                arrival(vmqd, "first frame after idle", FIRST_FRAME_BOUND, p99, "p99"),
                arrival(bare, "bare loop, sleeping in poll()", None, median, "median"),
                arrival(bare, "bare loop, sleeping in poll()", None, p99, "p99")]


def p99(times):
    return percentile(times, 0.99)


def arrival(silent, name, bound, pick, picked):
    times = silent.times
    return Figure(f"{name}, {picked}", pick(times), "us", bound,
                  note=f"{len(times)} frames, {min(times):.0f}-{max(times):.0f} us",
                  samples={"us": times})


def add_vm(lab, edge):
    """A VM whose interface counts and drops; its other end, vm0, is not on the switch yet."""
    vm = lab.namespace("vm", ipv6=False)
    lab.host.plugged.add("vm0")
    make_veth(lab.host, "vm0", "eth0", 1, vm)
    edge.ask("sink", vm.name, "eth0")
    return vm


class Adding:
    """A switch on whose wire somebody sends to a VM that is not there yet."""

    def __init__(self, stack):
        self.lab = Lab()
        stack.callback(self.lab.close)
        self.nic = wired_nic(stack, self.lab)
        self.edge = traffic(stack)
        self.lab.start("--processor-set", SWITCH_CPU, uplink="nic0")
        add_vm(self.lab, self.edge)
        self.client = Helper(HELPERS / "vmqd_bench_port_add", self.lab.daemon.address)
        stack.callback(self.client.close)

    def by_grpc(self):
        return self.client.ask("add", "vm", "vm0", MAC)["called"]

    def by_cli(self):
        called = time.monotonic_ns()
        self.lab.cli("port", "add", "vm", "--netdev", "vm0", "--mac", MAC)
        return called

    def time(self, add):
        """Milliseconds from the call of add() to the first frame in the VM."""
        self.edge.ask("reset")
        self.nic.tell("send", SEND_SECONDS, SEND_RATE, 60, MAC)
        time.sleep(0.1)
        called = add()
        self.nic.answer()
        got = self.edge.ask("counts")
        self.client.ask("del", "vm")
        time.sleep(0.1)  # the kernel lets go of the sockets' queue some 20 ms after they were closed
        if not got["pkts"]:
            raise Broken("port-add: no frame came through the new port")
        return (got["first"] - called) / 1e6


def port_add(rounds, say):
    with contextlib.ExitStack() as stack:
        adding = Adding(stack)
        by_grpc, by_cli = [], []
        for number in range(rounds):
            for _ in range(PORT_ADDS):
                by_grpc.append(adding.time(adding.by_grpc))
                by_cli.append(adding.time(adding.by_cli))
            say(f"port-add: round {number + 1} of {rounds}: {by_grpc[-1]:.1f} ms, "
                f"with vmqd-cli {by_cli[-1]:.1f} ms")

        def spread(values):
            return f"{len(values)} times, {min(values):.1f}-{max(values):.1f} ms"

        return [Figure("port add to first frame, gRPC", median(by_grpc), "ms", PORT_ADD_BOUND,
                       note=spread(by_grpc) + ", sender at 10,000/s", samples={"ms": by_grpc}),
                Figure("port add to first frame, vmqd-cli", median(by_cli), "ms", None,
                       note=spread(by_cli) + ", start of the program included",
                       samples={"ms": by_cli})]

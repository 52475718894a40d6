"""What a daemon that dies leaves behind, and what the next one makes of it."""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from tests.lab import faults, frames
from tests.lab.api import Client, Refused, asked, messages, new_id, tap
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.namespaces import make_veth, run
from tests.lab.stream import Stream
from tests.lab.vmqd import OK, Daemon

SEED = int(os.environ.get("VMQD_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.fixture
def rng(request):
    """Random, and the seed is in the output of a test that fails: VMQD_SEED repeats it."""
    print(f"VMQD_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


# --- killed at random moments, under traffic


def program_objects(lab):
    """Ids of the XDP programs in the host namespace, with their maps."""
    ids = set()
    for link in lab.host.links().values():
        if "xdp" in link:
            ids.add(("prog", link["xdp"]["prog"]["id"]))
    for _, number in list(ids):
        shown = run("bpftool", "prog", "show", "id", number, check=False).stdout
        for match in re.findall(r"map_ids ([\d,]+)", shown):
            ids |= {("map", int(word)) for word in match.split(",")}
    return ids


def still_there(objects):
    return {(kind, number) for kind, number in objects
            if run("bpftool", kind, "show", "id", number, check=False).returncode == 0}


def arp_for_host(vm_mac):
    return frames.arp_request(vm_mac, "10.1.0.77", "10.1.0.1")


@pytest.mark.parametrize("half", [1, 2])
def test_killed_at_random_moments(lab, rng, half):
    """100 times: the host's own traffic loses nothing, no VM's frame is ever in the host's stack,
    each start serves every VM again without their doing, and nothing piles up."""
    wire = lab.wire("eth1")
    lab.host.address("eth1", "10.1.0.1/24")
    wire.address("wire0", "10.1.0.2/24")
    host_mac = lab.host.links()["eth1"]["address"]
    lab.conserves = False  # the traffic goes on
    lab.start(uplink="eth1")
    tap_vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.veth_vm("vm2", 2)
    veth_vm = lab.packet(lab.namespaces[-1], mac=frames.vm_mac(2))
    host, outside = lab.packet(lab.host, "eth1"), lab.packet(wire, "wire0")
    # A tap with a VMM has a carrier, so the host would answer who asks there for its address.
    first_fds, first_rss = faults.descriptors(lab.daemon.pid), faults.resident(lab.daemon.pid)
    ping = wire.start("ping", "-n", "-i", "0.01", "-W", "2", "10.1.0.1", stdout=subprocess.PIPE,
                      text=True)
    to_tap, to_veth = Stream(outside, tap_vm.mac, WIRE_MAC, 1), \
        Stream(outside, frames.vm_mac(2), WIRE_MAC, 2)
    to_host, from_host = Stream(outside, host_mac, WIRE_MAC, 3), Stream(host, WIRE_MAC, host_mac, 4)
    from_tap = Stream(tap_vm, WIRE_MAC, tap_vm.mac, 5)
    from_veth = Stream(veth_vm, WIRE_MAC, frames.vm_mac(2), 6)
    streams = [to_tap, to_veth, to_host, from_host, from_tap, from_veth]
    ends = {1: tap_vm, 2: veth_vm, 5: outside, 6: outside}
    ifindexes = {name: link["ifindex"] for name, link in lab.host.links().items()}
    objects, slowest = set(), 0.0

    def all_flow_again():
        """A frame sent after now reaches each VM, and one of each VM reaches the wire."""
        mark = {stream.flow: stream.sent for stream in streams}
        for flow, end in ends.items():
            wait_until(lambda: lab.daemon.process.poll() is not None
                       or any(number >= mark[flow] for number in end.flow(flow)[-5:]), 20, 0.005,
                       what=f"flow {flow} back")
        assert lab.daemon.process.poll() is None, lab.daemon.log()[-3000:]

    for turn in range(100):
        if turn % 2:  # anywhere in the start
            time.sleep(rng.uniform(0, 0.25))
        else:
            begin = time.monotonic()
            all_flow_again()
            slowest = max(slowest, time.monotonic() - begin)
            if turn % 10 == 0:
                objects |= program_objects(lab)
            tap_vm.send(arp_for_host(tap_vm.mac))
            veth_vm.send(arp_for_host(frames.vm_mac(2)))
            time.sleep(rng.uniform(0, 0.05))
        lab.daemon.kill()
        tap_vm.send(arp_for_host(tap_vm.mac))
        veth_vm.send(arp_for_host(frames.vm_mac(2)))
        lab.daemon.launch()
    wait_until(lambda: lab.call("switch", "show").returncode == OK, 20, what="vmqd answering")
    all_flow_again()
    for port in ("vm1", "vm2"):
        lab.wait_up(port)
    for stream in streams:
        stream.stop()
    ping.send_signal(signal.SIGINT)
    said = ping.communicate(timeout=20)[0]

    # The host: nothing of its own lost, nothing of a VM seen.
    assert sorted(host.wait_flow(3, to_host.sent)) == list(range(to_host.sent))
    assert sorted(outside.wait_flow(4, from_host.sent)) == list(range(from_host.sent))
    sent, back = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
    assert sent - back <= 1, said  # the last may be under way
    for flow in (1, 2, 5, 6):
        assert not host.flow(flow), f"flow {flow} in the host's stack: {host.flow(flow)[:10]}"
    for device in ("vm1", "vm2"):
        assert lab.host.ip("-j", "neigh", "show", "dev", device) == []
    for end in (tap_vm, veth_vm):
        answers = [item.frame for item in end.frames if item.frame[12:14] == b"\x08\x06"
                   and item.frame[20:22] == b"\0\x02" and item.frame[28:32] == bytes([10, 1, 0, 1])]
        assert not answers, "the host answered a VM"

    # The machine: the same devices, nothing of a dead daemon, the last one no larger than the first.
    assert {name: link["ifindex"] for name, link in lab.host.links().items()} == ifindexes
    now = program_objects(lab)
    wait_until(lambda: not still_there(objects - now), 20,
               what="programs and maps of dead daemons gone")
    fds = faults.descriptors(lab.daemon.pid)
    assert sum(fds.values()) <= sum(first_fds.values()) + 4, (first_fds, fds)
    assert faults.resident(lab.daemon.pid) < 1.5 * first_rss
    print(f"slowest return of all flows: {slowest * 1000:.0f} ms")


def test_no_fence_is_noticed(lab):
    """The check above can fail: without the fence the host answers a VM of a dead daemon."""
    lab.wire("eth1")
    lab.host.address("eth1", "10.1.0.1/24")
    lab.start(uplink="eth1")
    tap_vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.daemon.kill()
    lab.host.run("tc", "qdisc", "del", "dev", "vm1", "clsact")
    tap_vm.send(arp_for_host(tap_vm.mac))
    tap_vm.expect(lambda frame: frame[20:22] == b"\0\x02")


# --- acknowledged changes


class Caller(threading.Thread):
    """Makes random changes to ports of its own, one after the other, and knows what they must
    have led to. When the daemon dies, `unsure` is the one change that may be either."""

    def __init__(self, address, name, rng):
        super().__init__(daemon=True)
        self.address, self.prefix, self.rng = address, name, rng
        self.ports = {}      # name -> what the last acknowledged change answered
        self.unsure = None   # (method, fields)
        self.acked = []      # (method, fields, answer)
        self.error = None

    def change(self):
        v1 = messages()
        index = self.rng.randrange(4)
        port_id = f"{self.prefix}{index}"
        name = f"ports/{port_id}"
        options = {"request_id": new_id()}
        if name not in self.ports:
            port = tap(port_id, 16 * (ord(self.prefix) - ord("a")) + index,
                       vlan=self.rng.randrange(1, 100))
            return "CreatePort", {"port_id": port_id, "port": port, **options}
        if self.rng.random() < 0.4:
            return "DeletePort", {"name": name, **options}
        port = v1.Port(name=name, weight=self.rng.randrange(1, 100),
                       trusted=self.rng.random() < 0.5)
        return "UpdatePort", {"port": port, "update_mask": {"paths": ["weight", "trusted"]},
                              **options}

    def account(self, method, fields, answer):
        self.acked.append((method, fields, answer))
        if method == "DeletePort":
            del self.ports[fields["name"]]
        else:
            self.ports[answer.name] = asked(answer)

    def run(self):
        try:
            with Client(self.address) as client:
                while True:
                    self.unsure = self.change()
                    method, fields = self.unsure
                    answer = getattr(client, method)(timeout=20, wait=False, **fields)
                    self.account(method, fields, answer)
                    self.unsure = None
        except Refused as error:
            # The connection went, and not because of what was asked.
            if error.code != "UNAVAILABLE":
                self.error = error
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


def test_acknowledged_changes_survive(lab, rng):
    """Two callers, 15 deaths: what was acknowledged is there, the change under way entirely or not
    at all, and repeated with its request id it happens once."""
    lab.nic()
    lab.start(uplink="nic0")
    known, acknowledged, either = {"a": {}, "b": {}}, 0, [0, 0]
    for turn in range(15):
        callers = []
        for name in ("a", "b"):
            caller = Caller(lab.daemon.address, name, random.Random(rng.random()))
            caller.ports = dict(known[name])
            callers.append(caller)
            caller.start()
        wait_until(lambda: sum(len(caller.acked) for caller in callers) > 2
                   or any(caller.error for caller in callers), 30, what="changes")
        time.sleep(rng.uniform(0, 0.2))
        lab.daemon.kill()
        for caller in callers:
            caller.join(30)
            assert not caller.is_alive() and not caller.error, caller.error
        lab.daemon.start()
        with Client(lab.daemon.address) as client:
            there = {port.name: asked(port) for port in client.ListPorts().ports}
            for caller in callers:
                mine = {name: port for name, port in there.items()
                        if name.startswith(f"ports/{caller.prefix}")}
                method, fields = caller.unsure or (None, {})
                subject = fields["name"] if method == "DeletePort" else \
                    f"ports/{fields['port_id']}" if method == "CreatePort" else \
                    fields["port"].name if method else None
                for name in set(mine) | set(caller.ports):
                    if name != subject:
                        assert mine.get(name) == caller.ports.get(name), (turn, name)
                acknowledged += len(caller.acked)
                # Repeated: the same answer, and nothing happens.
                before = client.GetSwitch().state_revision
                for again, arguments, answer in caller.acked[-3:]:
                    repeated = getattr(client, again)(**arguments)
                    if again != "DeletePort":
                        assert asked(repeated) == asked(answer)
                assert client.GetSwitch().state_revision == before
                if method:
                    happened = mine.get(subject) != caller.ports.get(subject)
                    either[happened] += 1
                    answer = getattr(client, method)(**fields)
                    assert (client.GetSwitch().state_revision == before) == happened
                    caller.account(method, fields, answer)
                known[caller.prefix] = caller.ports
            there = {port.name: asked(port) for port in client.ListPorts().ports}
            assert there == known["a"] | known["b"]
            devices = {link for link in lab.host.links() if re.fullmatch("[ab][0-3]", link)}
            assert devices == {name.removeprefix("ports/") for name in there}
    assert acknowledged > 60
    print(f"{acknowledged} acknowledged; under way: {either[True]} had happened, {either[False]} not")


# --- a restart brings back everything


@pytest.mark.core
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_everything_comes_back(lab, how):
    nic, wire = lab.nic(), lab.wire("eth1")
    lab.conserves = False
    lab.start(uplink="nic0")
    lab.cli("uplink", "add", "eth1", "--wake-mode", "interrupt")
    tap_vm = lab.tap_vm("vm1", frames.vm_mac(1), "--uplink", "nic0", "--mac", frames.vm_mac(11),
                        "--vlan", "7", "--weight", "9", "--trusted", "--mtu", "1400")
    lab.tap_vm("vm2", frames.vm_mac(2), "--uplink", "nic0")
    lab.cli("port", "set", "vm2", "--disable")
    veth = lab.veth_vm("vm3", 3, "--uplink", "eth1")
    netdev = lab.netdev_vm("vm4", 4, "--uplink", "eth1", queues=2)
    lab.host_port("vhost0", 253, "--uplink", "eth1")

    def told():
        with Client(lab.daemon.address) as client:
            return ([asked(item) for item in client.ListUplinks().uplinks],
                    {item.name: asked(item) for item in client.ListPorts().ports})

    def devices():
        return {name: (link["ifindex"], link.get("ifalias"), link["mtu"], link["address"])
                for name, link in lab.host.links().items()}

    before, devices_before = told(), devices()
    peer_before = veth.links()["eth0"]
    veth.ping("10.0.0.254")
    if how == "kill":
        lab.daemon.kill()
    else:
        lab.daemon.stop()
    lab.daemon.start()
    assert told() == before
    assert devices() == devices_before
    assert veth.links()["eth0"]["ifindex"] == peer_before["ifindex"]
    for port in ("vm1", "vm3", "vm4", "host"):
        lab.wait_up(port)
    # Nobody did anything, and it all works: the VMM's descriptor, the ends in other namespaces.
    nic.steer(tap_vm.mac, 1)
    for index, mac in enumerate((tap_vm.mac, frames.vm_mac(11))):
        for number in range(20):
            nic.send(frames.numbered(mac, WIRE_MAC, 1 + index, number, vlan=7))
        assert tap_vm.wait_flow(1 + index, 20) == list(range(20))
    tap_vm.send(frames.numbered(WIRE_MAC, "02:00:00:00:77:77", 3, 0))  # trusted: any source
    assert nic.wait_flow(3, 1) == [0]
    veth.ping("10.0.0.254")
    netdev.ping("10.0.0.254")
    wire.ping("10.0.0.253")
    for number in range(20):
        nic.send(frames.numbered(frames.vm_mac(2), WIRE_MAC, 4, number))
    wait_until(lambda: lab.drops("port", "vm2", "out").get("port_disabled") == 20,
               what="frames of the disabled port dropped")


# --- what is not wanted goes, what is foreign stays


def foreign_objects(lab):
    """Devices, a pin and a program that are not vmqd's, near to what is."""
    lab.host.plugged |= {"mine", "mine-p", "marked", "marked-p"}
    lab.host.foreign_xdp.add("mine")
    make_veth(lab.host, "mine", "mine-p")
    make_veth(lab.host, "marked", "marked-p")
    lab.host.ip("link", "set", "marked", "alias", "vmqd 0123456789abcdef vm1")
    source = os.path.join(lab.directory, "pass.c")
    with open(source, "w") as file:
        file.write('__attribute__((section("xdp"), used)) int pass(void *ctx) { return 2; }\n'
                   'char _license[] __attribute__((section("license"), used)) = "GPL";\n')
    run("clang", "-O2", "-target", "bpf", "-c", source, "-o", f"{source}.o")
    lab.host.ip("link", "set", "mine", "xdp", "obj", f"{source}.o", "sec", "xdp")
    number = lab.host.links()["mine"]["xdp"]["prog"]["id"]
    pin = os.path.join(lab.directory, "bpf", "somebody")
    run("bpftool", "prog", "pin", "id", number, pin)

    def look():
        links = lab.host.links()
        return (links["mine"]["xdp"]["prog"]["id"], links["mine"]["ifindex"],
                links["marked"]["ifindex"], links["marked"].get("ifalias"), os.path.exists(pin))

    return look


REMOVED = ["tap", "veth", "netdev", "host", "uplink"]


def add(lab, kind):
    """One of each kind, and how the API deletes it."""
    words = {"tap": ("--tap", "gone"), "veth": ("--veth", "gone,gone-p"),
             "netdev": ("--netdev", "gone"), "host": ("--host", "gone")}
    if kind == "uplink":
        lab.cli("uplink", "add", "eth2")
        return "DeleteUplink", "uplinks/eth2"
    lab.cli("port", "add", "gone", *words[kind], "--mac", frames.vm_mac(9), "--uplink", "eth1")
    return "DeletePort", "ports/gone"


@pytest.mark.parametrize("kind", REMOVED)
def test_killed_in_the_middle_of_a_deletion(lab, kind):
    """Dead between the commit and any later step of the removal: the next start removes the rest,
    and nothing that is not ours."""
    lab.wire("eth1")
    lab.wire("eth2", queues=2)
    if kind == "netdev":
        lab.host.plugged |= {"gone", "gone-p"}
        make_veth(lab.host, "gone", "gone-p")
    foreign = foreign_objects(lab)
    foreign_before = foreign()
    lab.start(uplink="eth1")
    lab.veth_vm("vm1", 1)
    log = os.path.join(lab.directory, "strace")

    def settings():
        return {device: lab.host.run("ethtool", "-k", device).stdout
                for device in ("eth2", "gone") if device in lab.host.links()}

    def pins():
        return sorted(os.listdir(lab.daemon.pins))

    clean = sorted(lab.host.links()), pins(), settings()
    method, name = add(lab, kind)
    with Client(lab.daemon.address) as client, faults.Tracer(lab.daemon.pid, log) as tracer:
        getattr(client, method)(name=name)
    serving = faults.of_task_with(tracer.steps(), "fdatasync")
    commit = next(place for place, step in enumerate(serving) if step.name == "fdatasync")
    later = [step for step in serving[commit + 1:]
             if step.name in ("bpf", "close", "unlink", "unlinkat", "ioctl", "sendmsg", "sendto",
                              "munmap", "socket", "fdatasync")]
    assert len(later) >= 4, later
    died = 0
    for step in faults.spread(later, 6):
        add(lab, kind)
        with Client(lab.daemon.address) as client:
            client.GetSwitch()
            with faults.Tracer(lab.daemon.pid, log, *faults.killing(step)), \
                    contextlib.suppress(Refused):
                getattr(client, method)(name=name, timeout=10, wait=False)
        if lab.daemon.process.poll() is None:  # another thread served it, which counts anew
            lab.daemon.kill()
        died += 1
        lab.daemon.start()
        lab.wait_up("vm1")
        listed = lab.cli(*(["uplink", "list"] if kind == "uplink" else ["port", "list"]))
        assert name not in str(listed), (step, listed)
        assert (sorted(lab.host.links()), pins(), settings()) == clean, step
        assert foreign() == foreign_before
    assert died
    lab.daemon.stop()
    lab.daemon.cleanup()
    assert foreign() == foreign_before


# --- a state directory that is not what it was


def newest(directory):
    generations = [name for name in os.listdir(directory) if re.fullmatch(r"state\.\d+", name)]
    return directory / max(generations, key=lambda name: int(name.split(".")[1]))


def damage_end(data, rng):
    return data[:-rng.randrange(1, 40)]


def damage_bit(data, rng):
    at = rng.randrange(16, len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]


def damage_head(data, rng):
    return bytes(rng.randrange(256) for _ in range(20)) + data[20:]


def damage_all(data, rng):
    return b""


@pytest.mark.parametrize("damage", [damage_end, damage_bit, damage_head, damage_all])
def test_damaged_state(lab, rng, damage):
    """The last good state with a warning, or a refusal in a sentence; never silently an empty
    switch. Every start sees another place of damage."""
    lab.nic()
    lab.start(uplink="nic0")
    for index in range(8):
        lab.cli("port", "add", f"vm{index}", "--tap", f"vm{index}", "--mac", frames.vm_mac(index))
    ports = {port["name"] for port in lab.cli("port", "list")["ports"]}
    lab.daemon.kill()
    saved = os.path.join(lab.directory, "saved")
    shutil.copytree(lab.daemon.state, saved)
    outcomes = set()
    for turn in range(6):
        shutil.rmtree(lab.daemon.state)
        shutil.copytree(saved, lab.daemon.state)
        file = newest(lab.daemon.state)
        file.write_bytes(damage(file.read_bytes(), rng))
        lab.daemon.log_path.unlink()
        lab.daemon.launch()
        wait_until(lambda: lab.daemon.process.poll() is not None
                   or lab.call("switch", "show").returncode == OK, 20, what="an answer or an end")
        if lab.daemon.process.poll() is not None:
            assert lab.daemon.process.returncode == 1, lab.daemon.log()
            assert str(lab.daemon.state) in lab.daemon.log(), lab.daemon.log()
            outcomes.add("refused")
            continue
        shown = lab.cli("switch", "show")
        left = {port["name"] for port in lab.cli("port", "list").get("ports", [])}
        assert left <= ports and lab.cli("uplink", "list").get("uplinks"), left
        warnings = shown.get("warnings", [])
        assert any("state." in warning for warning in warnings), (left, shown)
        assert all(warning in lab.daemon.log() for warning in warnings)
        outcomes.add("served")
        lab.daemon.kill()
    print(damage.__name__, outcomes)
    # With its state again, all is back, for those whose devices were removed, too.
    shutil.rmtree(lab.daemon.state)
    shutil.copytree(saved, lab.daemon.state)
    lab.daemon.start()
    assert {port["name"] for port in lab.cli("port", "list")["ports"]} == ports
    assert not lab.cli("switch", "show").get("warnings")


@contextlib.contextmanager
def small_disk(lab):
    """The state directory is a file system of its own, of 64 KiB. Gives fill() and free()."""
    lab.directory_of_state = os.path.join(lab.directory, "state")
    os.mkdir(lab.directory_of_state)
    run("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "vmqd-test", lab.directory_of_state)
    ballast = os.path.join(lab.directory_of_state, "ballast")

    def fill():
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    try:
        yield fill, lambda: os.unlink(ballast)
    finally:
        run("umount", "-l", lab.directory_of_state, check=False)


def fill_to_the_last_byte(lab, fill):
    """Nor has the last page of the state file room: not for the smallest change there is."""
    fill()
    with Client(lab.daemon.address) as client, pytest.raises(Refused):
        for mode in itertools.islice(itertools.cycle((1, 3)), 1000):
            client.UpdateUplink(uplink=messages().Uplink(name="uplinks/nic0", wake_mode=mode),
                                update_mask={"paths": ["wake_mode"]})


def test_disk_full(lab):
    """The call fails and nothing else: no device, no port, frames go on; with room, it works."""
    nic = lab.nic()
    with small_disk(lab) as (fill, free):
        lab.start(uplink="nic0")
        vm = lab.tap_vm("vm1", frames.vm_mac(1))
        fill_to_the_last_byte(lab, fill)
        now = lambda: (sorted(lab.host.links()), lab.cli("port", "show", "vm1")["etag"],
                       lab.cli("port", "show", "vm1").get("weight"),
                       faults.descriptors(lab.daemon.pid))
        before = now()
        with Client(lab.daemon.address) as client:
            for method, fields in [
                    ("CreatePort", {"port_id": "vm2", "port": tap("vm2", 2)}),
                    ("UpdatePort", {"port": messages().Port(name="ports/vm1", vlan=5),
                                    "update_mask": {"paths": ["vlan"]}}),
                    ("DeletePort", {"name": "ports/vm1"})]:
                with pytest.raises(Refused) as caught:
                    getattr(client, method)(request_id=new_id(), **fields)
                assert caught.value.code == "RESOURCE_EXHAUSTED", caught.value
                assert "bytes are needed" in caught.value.sentence, caught.value
                nic.send_flow(vm.mac, WIRE_MAC, hash(method) & 0xFFFF, 20)
                assert vm.wait_flow(hash(method) & 0xFFFF, 20) == list(range(20))
        assert now() == before
        assert any("STATE_NOT_WRITTEN" == event["reason"] for event in
                   lab.cli("event", "list")["events"])
        free()
        lab.tap_vm("vm2", frames.vm_mac(2))
        lab.daemon.kill()
        lab.daemon.start()
        assert len(lab.cli("port", "list")["ports"]) == 2
        lab.finish()


def test_start_on_a_full_disk(lab):
    """A daemon that dies while its disk is full comes back and forwards; it says what it cannot."""
    nic = lab.nic()
    with small_disk(lab) as (fill, free):
        lab.start(uplink="nic0")
        vm = lab.tap_vm("vm1", frames.vm_mac(1))
        fill_to_the_last_byte(lab, fill)
        lab.daemon.kill()
        lab.daemon.start()
        lab.wait_up("vm1")
        nic.send_flow(vm.mac, WIRE_MAC, 1, 20)
        assert vm.wait_flow(1, 20) == list(range(20))
        shown = lab.cli("switch", "show")
        assert any("No space left" in warning for warning in shown.get("warnings", [])), shown
        with Client(lab.daemon.address) as client, pytest.raises(Refused):
            client.DeletePort(name="ports/vm1", request_id=new_id())
        free()
        wait_until(lambda: not lab.cli("switch", "show").get("warnings"), what="all well again")
        lab.tap_vm("vm2", frames.vm_mac(2))
        lab.daemon.kill()
        lab.daemon.start()
        assert len(lab.cli("port", "list")["ports"]) == 2
        assert not lab.cli("switch", "show").get("warnings")
        lab.finish()


def test_read_only_disk(lab):
    """As the full one; whether what was open for writing keeps writing is the kernel's say."""
    nic = lab.nic()
    with small_disk(lab):
        lab.start(uplink="nic0")
        vm = lab.tap_vm("vm1", frames.vm_mac(1))
        lab.daemon.kill()  # a file that is open for writing keeps the disk from a remount
        run("mount", "-o", "remount,ro", lab.directory_of_state)
        lab.daemon.launch()
        assert lab.daemon.process.wait(20) == 1
        assert "Read-only" in lab.daemon.log() and str(lab.daemon.state) in lab.daemon.log()
        run("mount", "-o", "remount,rw", lab.directory_of_state)
        lab.daemon.start()
        lab.wait_up("vm1")
        nic.send_flow(vm.mac, WIRE_MAC, 1, 20)
        assert vm.wait_flow(1, 20) == list(range(20))
        lab.finish()


def test_second_daemon_on_the_same_state(lab, tmp_path):
    nic = lab.nic()
    lab.start(uplink="nic0")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    second = Daemon(lab.host, tmp_path)
    second.state, second.pins = lab.daemon.state, lab.daemon.pins
    second.sockets = lab.daemon.sockets
    done = run(*second.command(), check=False, timeout=20)
    assert done.returncode == 1, done
    assert f"is used by process {lab.daemon.pid}" in done.stderr, done.stderr
    nic.send_flow(vm.mac, WIRE_MAC, 1, 20)
    assert vm.wait_flow(1, 20) == list(range(20))
    cleanup = run(*lab.daemon.command("--cleanup"), check=False)
    assert cleanup.returncode == 1 and "is used by" in cleanup.stderr, cleanup
    nic.send_flow(vm.mac, WIRE_MAC, 2, 20)
    assert vm.wait_flow(2, 20) == list(range(20))

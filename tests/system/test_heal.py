"""Devices that go down, go away and come back, change, or lose their program, without anybody asking
vmqd: it notices, says so, and takes up what comes back. No frame goes missing unnamed meanwhile
(every test ends with the check of conservation), and none of a VM reaches the host's stack.
"""

import json
import os
import random
import time

import pytest

from tests.lab import frames
from tests.lab.endpoints import TapVm, wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.namespaces import make_veth, run
from tests.lab.stream import Stream
from tests.lab.vmqd import number

PATIENCE = 15  # seconds; vmqd looks once a second, and a busy machine takes its time


def status(lab, resource, name):
    return lab.cli(resource, "show", name)


def wait_oper(lab, resource, name, oper):
    """Its status once operStatus is this."""
    return wait_until(lambda: (found := status(lab, resource, name))["operStatus"] == oper and found,
                      PATIENCE, what=f"{resource} {name} {oper}")


def events(lab, resource=None):
    """Of that resource or all, oldest first; fails if they are out of order."""
    found = lab.cli("event", "list")["events"]
    revisions = [int(event["revision"]) for event in found]
    assert revisions == sorted(set(revisions)), found
    assert [event["time"] for event in found] == sorted(event["time"] for event in found)
    return [event for event in found if resource in (None, event.get("resource"))]


def reasons(lab, resource):
    return [event["reason"] for event in events(lab, resource)]


def wait_reason(lab, resource, reason, times=1):
    """The last of the events with that reason, once there are so many."""
    def look():
        found = [event for event in events(lab, resource) if event["reason"] == reason]
        return len(found) >= times and found[-1]

    return wait_until(look, PATIENCE, what=f"{times} {reason} of {resource}")


class Flows:
    """Both ways between what is outside and a VM; a flow's number is used once."""

    def __init__(self):
        self.next = 100

    def check(self, outside, vm, mac, count=20, length=60):
        to_vm, to_wire = self.next, self.next + 1
        self.next += 2
        for index in range(count):
            outside.send(frames.numbered(mac, WIRE_MAC, to_vm, index, length=length))
            vm.send(frames.numbered(WIRE_MAC, mac, to_wire, index, length=length))
        assert vm.wait_flow(to_vm, count) == list(range(count)), "to the VM"
        assert outside.wait_flow(to_wire, count) == list(range(count)), "to the wire"


@pytest.fixture
def flows():
    return Flows()


class Wired:
    """An uplink on eth1, a 4-queue veth whose other end is wire0, and how to make it anew."""

    device = "eth1"

    def __init__(self, lab):
        self.lab = lab
        self.wire = lab.wire("eth1")
        self.outside = lab.packet(self.wire, "wire0")

    def delete(self):
        self.lab.host.ip("link", "del", "eth1")

    def make(self):
        make_veth(self.lab.host, "eth1", "wire0", 4, self.wire)
        self.outside = self.lab.packet(self.wire, "wire0")


class Tapped:
    """An uplink on nic0, the NIC stand-in."""

    device = "nic0"

    def __init__(self, lab):
        self.lab = lab
        self.outside = lab.nic()

    def delete(self):
        self.outside.close()
        self.outside.descriptors = []

    def make(self):
        self.outside = self.lab.nic()


@pytest.fixture(params=[Wired, Tapped])
def plugged(lab, request):
    return request.param(lab)


# --- uplinks ---


def test_uplink_link_flaps(lab, plugged, flows):
    lab.start(uplink=plugged.device)
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.conserves = True
    for _ in range(5):
        lab.host.ip("link", "set", plugged.device, "down")
        down = wait_oper(lab, "uplink", plugged.device, "DOWN")
        assert plugged.device in down["operReason"], down
        lab.host.ip("link", "set", plugged.device, "up")
        wait_oper(lab, "uplink", plugged.device, "UP")
        flows.check(plugged.outside, vm, vm.mac)
    for _ in range(20):  # faster than anybody looks
        lab.host.ip("link", "set", plugged.device, "down")
        lab.host.ip("link", "set", plugged.device, "up")
    wait_oper(lab, "uplink", plugged.device, "UP")
    flows.check(plugged.outside, vm, vm.mac)
    seen = [reason for reason in reasons(lab, f"uplinks/{plugged.device}") if "LINK" in reason]
    assert seen[:10] == ["LINK_DOWN", "LINK_UP"] * 5, seen
    assert seen[10:] == ["LINK_DOWN", "LINK_UP"] * (len(seen[10:]) // 2), seen


def test_uplink_device_goes_and_comes(lab, plugged, flows):
    lab.start(uplink=plugged.device)
    name = f"uplinks/{plugged.device}"
    tap, box = lab.tap_vm("vm1", frames.vm_mac(1)), lab.netdev_vm("vm2", 2)
    inside = lab.packet(box)
    for turn in range(1, 4):
        flows.check(plugged.outside, tap, tap.mac)
        flows.check(plugged.outside, inside, frames.vm_mac(2))
        before = number(status(lab, "port", "vm1")["counters"], "inPkts")
        plugged.delete()
        gone = wait_oper(lab, "uplink", plugged.device, "WAITING")
        assert plugged.device in gone["operReason"], gone
        for port in ("vm1", "vm2"):
            assert name in wait_oper(lab, "port", port, "WAITING")["operReason"]
        lab.conservation()
        plugged.make()
        for port in ("vm1", "vm2"):
            wait_oper(lab, "port", port, "UP")
        wait_oper(lab, "uplink", plugged.device, "UP")
        flows.check(plugged.outside, tap, tap.mac)
        flows.check(plugged.outside, inside, frames.vm_mac(2))
        assert number(status(lab, "port", "vm1")["counters"], "inPkts") == before + 20
        seen = reasons(lab, name)
        assert seen.count("DEVICE_GONE") == turn and "RUNNING" in seen[-3:], seen
    alarms = [event for event in events(lab, name) if event["reason"] == "DEVICE_GONE"]
    assert all(alarm["severity"] == "ALARM" for alarm in alarms), alarms


def test_uplink_device_moves_away_and_back(lab, flows):
    wire = lab.wire("eth1")
    outside, elsewhere = lab.packet(wire, "wire0"), lab.namespace("elsewhere")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    flows.check(outside, vm, vm.mac)
    lab.host.ip("link", "set", "eth1", "netns", elsewhere.name)
    gone = wait_oper(lab, "uplink", "eth1", "WAITING")
    assert "eth1" in gone["operReason"], gone
    assert "xdp" not in elsewhere.links()["eth1"], "it went with our program on it"
    elsewhere.ip("link", "set", "eth1", "netns", lab.host.name)
    lab.host.up("eth1")
    wait_oper(lab, "uplink", "eth1", "UP")
    wait_oper(lab, "port", "vm1", "UP")
    flows.check(outside, vm, vm.mac)


def test_uplink_device_is_away_for_a_moment(lab, flows):
    """Back under the same index before anybody can look: its sockets are dead all the same."""
    wire = lab.wire("eth1")
    outside, elsewhere = lab.packet(wire, "wire0"), lab.namespace("elsewhere")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    index = lab.host.links()["eth1"]["ifindex"]
    for turn in range(5):
        run("sh", "-c", f"ip -n {lab.host.name} link set eth1 netns {elsewhere.name} && "
            f"ip -n {elsewhere.name} link set eth1 netns {lab.host.name} && "
            f"ip -n {lab.host.name} link set eth1 up")
        assert lab.host.links()["eth1"]["ifindex"] == index
        wait_reason(lab, "uplinks/eth1", "DEVICE_GONE", turn + 1)
        wait_reason(lab, "uplinks/eth1", "RUNNING", turn + 1)
        wait_oper(lab, "uplink", "eth1", "UP")
        wait_oper(lab, "port", "vm1", "UP")
        flows.check(outside, vm, vm.mac)


def set_mtu(lab, wire, mtu):
    lab.host.ip("link", "set", "eth1", "mtu", mtu)
    wire.ip("link", "set", "wire0", "mtu", mtu)


@pytest.mark.parametrize("before,mtu", [(1500, 1400), (1400, 1500), (1500, 3000)])
def test_uplink_mtu_changes(lab, flows, before, mtu):
    """Frames of the new size flow; larger ones than the buffers hold: opened again with larger."""
    wire = lab.wire("eth1")
    set_mtu(lab, wire, before)
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    box = lab.packet(lab.veth_vm("vm2", 2))
    flows.check(outside, vm, vm.mac, length=before + 14)
    set_mtu(lab, wire, mtu)
    wait_until(lambda: status(lab, "uplink", "eth1").get("mtu") == mtu, PATIENCE, what="new MTU")
    for port in ("vm1", "vm2"):
        wait_oper(lab, "port", port, "UP")
    assert status(lab, "port", "vm1")["effectiveMtu"] == mtu
    assert status(lab, "uplink", "eth1")["maxFrameLen"] >= mtu + 14
    flows.check(outside, vm, vm.mac, length=mtu + 14)
    box.namespace.ip("link", "set", "eth0", "mtu", mtu)
    flows.check(outside, box, frames.vm_mac(2), length=mtu + 14)
    assert "MTU_CHANGED" in reasons(lab, "uplinks/eth1")
    # And back: smaller is no reason to interrupt anybody.
    runs = reasons(lab, "uplinks/eth1").count("RUNNING")
    set_mtu(lab, wire, before)
    wait_until(lambda: status(lab, "uplink", "eth1").get("mtu") == before, PATIENCE, what="old MTU")
    flows.check(outside, vm, vm.mac, length=before + 14)
    box.namespace.ip("link", "set", "eth0", "mtu", before)
    flows.check(outside, box, frames.vm_mac(2), length=before + 14)
    assert reasons(lab, "uplinks/eth1").count("RUNNING") == runs


def test_uplink_mtu_that_no_buffer_holds(lab, flows):
    """9000: frames of several buffers flow, longer ones are counted, and the uplink says how far."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.host.ip("link", "set", "nic0", "mtu", 9000)
    wait_until(lambda: status(lab, "uplink", "nic0").get("mtu") == 9000, PATIENCE, what="9000")
    wait_oper(lab, "uplink", "nic0", "UP")
    wait_oper(lab, "port", "vm1", "UP")
    longest = status(lab, "uplink", "nic0")["maxFrameLen"]
    assert longest == 9000 + 14 + 4
    flows.check(nic, vm, vm.mac, length=9014)
    nic.send(frames.numbered(vm.mac, WIRE_MAC, 1, 0, length=longest + 1))
    wait_until(lambda: lab.drops("uplink", "nic0", "in").get("frame_too_large"), what="a named drop")
    assert not vm.flow(1)


def channels(lab, device, count, check=True):
    return lab.host.run("ethtool", "-L", device, "rx", count, "tx", count, check=check)


def test_uplink_gets_more_queues(lab, flows):
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    wire.run("ethtool", "-L", "wire0", "rx", 2, "tx", 2)  # a veth's other end may not have more
    channels(lab, "eth1", 2)
    lab.start(uplink="eth1")
    vms = [lab.tap_vm(f"vm{index}", frames.vm_mac(index)) for index in range(3)]
    assert status(lab, "uplink", "eth1")["effectiveQueues"] == 2
    channels(lab, "eth1", 4)
    wait_reason(lab, "uplinks/eth1", "QUEUES_CHANGED")
    wait_until(lambda: status(lab, "uplink", "eth1").get("effectiveQueues") == 4, PATIENCE, what="4 queues")
    wait_oper(lab, "uplink", "eth1", "UP")
    for index, vm in enumerate(vms):
        wait_oper(lab, "port", f"vm{index}", "UP")
        flows.check(outside, vm, vm.mac)
    # Fewer: the kernel takes no queue away that has a socket.
    refused = channels(lab, "eth1", 2, check=False)
    assert refused.returncode != 0, refused
    assert len(lab.cli("queue", "list")["queues"]) == 4
    flows.check(outside, vms[0], vms[0].mac)


@pytest.mark.parametrize("what", ["MTU_CHANGED", "QUEUES_CHANGED"])
def test_uplink_is_opened_again_behind_its_program(lab, what):
    """In the meantime the VMs' frames are dropped and counted; the host's stack sees none of them,
    and all of its own."""
    wire = lab.wire("eth1")
    outside, host = lab.packet(wire, "wire0"), lab.packet(lab.host, "eth1")
    wire.run("ethtool", "-L", "wire0", "rx", 2, "tx", 2)
    channels(lab, "eth1", 2)
    host_mac = lab.host.links()["eth1"]["address"]
    lab.start(uplink="eth1")
    vms = [lab.tap_vm("vm1", frames.vm_mac(1)), lab.tap_vm("vm2", frames.vm_mac(2))]
    streams = [Stream(outside, vm.mac, WIRE_MAC, flow, rate=2000) for flow, vm in enumerate(vms, 1)]
    streams.append(Stream(outside, host_mac, WIRE_MAC, 3, rate=500))
    if what == "MTU_CHANGED":
        set_mtu(lab, wire, 3000)
    else:
        channels(lab, "eth1", 4)
    wait_reason(lab, "uplinks/eth1", what)
    wait_reason(lab, "uplinks/eth1", "RUNNING")
    mark = streams[0].sent
    wait_until(lambda: max(vms[0].flow(1)) > mark, PATIENCE, what="frames again")
    for stream in streams:
        stream.stop()
    assert host.wait_flow(3, streams[2].sent) == list(range(streams[2].sent))
    assert not host.flow(1) and not host.flow(2)
    dropped = lab.drops("uplink", "eth1", "in").get("no_socket", 0)
    told = wait_reason(lab, "uplinks/eth1", "DROPPED_WHILE_AWAY")["message"]
    assert 0 < int(told.split()[0]) <= dropped, (told, dropped)


def test_uplink_waits_for_its_queues(lab, flows):
    """One with a number of queues of its own is not opened with fewer."""
    lab.wire("eth1")
    lab.start()
    lab.cli("uplink", "add", "eth1", "--queues", "4")
    vm = lab.tap_vm("vm1", frames.vm_mac(1), "--queue", "3")
    lab.host.ip("link", "del", "eth1")
    wait_oper(lab, "uplink", "eth1", "WAITING")
    wire = lab.namespace("wire2")
    make_veth(lab.host, "eth1", "wire0", 2, wire)
    waits = wait_until(lambda: "ethtool" in (found := status(lab, "uplink", "eth1"))["operReason"]
                       and found, PATIENCE, what="a cure")
    assert waits["operStatus"] == "WAITING", waits
    lab.host.ip("link", "del", "eth1")
    make_veth(lab.host, "eth1", "wire0", 4, wire)
    wait_oper(lab, "uplink", "eth1", "UP")
    wait_oper(lab, "port", "vm1", "UP")
    flows.check(lab.packet(wire, "wire0"), vm, vm.mac)


# --- programs ---

def program_on(lab, device):
    return lab.host.links()[device].get("xdp", {}).get("prog", {}).get("id")


def link_on(lab, device):
    """The id of the bpf link that holds the program on `device`."""
    program = program_on(lab, device)
    shown = run("bpftool", "-j", "link", "show").stdout
    return next(link["id"] for link in json.loads(shown) if link.get("prog_id") == program)


def replace(lab, device, foreign):
    """Somebody detaches vmqd's program and attaches another before vmqd looks; vmqd may win."""
    for _ in range(20):
        wait_until(lambda: program_on(lab, device), PATIENCE, what="a program")
        done = run("sh", "-c", f"bpftool link detach id {link_on(lab, device)} && ip -n "
                   f"{lab.host.name} link set {device} xdpdrv obj {foreign} sec xdp", check=False)
        if done.returncode == 0:
            return program_on(lab, device)
    raise AssertionError(f"vmqd is always faster: {done}")


@pytest.fixture(params=["uplink", "port"])
def held(lab, request):
    """(resource, name, device) of something with a program of vmqd's, the whole being up."""
    wire = lab.wire("eth1")
    lab.start(uplink="eth1")
    lab.outside = lab.packet(wire, "wire0")
    lab.inside = lab.packet(lab.netdev_vm("vm1", 1))
    return ("uplink", "eth1", "eth1") if request.param == "uplink" else ("port", "vm1", "vm1")


def test_program_is_detached(lab, held, flows):
    resource, name, device = held
    for turn in range(1, 4):
        flows.check(lab.outside, lab.inside, frames.vm_mac(1))
        run("bpftool", "link", "detach", "id", link_on(lab, device))
        alarm = wait_reason(lab, f"{resource}s/{name}", "PROGRAM_DETACHED", turn)
        assert alarm["severity"] == "ALARM" and device in alarm["message"], alarm
        wait_until(lambda: program_on(lab, device), PATIENCE, what="attached again")
        wait_oper(lab, resource, name, "UP")
    flows.check(lab.outside, lab.inside, frames.vm_mac(1))
    if resource == "uplink":
        assert status(lab, "uplink", "eth1")["survivesCrash"], "not pinned again"


def test_program_is_replaced(lab, held, foreign, flows):
    resource, name, device = held
    flows.check(lab.outside, lab.inside, frames.vm_mac(1))
    theirs = replace(lab, device, foreign)
    fault = wait_oper(lab, resource, name, "FAULTED")
    assert device in fault["operReason"] and str(theirs) in fault["operReason"], fault
    alarm = wait_reason(lab, f"{resource}s/{name}", "PROGRAM_REPLACED")
    assert alarm["severity"] == "ALARM", alarm
    time.sleep(2.5)  # a few looks; not one may touch it, nor say it all again
    assert program_on(lab, device) == theirs
    assert reasons(lab, f"{resource}s/{name}").count("PROGRAM_REPLACED") == 1
    lab.host.ip("link", "set", device, "xdpdrv", "off")
    wait_reason(lab, f"{resource}s/{name}", "PROGRAM_ATTACHED")
    up = wait_oper(lab, resource, name, "UP")
    assert not up.get("operReason"), up
    flows.check(lab.outside, lab.inside, frames.vm_mac(1))


def test_foreign_program_at_the_end(lab, foreign):
    """Everything is taken down around a program that is not ours: it stays."""
    wire = lab.wire("eth1")
    lab.start(uplink="eth1")
    lab.packet(wire, "wire0")
    lab.netdev_vm("vm1", 1)
    theirs = {device: replace(lab, device, foreign) for device in ("eth1", "vm1")}
    wait_oper(lab, "uplink", "eth1", "FAULTED")
    wait_oper(lab, "port", "vm1", "FAULTED")
    lab.host.foreign_xdp |= {"eth1", "vm1"}
    lab.daemon.stop()
    assert {device: program_on(lab, device) for device in theirs} == theirs


# --- ports ---


def test_port_link_flaps(lab, flows):
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    tap = lab.tap_vm("vm1", frames.vm_mac(1))
    ends = {"vm1": tap, "vm2": lab.packet(lab.veth_vm("vm2", 2)),
            "vm3": lab.packet(lab.netdev_vm("vm3", 3))}
    for port, end in ends.items():
        for _ in range(3):
            lab.host.ip("link", "set", port, "down")
            down = wait_oper(lab, "port", port, "DOWN")
            assert port in down["operReason"], down
            lab.host.ip("link", "set", port, "up")
            wait_oper(lab, "port", port, "UP")
        for _ in range(20):
            lab.host.ip("link", "set", port, "down")
            lab.host.ip("link", "set", port, "up")
        wait_oper(lab, "port", port, "UP")
        flows.check(outside, end, frames.vm_mac(int(port[2:])))
        seen = [reason for reason in reasons(lab, f"ports/{port}") if "LINK" in reason]
        assert seen[-1] == "LINK_UP" and seen.count("LINK_DOWN") >= 3, seen
    # The VM's own end, and a VMM that goes and comes.
    ends["vm2"].namespace.ip("link", "set", "eth0", "down")
    assert "other end" in wait_oper(lab, "port", "vm2", "DOWN")["operReason"]
    ends["vm2"].namespace.up("eth0")
    wait_oper(lab, "port", "vm2", "UP")
    tap.close()
    assert "VMM" in wait_oper(lab, "port", "vm1", "DOWN")["operReason"]
    again = TapVm(lab.inbox, lab.host, "vm1", tap.mac)
    lab.stack.callback(again.close)
    wait_oper(lab, "port", "vm1", "UP")
    flows.check(outside, again, tap.mac)
    flows.check(outside, ends["vm2"], frames.vm_mac(2))


def hidden_from_host(lab, outside, mac, flow):
    """Frames to `mac` come to the uplink; none gets to the host's stack, frames of its own do."""
    host = lab.packet(lab.host, "eth1")
    outside.send_flow(mac, WIRE_MAC, flow, 20)
    outside.send_flow(lab.host.links()["eth1"]["address"], WIRE_MAC, flow + 1, 20)
    assert host.wait_flow(flow + 1, 20) == list(range(20))
    assert not host.flow(flow), "the host's stack saw frames of a VM"


def test_netdev_goes_and_comes(lab, flows):
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    other = lab.tap_vm("vm2", frames.vm_mac(2))
    vm = lab.netdev_vm("vm1", 1)
    inside = lab.packet(vm)
    for turn in range(3):
        flows.check(outside, inside, frames.vm_mac(1))
        lab.host.ip("link", "del", "vm1")
        gone = wait_oper(lab, "port", "vm1", "WAITING")
        assert "vm1" in gone["operReason"], gone
        wait_reason(lab, "ports/vm1", "DEVICE_GONE", turn + 1)
        hidden_from_host(lab, outside, frames.vm_mac(1), 1000 + 2 * turn)
        flows.check(outside, other, other.mac)  # nobody else notices
        make_veth(lab.host, "vm1", "vm1-p", 1)
        lab.move_in(vm, "vm1", "vm1-p", 1)
        inside = lab.packet(vm)
        flows.check(outside, inside, frames.vm_mac(1))
    assert reasons(lab, "uplinks/eth1").count("DEVICE_GONE") == 0


@pytest.mark.parametrize("slowly", [True, False])
def test_netdev_moves_away_and_back(lab, flows, slowly):
    wire = lab.wire("eth1")
    outside, elsewhere = lab.packet(wire, "wire0"), lab.namespace("elsewhere")
    lab.start(uplink="eth1")
    inside = lab.packet(lab.netdev_vm("vm1", 1))
    for turn in range(1, 4):
        away = f"ip -n {lab.host.name} link set vm1 netns {elsewhere.name}"
        back = f"ip -n {elsewhere.name} link set vm1 netns {lab.host.name}"
        if slowly:
            run(*away.split())
            wait_oper(lab, "port", "vm1", "WAITING")
            hidden_from_host(lab, outside, frames.vm_mac(1), 1000 + 2 * turn)
            run(*back.split())
        else:
            run("sh", "-c", f"{away} && {back}")
        lab.host.up("vm1")
        wait_reason(lab, "ports/vm1", "DEVICE_GONE", turn)
        wait_reason(lab, "ports/vm1", "RUNNING", turn)
        wait_oper(lab, "port", "vm1", "UP")
        flows.check(outside, inside, frames.vm_mac(1))


def test_made_tap_is_made_again(lab, flows):
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    for turn in range(1, 4):
        index = lab.host.links()["vm1"]["ifindex"]
        lab.host.ip("link", "del", "vm1")
        wait_reason(lab, "ports/vm1", "DEVICE_GONE", turn)
        wait_until(lambda: lab.host.links().get("vm1", {}).get("ifindex", index) != index, PATIENCE,
                   what="made again")
        wait_reason(lab, "ports/vm1", "RUNNING", turn)  # until then vmqd has it open
        vm.close()
        vm = TapVm(lab.inbox, lab.host, "vm1", vm.mac)
        lab.stack.callback(vm.close)
        lab.wait_up("vm1")
        flows.check(outside, vm, vm.mac)


def test_made_veth_is_made_again(lab, flows):
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    vm = lab.veth_vm("vm1", 1)
    for turn in range(1, 4):
        if turn == 2:  # from the container's side
            vm.ip("link", "del", "eth0")
        else:
            lab.host.ip("link", "del", "vm1")
        wait_reason(lab, "ports/vm1", "DEVICE_GONE", turn)
        wait_until(lambda: "vm1-p" in lab.host.links(), PATIENCE, what="made again")
        assert lab.host.links()["vm1-p"]["address"] == frames.vm_mac(1)
        lab.move_in(vm, "vm1", "vm1-p", 1)
        flows.check(outside, lab.packet(vm), frames.vm_mac(1))
        vm.ping("10.0.0.254")


def test_name_taken_meanwhile(lab, flows):
    """Somebody else's device of that name is not touched; when it goes, ours is made."""
    wire = lab.wire("eth1")
    outside = lab.packet(wire, "wire0")
    lab.start(uplink="eth1")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    run("ip", "-n", lab.host.name, "-batch", "-", input="link set vm1 name elsewhere\n"
        "link add vm1 type bridge\n", check=False)
    # A renamed device is still the port's: it goes on.
    flows.check(outside, vm, vm.mac)
    lab.host.ip("link", "del", "elsewhere")
    waits = wait_oper(lab, "port", "vm1", "WAITING")
    wait_until(lambda: "vm1" in status(lab, "port", "vm1")["operReason"])
    hidden_from_host(lab, outside, vm.mac, 1000)
    assert lab.host.links()["vm1"]["linkinfo"]["info_kind"] == "bridge", waits
    lab.host.ip("link", "del", "vm1")
    wait_until(lambda: lab.host.links().get("vm1", {}).get("linkinfo", {}).get("info_kind") == "tun",
               PATIENCE, what="made again")
    vm.close()
    again = TapVm(lab.inbox, lab.host, "vm1", vm.mac)
    lab.stack.callback(again.close)
    lab.wait_up("vm1")
    flows.check(outside, again, again.mac)


# --- all at once ---


class Soak:
    """Random events on one uplink and six ports; each step leaves something that can heal."""

    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        self.wire = lab.wire("eth1")
        self.elsewhere = lab.namespace("elsewhere")
        lab.start(uplink="eth1")
        self.macs = {f"vm{index}": frames.vm_mac(index) for index in range(1, 7)}
        self.taps = {name: lab.tap_vm(name, self.macs[name]) for name in ("vm1", "vm2")}
        self.boxes = {name: lab.veth_vm(name, int(name[2:])) for name in ("vm3", "vm4")}
        self.boxes |= {name: lab.netdev_vm(name, int(name[2:])) for name in ("vm5", "vm6")}
        self.done = []

    def step(self):
        acts = [self.flap, self.flap, self.remake_uplink, self.mtu, self.detach, self.remake_port,
                self.remake_port, self.vmm, self.move]
        act = self.random.choice(acts)
        self.done.append(act.__name__)
        act()

    def ip(self, *words):
        """May fail: the device may just be away."""
        self.lab.host.ip(*words, check=False)

    def any(self, *names):
        return self.random.choice(names)

    def flap(self):
        device = self.any("eth1", *self.macs)
        for _ in range(self.random.randint(1, 4)):
            self.ip("link", "set", device, "down")
            self.ip("link", "set", device, "up")

    def remake_uplink(self):
        self.ip("link", "del", "eth1")
        make_veth(self.lab.host, "eth1", "wire0", self.any(2, 4), self.wire)

    def mtu(self):
        self.ip("link", "set", "eth1", "mtu", self.any(1400, 1500, 3000))

    def detach(self):
        device = self.any("eth1", "vm3", "vm4", "vm5", "vm6")
        links = self.lab.host.links()
        if links.get(device, {}).get("xdp"):
            try:
                run("bpftool", "link", "detach", "id", link_on(self.lab, device), check=False)
            except StopIteration:  # gone in the meantime
                pass

    def remake_port(self):
        self.ip("link", "del", port := self.any(*self.macs))
        if port in ("vm5", "vm6"):
            make_veth(self.lab.host, port, f"{port}-p", 1)

    def vmm(self):
        self.taps[self.any("vm1", "vm2")].close()

    def move(self):
        device = self.any("eth1", "vm5", "vm6")
        self.ip("link", "set", device, "netns", self.elsewhere.name)
        self.elsewhere.ip("link", "set", device, "netns", self.lab.host.name, check=False)
        self.ip("link", "set", device, "up")

    def reconnect(self):
        """What a VMM and a container runtime do to be connected again."""
        links = self.lab.host.links()
        for name, tap in self.taps.items():
            tap.close()
            self.taps[name] = TapVm(self.lab.inbox, self.lab.host, name, self.macs[name])
            self.lab.stack.callback(self.taps[name].close)
        for name, box in self.boxes.items():
            if f"{name}-p" in links:
                box.ip("link", "del", "eth0", check=False)
                self.lab.host.ip("link", "set", f"{name}-p", "netns", box.name, "name", "eth0")
            box.ip("link", "set", "eth0", "address", self.macs[name])
            box.up("eth0")


@pytest.mark.parametrize("seed", [1, 2])
def test_soak(lab, flows, seed):
    soak = Soak(lab, seed)
    lab.conservation()
    descriptors = len(os.listdir(f"/proc/{lab.daemon.pid}/fd"))
    end = time.monotonic() + 20
    while time.monotonic() < end:
        soak.step()
        if soak.random.random() < 0.3:
            soak.wire.ip("link", "set", "wire0", "up")
        assert lab.daemon.process.poll() is None, soak.done
    lab.host.ip("link", "set", "eth1", "mtu", "1500")
    wait_oper(lab, "uplink", "eth1", "UP")
    for name in soak.macs:  # DOWN: nobody is connected yet
        wait_until(lambda n=name: status(lab, "port", n)["operStatus"] in ("UP", "DOWN"), PATIENCE,
                   what=f"{name} runs")
    soak.reconnect()
    for name in soak.macs:
        wait_oper(lab, "port", name, "UP")
    outside = lab.packet(soak.wire, "wire0")
    for name, mac in soak.macs.items():
        end = soak.taps.get(name) or lab.packet(soak.boxes[name])
        flows.check(outside, end, mac)
    events(lab)
    if status(lab, "uplink", "eth1")["effectiveQueues"] == 4:
        assert len(os.listdir(f"/proc/{lab.daemon.pid}/fd")) <= descriptors + 2, soak.done

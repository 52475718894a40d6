"""Every drop reason of bpf/abi.h, provoked: test_<reason> makes frames be lost for just that reason
and finds exactly those frames under it. A new reason without a test here fails test_every_reason.
"""

import re
import threading
import time

import pytest

from tests.lab import frames
from tests.lab.endpoints import GSO_TCPV4, NEEDS_CSUM, VNET, wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.stopped_thread import StoppedThread
from tests.lab.vmqd import ROOT, number

pytestmark = pytest.mark.core

# Reasons that no frame from outside can provoke on this kernel, and what covers them instead.
NOT_FROM_OUTSIDE = {
    "runt": "tap and packet sockets refuse frames shorter than an Ethernet header; "
            "tests/bpf runs the programs on every length from 0",
    "guest_buffer": "it takes a guest with buffers that are too small; one of our own is in "
                    "tests/switch/vhost_hostile_test.cc",
    "no_buffer": "the buffers a port can tie up are set aside when it is added, so that a worker's "
                 "pool does not run dry; test_buffers_run_out in test_api_errors.py sees to that",
}


def reasons():
    text = (ROOT / "bpf" / "abi.h").read_text()
    found = re.findall(r'^\s*X\([A-Z_]+, "([a-z_]+)"', text, re.M)
    assert len(found) > 10
    return found


def test_every_reason():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    for reason in reasons():
        assert (reason in tested) != (reason in NOT_FROM_OUTSIDE), reason
    assert not set(NOT_FROM_OUTSIDE) - set(reasons())


def dropped(lab, resource, name, direction, reason, count):
    """Waits until exactly `count` frames are counted under the reason, and under no other."""
    look = lambda: lab.drops(resource, name, direction)
    wait_until(lambda: look() == {reason: count}, check=False)
    assert look() == {reason: count}


@pytest.fixture
def nic(lab):
    nic = lab.nic()
    lab.start(uplink="nic0")
    return nic


@pytest.fixture
def a(lab, nic):
    return lab.tap_vm("a", frames.vm_mac(1))


@pytest.fixture
def b(lab, a):
    return lab.tap_vm("b", frames.vm_mac(2))


def test_truncated_tag(lab, nic, a):
    cut = frames.mac_bytes(a.mac) + frames.mac_bytes(WIRE_MAC) + b"\x81\0"
    for length in (14, 15, 16, 17):
        nic.send((cut + b"\0\7\x08")[:length])
    dropped(lab, "uplink", "nic0", "in", "truncated_tag", 4)
    # A tap's frames pass the kernel's own tag parser first, so the port is a veth.
    box = lab.packet(lab.veth_vm("box", 9))
    from_vm = frames.mac_bytes(WIRE_MAC) + frames.mac_bytes(frames.vm_mac(9)) + b"\x81\0"
    for length in (14, 15, 16, 17):
        box.send((from_vm + b"\0\7\x08")[:length])
    wait_until(lambda: lab.drops("port", "box", "in").get("truncated_tag") == 4)


def test_frame_too_large(lab):
    """Longer than the MTU, of several buffers, allows."""
    nic = lab.nic()
    lab.host.ip("link", "set", "nic0", "mtu", "9000")
    lab.start(uplink="nic0")
    a = lab.tap_vm("a", frames.vm_mac(1))
    limit = lab.cli("uplink", "show", "nic0")["maxFrameLen"]
    for queue in range(4):
        nic.send(frames.numbered(a.mac, WIRE_MAC, 1, queue, length=limit + 1), queue)
    dropped(lab, "uplink", "nic0", "in", "frame_too_large", 4)


def test_no_socket(lab):
    """On a hardware queue that vmqd was told not to serve."""
    nic = lab.nic()
    lab.start()
    lab.cli("uplink", "add", "nic0", "--queues", "1")
    a = lab.tap_vm("a", frames.vm_mac(1))
    nic.send_flow(a.mac, WIRE_MAC, 1, 30, queue=3)
    dropped(lab, "uplink", "nic0", "in", "no_socket", 30)


def long_queue(lab, vm):
    """The queue in front of the VM is no bottleneck: 1000 frames by default."""
    lab.host.ip("link", "set", "dev", vm.device, "txqueuelen", "5000")


def test_rx_ring_full(lab, nic, a):
    long_queue(lab, a)
    size = max(s["rxRingSize"] for s in lab.cli("port", "show", "a")["sockets"])
    home = lab.cli("port", "show", "a").get("effectiveQueue", 0)
    with lab.daemon.paused():
        nic.send_flow(a.mac, WIRE_MAC, 1, size + 500, rate=1e6, queue=home)
    # The ring's worth at least; a worker stopped in the middle of a turn has taken some out already.
    offered = lambda: number(lab.cli("port", "show", "a")["counters"], "offeredPkts")
    wait_until(lambda: offered() == size + 500)
    lost = lab.drops("port", "a", "out")["rx_ring_full"]
    assert 400 <= lost <= 500
    assert a.wait_flow(1, size + 500 - lost) == list(range(size + 500 - lost))
    dropped(lab, "port", "a", "out", "rx_ring_full", lost)


def test_rx_no_buffer(lab, nic):
    """More frames than the fill ring has buffers come while the daemon stands still."""
    vms = [lab.tap_vm(f"vm{i}", frames.vm_mac(i), "--queue", "1") for i in range(8)]
    for vm in vms:
        long_queue(lab, vm)
    sizes = [lab.cli("port", "show", vm.device)["sockets"][0]["rxRingSize"] for vm in vms]
    with lab.daemon.paused():
        for flow, (vm, size) in enumerate(zip(vms, sizes)):
            nic.send_flow(vm.mac, WIRE_MAC, flow, size, rate=1e6, queue=1)
    lost = 0
    for flow, (vm, size) in enumerate(zip(vms, sizes)):
        offered = lambda: number(lab.cli("port", "show", vm.device)["counters"], "offeredPkts")
        wait_until(lambda: offered() == size)
        reasons_ = lab.drops("port", vm.device, "out")
        assert set(reasons_) <= {"rx_no_buffer"}, reasons_
        lost += reasons_.get("rx_no_buffer", 0)
        assert len(vm.wait_flow(flow, size - reasons_.get("rx_no_buffer", 0))) + reasons_.get(
            "rx_no_buffer", 0) == size
    assert lost > 0


def test_rx_backlog(lab, nic, a):
    """The packet socket of a tap port holds so much and no more."""
    count = 60000
    with lab.daemon.paused():
        a.send_flow(WIRE_MAC, a.mac, 1, count, rate=1e6)
    wait_until(lambda: number(lab.cli("port", "show", "a")["counters"], "inPkts") == count, 20)
    lost = lab.drops("port", "a", "in")
    assert set(lost) == {"rx_backlog"}, lost
    kept = count - lost["rx_backlog"]
    # The kernel has counted what the worker may still have to take.
    wait_until(lambda: number(lab.cli("uplink", "show", "nic0")["counters"],
                              "offeredPkts") == kept, 20, what=f"{kept} frames on their way out")
    assert 0 < len(nic.flow(1)) <= kept


def test_reserved_multicast(lab, nic, a, b):
    for last in (0, 1, 2, 3, 0xE, 0xF):
        a.send(frames.numbered(f"01:80:c2:00:00:{last:02x}", a.mac, 1, last))
    a.send(frames.numbered("01:80:c2:00:00:10", a.mac, 2, 0))  # the first that is not reserved
    assert b.wait_flow(2, 1) == [0] and not b.flow(1)
    dropped(lab, "port", "a", "in", "reserved_multicast", 6)


def test_spoofed_source(lab, nic, a, b):
    for source in (b.mac, "02:66:00:00:00:01", "00:00:00:00:00:00", frames.BROADCAST):
        a.send_flow(WIRE_MAC, source, 1, 5)
    dropped(lab, "port", "a", "in", "spoofed_source", 20)


def test_tag_not_allowed(lab, nic, a, b):
    red = lab.tap_vm("red", frames.vm_mac(3), "--vlan", "10")
    for vm, device in ((a, "a"), (red, "red")):
        for vlan in (1, 10, 4094):
            vm.send(frames.numbered(WIRE_MAC, vm.mac, 1, 0, vlan=vlan))
        dropped(lab, "port", device, "in", "tag_not_allowed", 3)
    box = lab.packet(lab.veth_vm("box", 9))
    before = lab.drops("port", "box", "in").get("tag_not_allowed", 0)
    box.send(frames.numbered(WIRE_MAC, frames.vm_mac(9), 1, 0, vlan=10))
    wait_until(lambda: lab.drops("port", "box", "in").get("tag_not_allowed", 0) == before + 1)
    assert not nic.flow(1)


def test_bad_offload(lab, nic, a):
    """A large TCP segment whose IP header says it ends before its TCP header does."""
    segment = frames.tcp("10.0.0.1", "10.0.0.2", 1, 2, bytes(4000), partial=True)
    packet = bytearray(frames.ipv4("10.0.0.1", "10.0.0.2", frames.TCP, segment))
    packet[2:4] = (30).to_bytes(2, "big")
    frame = frames.ether(WIRE_MAC, a.mac, frames.ETH_IPV4, bytes(packet))
    for _ in range(3):
        a.send(frame, VNET.pack(NEEDS_CSUM, GSO_TCPV4, 54, 1400, 34, 16))
    dropped(lab, "port", "a", "in", "bad_offload", 3)


def test_port_disabled(lab, nic, a, b):
    lab.cli("port", "set", "a", "--disable")
    a.send_flow(b.mac, a.mac, 1, 10)
    dropped(lab, "port", "a", "in", "port_disabled", 10)
    b.send_flow(a.mac, b.mac, 2, 10)
    nic.send_flow(a.mac, WIRE_MAC, 2, 10, queue=0)
    dropped(lab, "port", "a", "out", "port_disabled", 20)


def test_no_destination(lab, nic, a):
    """A broadcast from the wire on a VLAN that no port is on."""
    for queue in range(4):
        nic.send(frames.numbered(frames.BROADCAST, WIRE_MAC, 1, queue, vlan=77), queue)
    dropped(lab, "uplink", "nic0", "in", "no_destination", 4)


def test_hairpin(lab, nic):
    a = lab.tap_vm("a", f"{frames.vm_mac(1)},{frames.vm_mac(2)}")
    a.send_flow(frames.vm_mac(2), frames.vm_mac(1), 1, 10)
    a.send_flow(frames.vm_mac(1), frames.vm_mac(1), 1, 10)
    dropped(lab, "port", "a", "in", "hairpin", 20)


def test_mtu_exceeded(lab, nic, a, b):
    lab.cli("port", "set", "b", "--mtu", "1000")
    a.send(frames.numbered(b.mac, a.mac, 1, 0, length=1014))
    assert b.wait_flow(1, 1) == [0]
    for _ in range(4):
        a.send(frames.numbered(b.mac, a.mac, 2, 0, length=1015))
    nic.send(frames.numbered(b.mac, WIRE_MAC, 2, 0, length=1015))
    dropped(lab, "port", "b", "out", "mtu_exceeded", 5)


def test_handover_full(lab, nic, a):
    """The worker at home stands still while another hands frames over to it."""
    home = lab.cli("port", "show", "a")["effectiveQueue"]
    count = 3000
    with StoppedThread(lab.daemon.pid, worker(lab, home)):
        nic.send_flow(a.mac, WIRE_MAC, 1, count, rate=20000, queue=0)
        time.sleep(0.3)
    wait_until(lambda: number(lab.cli("port", "show", "a")["counters"], "offeredPkts") == count, 10)
    lost = lab.drops("port", "a", "out")
    assert lost.get("handover_full", 0) > 0 and set(lost) <= {"handover_full", "port_full"}, lost


def worker(lab, queue):
    return f"vmq-nic0-{queue}"  # as daemon/control names its threads


def test_port_gone(lab, nic, a, b):
    """Frames are in another worker's hand-over ring when their port goes."""
    home = lab.cli("port", "show", "a")["effectiveQueue"]
    before = lab.cli("switch", "show")["counters"]
    with StoppedThread(lab.daemon.pid, worker(lab, home)):
        nic.send_flow(a.mac, WIRE_MAC, 1, 50, queue=0)
        time.sleep(0.2)
        remove = threading.Thread(target=lab.cli, args=("port", "del", "a"))
        remove.start()
        time.sleep(0.3)
    remove.join()
    counters = lab.conservation()["switch"]
    lost = {d["reason"]: int(d["pkts"]) for d in
            counters.get("outDrops", []) + counters.get("inDrops", [])}
    delivered = len(a.flow(1))
    assert lost.get("port_gone", 0) + delivered == 50 and lost.get("port_gone", 0) > 0, (
        lost, delivered, before)


def test_port_down(lab, nic, a, b):
    a.close()  # the VMM closes its tap: no carrier
    wait_until(lambda: lab.cli("port", "show", "a")["operStatus"] == "DOWN")
    b.send_flow(a.mac, b.mac, 1, 10)
    nic.send_flow(a.mac, WIRE_MAC, 1, 10, queue=1)
    dropped(lab, "port", "a", "out", "port_down", 20)


def test_port_full(lab, nic):
    """A VM that reads nothing: first its device's queue fills up, then what it may have under way."""
    sender = lab.tap_vm("a", frames.vm_mac(1), "--queue", "1")
    target = lab.tap_vm("b", frames.vm_mac(2), "--queue", "1", reading=False)
    sender.send_flow(target.mac, sender.mac, 1, 5000)
    counters = lambda: lab.cli("port", "show", "b")["counters"]
    wait_until(lambda: number(counters(), "offeredPkts") == 5000)
    lost = lab.drops("port", "b", "out")
    assert lost["port_full"] > 0 and set(lost) <= {"port_full", "device_refused"}, lost


def test_uplink_down(lab, nic, a):
    lab.host.ip("link", "set", "nic0", "down")
    wait_until(lambda: lab.cli("uplink", "show", "nic0")["operStatus"] == "DOWN")
    a.send_flow(WIRE_MAC, a.mac, 1, 10)
    dropped(lab, "uplink", "nic0", "out", "uplink_down", 10)


def test_uplink_full(lab):
    """Many VMs send at once while the NIC takes nothing: vmqd gives up one frame a try, and the ring
    has no room for the others.
    """
    nic = lab.nic()
    lab.host.ip("link", "set", "nic0", "txqueuelen", "64")
    lab.start(uplink="nic0")
    vms = [lab.tap_vm(f"vm{i}", frames.vm_mac(i), "--queue", "1") for i in range(60)]
    nic.stall()
    with lab.daemon.paused():
        for flow, vm in enumerate(vms):
            vm.send_flow(WIRE_MAC, vm.mac, flow, 200, rate=1e6)
    counters = lambda: lab.cli("uplink", "show", "nic0")["counters"]
    wait_until(lambda: number(counters(), "offeredPkts") == 200 * len(vms), 10)
    lost = lab.drops("uplink", "nic0", "out")
    assert set(lost) == {"uplink_full", "device_refused"} and lost["uplink_full"] > 1000, lost


def test_device_refused(lab):
    """Nobody empties the NIC's transmit queue, which is shorter than vmqd's ring."""
    nic = lab.nic()
    lab.host.ip("link", "set", "nic0", "txqueuelen", "64")
    lab.start(uplink="nic0")
    a = lab.tap_vm("a", frames.vm_mac(1))
    nic.stall()
    a.send_flow(WIRE_MAC, a.mac, 1, 500)
    counters = lambda: lab.cli("uplink", "show", "nic0")["counters"]
    wait_until(lambda: number(counters(), "outPkts") == 64)
    dropped(lab, "uplink", "nic0", "out", "device_refused", 436)

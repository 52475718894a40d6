"""Who gets a frame: local switching, flooding, VLANs, the source check. All on crafted frames."""

import time

import pytest

from tests.lab import frames
from tests.lab.lab import WIRE_MAC

SETTLE = 0.3  # how long a frame that must not come is waited for
GROUP = "01:00:5e:00:00:fb"


@pytest.fixture
def three(lab):
    """A NIC and three tap VMs on three queues."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    return nic, [lab.tap_vm(f"vm{i}", frames.vm_mac(i)) for i in (1, 2, 3)]


@pytest.mark.core
def test_local_switching(three):
    """Port to port directly: nobody else sees the frame, not even the wire."""
    nic, (a, b, c) = three
    a.send_flow(b.mac, a.mac, 1, 500)
    b.send_flow(a.mac, b.mac, 2, 500)
    assert b.wait_flow(1, 500) == list(range(500)) and a.wait_flow(2, 500) == list(range(500))
    time.sleep(SETTLE)
    for other in (nic, c):
        assert not other.flow(1) and not other.flow(2)
    assert not a.flow(1) and not b.flow(2)


def test_unknown_unicast_leaves_by_the_uplink_only(three):
    nic, (a, b, c) = three
    a.send_flow("02:99:00:00:00:01", a.mac, 1, 50)
    assert nic.wait_flow(1, 50) == list(range(50))
    time.sleep(SETTLE)
    assert not b.flow(1) and not c.flow(1) and not a.flow(1)


@pytest.mark.core
@pytest.mark.parametrize("dst", [frames.BROADCAST, GROUP, "33:33:00:00:00:01"])
def test_flood_from_a_vm(lab, three, dst):
    """Everybody once, the wire and the host's own port too, never the sender."""
    nic, (a, b, c) = three
    host = lab.packet(lab.host_port("vhost0"), "vhost0")
    a.send_flow(dst, a.mac, 1, 100, rate=5000)
    for other in (nic, b, c, host):
        assert other.wait_flow(1, 100) == list(range(100))
    time.sleep(SETTLE)
    assert not a.flow(1) and len(b.flow(1)) == 100


@pytest.mark.core
@pytest.mark.parametrize("queue", range(4))
@pytest.mark.parametrize("dst", [frames.BROADCAST, GROUP])
def test_flood_from_the_wire(lab, three, queue, dst):
    """The switch and the host's own stack; not back to the wire."""
    nic, vms = three
    stack = lab.packet(lab.host, "nic0")
    nic.send_flow(dst, WIRE_MAC, 1, 100, queue=queue, rate=5000)
    for other in (*vms, stack):
        assert other.wait_flow(1, 100) == list(range(100))
    time.sleep(SETTLE)
    assert not nic.flow(1) and all(len(vm.flow(1)) == 100 for vm in vms)


def test_vm_frames_never_reach_the_host_stack(lab, three):
    """What a VM sends is seen by no socket on the tap's or the uplink's receive side."""
    nic, (a, b, _) = three
    stack = [lab.packet(lab.host, device) for device in ("nic0",)]
    answered = lab.host.links()["nic0"]["address"]
    lab.host.address("nic0", "10.9.0.1/24")
    a.send(frames.arp_request(a.mac, "10.9.0.2", "10.9.0.1"))
    a.send_flow(answered, a.mac, 1, 20)
    nic.wait_flow(1, 20)
    time.sleep(SETTLE)
    assert not stack[0].flow(1)
    replies = [item for item in a.frames if item.frame[20:22] == b"\0\2"]
    assert not replies, "the host answered a VM's ARP"


@pytest.mark.core
def test_vlan_isolation(lab):
    """Access ports: the tag is taken off on the way in and put on on the way to the wire."""
    nic = lab.nic()
    lab.start(uplink="nic0")
    plain = lab.tap_vm("plain", frames.vm_mac(1))
    red = lab.tap_vm("red", frames.vm_mac(2), "--vlan", "10")
    red2 = lab.tap_vm("red2", frames.vm_mac(3), "--vlan", "10")
    blue = lab.tap_vm("blue", frames.vm_mac(4), "--vlan", "4094")
    everyone = (plain, red, red2, blue)

    def from_wire(dst, flow, vlan):
        for queue in range(4):
            nic.send(frames.numbered(dst, WIRE_MAC, flow, queue, vlan), queue)

    def got(flow):
        time.sleep(SETTLE)
        return [vm.device for vm in everyone if sorted(vm.flow(flow)) == [0, 1, 2, 3]]

    from_wire(red.mac, 1, 10)
    from_wire(red.mac, 2, None)
    from_wire(red.mac, 3, 11)
    from_wire(plain.mac, 4, 10)
    from_wire(plain.mac, 5, 0)  # priority-tagged: VLAN id 0 is untagged
    from_wire(blue.mac, 6, 4094)
    from_wire(frames.BROADCAST, 7, 10)
    from_wire(frames.BROADCAST, 8, None)
    from_wire(frames.BROADCAST, 9, 4094)
    assert [got(flow) for flow in range(1, 10)] == [
        ["red"], [], [], [], ["plain"], ["blue"], ["red", "red2"], ["plain"], ["blue"]]
    for item in red.frames + blue.frames + red2.frames:
        assert frames.parse(item.frame).vlan is None, "the tag reached an access port"

    red.send_flow(red2.mac, red.mac, 20, 4)
    red.send_flow(plain.mac, red.mac, 21, 4)  # other VLAN: the wire's business
    red.send_flow(frames.BROADCAST, red.mac, 22, 4)
    plain.send_flow(frames.BROADCAST, plain.mac, 23, 4)
    assert [got(flow) for flow in range(20, 24)] == [["red2"], [], ["red2"], []]
    for flow, vlan in ((21, 10), (22, 10), (23, None)):
        assert sorted(nic.wait_flow(flow, 4)) == [0, 1, 2, 3]
        seen = [item.frame for item in nic.frames
                if (frames.number_of(item.frame) or [0])[0] == flow]
        assert {frames.parse(frame).vlan for frame in seen} == {vlan}
    assert not nic.flow(20)


def test_same_mac_on_two_vlans(lab):
    nic = lab.nic()
    lab.start(uplink="nic0")
    red = lab.tap_vm("red", frames.vm_mac(1), "--vlan", "10")
    blue = lab.tap_vm("blue", frames.vm_mac(1), "--vlan", "20")
    nic.send(frames.numbered(red.mac, WIRE_MAC, 1, 0, vlan=10), 3)
    nic.send(frames.numbered(red.mac, WIRE_MAC, 2, 0, vlan=20), 3)
    assert red.wait_flow(1, 1) == [0] and blue.wait_flow(2, 1) == [0]
    assert not red.flow(2) and not blue.flow(1)


def test_vlan_and_macs_change_under_way(lab, three):
    nic, (a, b, _) = three
    lab.cli("port", "set", "vm1", "--vlan", "30")
    nic.send(frames.numbered(a.mac, WIRE_MAC, 1, 0, vlan=30), 2)
    assert a.wait_flow(1, 1) == [0]
    a.send_flow(b.mac, a.mac, 2, 5)  # no longer on the same VLAN
    assert nic.wait_flow(2, 5) == list(range(5)) and not b.flow(2)
    lab.cli("port", "set", "vm1", "--vlan", "0", "--mac", frames.vm_mac(77))
    nic.send(frames.numbered(frames.vm_mac(77), WIRE_MAC, 3, 0), 0)
    assert a.wait_flow(3, 1) == [0]
    nic.send(frames.numbered(a.mac, WIRE_MAC, 4, 0), 0)
    time.sleep(SETTLE)
    assert not a.flow(4)


@pytest.mark.core
def test_source_check_and_trust(lab, three):
    nic, (a, b, _) = three
    false = "02:66:00:00:00:01"
    a.send_flow(b.mac, false, 1, 10)
    a.send_flow(WIRE_MAC, b.mac, 2, 10)
    time.sleep(SETTLE)
    assert not b.flow(1) and not nic.flow(2)
    assert lab.drops("port", "vm1", "in") == {"spoofed_source": 20}
    lab.cli("port", "set", "vm1", "--trusted")
    a.send_flow(b.mac, false, 3, 10)
    assert b.wait_flow(3, 10) == list(range(10))
    lab.cli("port", "set", "vm1", "--no-trusted")
    a.send_flow(b.mac, false, 4, 10)
    time.sleep(SETTLE)
    assert not b.flow(4) and lab.drops("port", "vm1", "in") == {"spoofed_source": 30}


def test_disable_and_enable(lab, three):
    nic, (a, b, _) = three
    lab.cli("port", "set", "vm1", "--disable")
    nic.send_flow(a.mac, WIRE_MAC, 1, 10)
    a.send_flow(b.mac, a.mac, 2, 10)
    time.sleep(SETTLE)
    assert not a.flow(1) and not b.flow(2)
    lab.cli("port", "set", "vm1", "--enable")
    nic.send_flow(a.mac, WIRE_MAC, 3, 10)
    a.send_flow(b.mac, a.mac, 4, 10)
    assert a.wait_flow(3, 10) == list(range(10)) and b.wait_flow(4, 10) == list(range(10))

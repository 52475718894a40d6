"""Frames longer than one AF_XDP buffer, at an MTU of 9000, by every way there is through the switch.

What must stay true: every byte arrives as it was sent, whatever kinds of port lie at the ends, on
whichever queues; a checksum or a cut that was left to the device is finished; every frame is counted
once, however many buffers it took; and what nobody can take is dropped under its name.
"""

import random

import pytest

from tests.lab import frames
from tests.lab.endpoints import GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VNET, wait_until
from tests.lab.lab import WIRE_MAC
from tests.system.test_offloads import ADDRESSES, check_segments, data, frame_of, header_of

MTU = 9000
LONGEST = MTU + 14
# Around what one, two and three buffers hold, and the longest.
LENGTHS = (60, 3836, 3839, 3840, 3841, 3844, 7679, 7680, 7681, 7685, 9013, LONGEST)


@pytest.fixture
def jumbo(lab):
    """The stand-in NIC of four queues, and ports of two kinds on different ones."""
    nic = lab.nic()
    lab.host.ip("link", "set", "nic0", "mtu", MTU)
    nic.mac = WIRE_MAC
    lab.start(uplink="nic0")
    taps = [lab.tap_vm(f"tap{index}", frames.vm_mac(index), "--queue", index % 4)
            for index in (1, 2, 5)]
    boxes = [lab.packet(lab.veth_vm(f"box{index}", index, "--queue", index % 4),
                        mac=frames.vm_mac(index)) for index in (3, 6)]
    return nic, taps + boxes


def pattern(dst, src, flow, seq, length):
    content = random.Random(f"{flow} {seq}").randbytes(length)
    head = frames.numbered(dst, src, flow, seq)[:14 + frames.NUMBER.size]
    return head + content[len(head):]


def arrived(receiver, flow):
    found = [(frames.number_of(item.frame), item.frame) for item in receiver.frames]
    return [frame for place, frame in found if place and place[0] == flow]


def exact(send, receivers, dst, src, flow, lengths=LENGTHS):
    sent = [pattern(dst, src, flow, seq, length) for seq, length in enumerate(lengths)]
    for frame in sent:
        send(frame)
    for receiver in receivers:
        receiver.wait_flow(flow, len(sent), 10)
        got = arrived(receiver, flow)
        assert [len(frame) for frame in got] == list(lengths)
        assert got == sent


def test_everybody_to_everybody(jumbo):
    """From port to port, on one queue and from queue to queue, and to and from the wire."""
    nic, vms = jumbo
    flow = 0
    for sender in [nic, *vms]:
        for receiver in [nic, *vms]:
            if sender is receiver:
                continue
            flow += 1
            exact(sender.send, [receiver], receiver.mac, sender.mac, flow)


@pytest.mark.parametrize("queue", range(4))
def test_from_every_queue_of_the_wire(jumbo, queue):
    """At home or misplaced."""
    nic, vms = jumbo
    for flow, vm in enumerate(vms, 1):
        exact(lambda frame: nic.send(frame, queue), [vm], vm.mac, nic.mac, flow)


def test_floods(jumbo):
    nic, vms = jumbo
    for flow, sender in enumerate([nic, vms[0], vms[-1]], 1):
        others = [other for other in [nic, *vms] if other is not sender]
        exact(sender.send, others, frames.BROADCAST, sender.mac, flow)


def test_access_vlan(lab, jumbo):
    """The tag goes on and comes off, at home and elsewhere; the longest frame is longer by it."""
    nic, _ = jumbo
    red = lab.tap_vm("red", frames.vm_mac(8), "--vlan", 10, "--queue", 2)
    for queue, length in ((2, LONGEST), (1, LONGEST), (2, 3841), (1, 3841)):
        plain = pattern(red.mac, nic.mac, queue, length, length)
        nic.send(plain[:12] + b"\x81\0\0\x0a" + plain[12:], queue)
        red.expect(lambda frame: frame == plain)
        back = pattern(nic.mac, red.mac, queue, length, length)
        red.send(back)
        nic.expect(lambda frame: frame == back[:12] + b"\x81\0\0\x0a" + back[12:])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [frames.TCP, frames.UDP])
@pytest.mark.parametrize("length", [3787, 3788, 7628, 7629, 8900])
def test_missing_checksum_is_completed(jumbo, version, protocol, length):
    """Named by a tap's VM; told from the field where a veth's container left it out."""
    nic, vms = jumbo
    for sender in (vms[0], vms[-1]):
        partial = frame_of(nic.mac, sender.mac, version, protocol, data(length), partial=True)
        whole = frame_of(nic.mac, sender.mac, version, protocol, data(length))
        header = [header_of(version, protocol)] if sender is vms[0] else []
        sender.send(partial, *header)
        nic.expect(lambda frame: frame == whole)
        for other in vms:
            if other is not sender:
                sender.send(frames.mac_bytes(other.mac) + partial[6:], *header)
                other.expect(lambda frame: frame[6:] == whole[6:])


@pytest.mark.parametrize("version,gso", [(4, GSO_TCPV4), (6, GSO_TCPV6)])
@pytest.mark.parametrize("size", [8948, 3787, 4001])
def test_large_segment_is_cut_to_jumbo_frames(jumbo, version, gso, size):
    nic, (tap, other, *_) = jumbo
    size = min(size, MTU - 20 - 20 * (1 if version == 4 else 2))
    for receiver in (nic, other):
        large = frame_of(receiver.mac, tap.mac, version, frames.TCP, data(60000), partial=True,
                         flags=0x19)
        tap.send(large, header_of(version, frames.TCP, gso, size))
        mine = lambda: [item.frame for item in receiver.frames
                        if frames.parse(item.frame).sport == 4000]
        receiver.expect(lambda f: len(mine()) >= -(-60000 // size))
        check_segments(mine(), version, frames.TCP, data(60000), size)


def test_what_is_too_long_has_a_name(lab, jumbo):
    nic, (tap, other, *_) = jumbo
    assert lab.cli("uplink", "show", "nic0")["maxFrameLen"] == LONGEST + 4
    nic.send(frames.numbered(tap.mac, nic.mac, 1, 1, length=LONGEST + 5))
    wait_until(lambda: lab.drops("uplink", "nic0", "in").get("frame_too_large") == 1)
    nic.send(frames.numbered(tap.mac, nic.mac, 1, 1, length=LONGEST + 1))
    wait_until(lambda: lab.drops("port", "tap1", "out").get("mtu_exceeded") == 1)
    small = lab.tap_vm("small", frames.vm_mac(9), "--mtu", 1500)
    nic.send(frames.numbered(small.mac, nic.mac, 1, 1, length=LONGEST))
    other.send(frames.numbered(small.mac, other.mac, 1, 1, length=1515))
    wait_until(lambda: lab.drops("port", "small", "out").get("mtu_exceeded") == 2)
    refused = lab.daemon.call("port", "set", "small", "--mtu", MTU + 1)
    assert refused.returncode != 0 and str(MTU) in refused.stderr and "nic0" in refused.stderr
    assert not tap.flow(1) and not small.flow(1)


def test_a_stream_of_them(jumbo):
    """None is lost, doubled or out of order while buffers go round many times."""
    nic, vms = jumbo
    for flow, (sender, receiver) in enumerate([(nic, vms[0]), (vms[0], nic), (nic, vms[3]),
                                               (vms[3], nic), (vms[0], vms[1])], 1):
        for first in range(0, 6000, 30):
            for seq in range(first, first + 30):
                sender.send(frames.numbered(receiver.mac, sender.mac, flow, seq, length=LONGEST))
            receiver.wait_flow(flow, first + 30, 10)
        assert receiver.flow(flow) == list(range(6000))

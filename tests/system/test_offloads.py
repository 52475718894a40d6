"""What a sender left to its device: missing checksums and large segments, finished by vmqd.

The VM is a tap whose virtio_net_hdr the test writes itself; the wire is the NIC stand-in, so every
byte that leaves is seen. Checksums are compared with those computed by tests/lab/frames.py.
"""

import pytest

from tests.lab import frames
from tests.lab.endpoints import GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VNET
from tests.lab.lab import WIRE_MAC

MSS = 1400
ADDRESSES = {4: ("10.0.0.1", "10.0.0.254"), 6: ("fd00::1", "fd00::fe")}
NETWORK_LENGTH = {4: 20, 6: 40}


@pytest.fixture
def vm(lab):
    lab.nic_ = lab.nic()
    lab.start(uplink="nic0")
    return lab.tap_vm("vm1", frames.vm_mac(1))


def packet(version, protocol, segment):
    src, dst = ADDRESSES[version]
    if version == 4:
        return frames.ETH_IPV4, frames.ipv4(src, dst, protocol, segment, ident=700)
    return frames.ETH_IPV6, frames.ipv6(src, dst, protocol, segment)


def frame_of(dst, src, version, protocol, payload, **kwargs):
    build = frames.tcp if protocol == frames.TCP else frames.udp
    segment = build(*ADDRESSES[version], 4000, 5000, payload, **kwargs)
    return frames.ether(dst, src, *packet(version, protocol, segment), pad=False)


def header_of(version, protocol, gso=GSO_NONE, size=0):
    start = 14 + NETWORK_LENGTH[version]
    length, at = (20, 16) if protocol == frames.TCP else (8, 6)
    return VNET.pack(NEEDS_CSUM, gso, start + length if gso else 0, size, start, at)


def data(length):
    return bytes(index * 7 % 251 for index in range(length))


@pytest.mark.core
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [frames.TCP, frames.UDP])
@pytest.mark.parametrize("length", [0, 1, 2, 99, 1200])
def test_missing_checksum_is_completed(lab, vm, version, protocol, length):
    partial = frame_of(WIRE_MAC, vm.mac, version, protocol, data(length), partial=True)
    whole = frame_of(WIRE_MAC, vm.mac, version, protocol, data(length))
    other = lab.tap_vm("vm2", frames.vm_mac(2))
    vm.send(partial, header_of(version, protocol))
    lab.nic_.expect(lambda f: f[:len(whole)] == whole)
    vm.send(frames.mac_bytes(other.mac) + partial[6:], header_of(version, protocol))
    received = other.expect(lambda f: f[6:len(whole)] == whole[6:])
    assert received.header[:2] == (0, GSO_NONE)


def check_segments(received, version, protocol, payload, size):
    """Segments in order: contiguous, each whole, and the flags where they belong."""
    count = -(-len(payload) // size)
    packets = [frames.parse(frame) for frame in received]
    assert len(packets) == count
    assert b"".join(packet.payload for packet in packets) == payload
    for index, packet_ in enumerate(packets):
        last = index == count - 1
        assert packet_.checksums_ok, (index, packet_)
        assert len(packet_.payload) == (len(payload) - size * index if last else size)
        if version == 4:
            assert packet_.ident == 700 + index
        if protocol == frames.TCP:
            assert packet_.seq == 1000 + index * size
            assert packet_.flags == (0x19 if last else 0x10), "FIN and PSH on the last only"


@pytest.mark.core
@pytest.mark.parametrize("version,protocol,gso,length", [
    (4, frames.TCP, GSO_TCPV4, 9000), (4, frames.TCP, GSO_TCPV4, MSS + 1),
    (4, frames.TCP, GSO_TCPV4, 3 * MSS), (4, frames.TCP, GSO_TCPV4, 64000),
    (6, frames.TCP, GSO_TCPV6, 9000), (6, frames.TCP, GSO_TCPV6, 64000),
    (4, frames.UDP, GSO_UDP_L4, 9000), (6, frames.UDP, GSO_UDP_L4, 9000)])
def test_large_segment_is_cut(lab, vm, version, protocol, gso, length):
    payload = data(length)
    options = {"flags": 0x19} if protocol == frames.TCP else {}
    other = lab.tap_vm("vm2", frames.vm_mac(2))
    for dst, receiver in ((WIRE_MAC, lab.nic_), (other.mac, other)):
        large = frame_of(dst, vm.mac, version, protocol, payload, partial=True, **options)
        vm.send(large, header_of(version, protocol, gso, MSS))
        mine = lambda: [item.frame for item in receiver.frames
                        if frames.parse(item.frame).sport == 4000]
        receiver.expect(lambda f: len(mine()) >= -(-length // MSS))
        check_segments(mine(), version, protocol, payload, MSS)


@pytest.mark.core
def test_large_segment_on_an_access_vlan(lab, vm):
    """The tag the switch puts on comes with every segment."""
    red = lab.tap_vm("red", frames.vm_mac(3), "--vlan", "10")
    large = frame_of(WIRE_MAC, red.mac, 4, frames.TCP, data(5000), partial=True, flags=0x19)
    red.send(large, header_of(4, frames.TCP, GSO_TCPV4, MSS))
    mine = lambda: [f.frame for f in lab.nic_.frames if frames.parse(f.frame).sport == 4000]
    lab.nic_.expect(lambda f: len(mine()) >= 4)
    assert {frames.parse(frame).vlan for frame in mine()} == {10}
    check_segments(mine(), 4, frames.TCP, data(5000), MSS)


@pytest.mark.core
def test_partial_checksum_from_a_veth(lab, vm):
    """A veth does not say that a checksum is missing; a field with the pseudo-header sum does."""
    container = lab.packet(lab.veth_vm("box", 9))
    for protocol in (frames.TCP, frames.UDP):
        for version in (4, 6):
            segment = (WIRE_MAC, frames.vm_mac(9), version, protocol, data(77))
            partial, whole = frame_of(*segment, partial=True), frame_of(*segment)
            container.send(partial)
            lab.nic_.expect(lambda f: f[:len(whole)] == whole)


def test_wrong_checksum_is_not_repaired(lab, vm):
    """What a VM got wrong stays wrong, byte for byte: checksums are finished, not forged."""
    frame = bytearray(frame_of(WIRE_MAC, vm.mac, 4, frames.UDP, data(50)))
    frame[40] ^= 0x55
    vm.send(bytes(frame))
    lab.nic_.expect(lambda f: f[:len(frame)] == bytes(frame))

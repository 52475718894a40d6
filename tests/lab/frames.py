"""Ethernet frames as bytes: builds them with correct checksums and takes them apart again.

Used by every system test, from any thread; no I/O. What must stay true: a builder computes every
checksum itself, so that a test compares vmqd's result with an independent one.
"""

import dataclasses
import ipaddress
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
ETH_IPV4, ETH_ARP, ETH_VLAN, ETH_IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
ETH_TEST = 0x88B5  # IEEE 802 local experimental: the numbered frames
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
NUMBER = struct.Struct("!4sII")  # magic, flow, sequence number
MAGIC = b"vmqd"


def mac_bytes(text):
    return bytes(int(part, 16) for part in text.split(":"))


def mac_text(data):
    return ":".join(f"{byte:02x}" for byte in data)


def vm_mac(index):
    """The address of the index-th VM of a lab: locally administered, unicast."""
    return f"02:00:00:00:{index >> 8:02x}:{index & 0xFF:02x}"


def checksum(data, start=0):
    """The Internet checksum (RFC 1071) of data, continuing from the sum `start`."""
    if len(data) % 2:
        data += b"\0"
    total = start + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ether(dst, src, ethertype, payload=b"", vlan=None, priority=0, pad=True):
    """One frame; vlan None: untagged. `pad`: to the 60 bytes a wire carries at least."""
    header = mac_bytes(dst) + mac_bytes(src)
    if vlan is not None:
        header += struct.pack("!HH", ETH_VLAN, priority << 13 | vlan)
    frame = header + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0") if pad else frame


def numbered(dst, src, flow, seq, vlan=None, length=60):
    """A frame that says which flow it is of and its place in it."""
    frame = ether(dst, src, ETH_TEST, NUMBER.pack(MAGIC, flow, seq), vlan)
    return frame.ljust(length, b"\0")


def number_of(frame):
    """(flow, sequence number) of a numbered frame, None for any other."""
    at = 18 if frame[12:14] == b"\x81\0" else 14
    if frame[at - 2:at] != b"\x88\xb5" or len(frame) < at + NUMBER.size:
        return None
    magic, flow, seq = NUMBER.unpack_from(frame, at)
    return (flow, seq) if magic == MAGIC else None


def ipv4(src, dst, protocol, payload, ident=1):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, 0x4000, 64, protocol,
                         0, ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(src, dst, protocol, payload, hops=64):
    return struct.pack("!IHBB16s16s", 0x60000000, len(payload), protocol, hops,
                       ipaddress.ip_address(src).packed,
                       ipaddress.ip_address(dst).packed) + payload


def pseudo_sum(src, dst, protocol, length):
    """The folded sum of the pseudo-header, which is what a partial checksum field holds."""
    packed = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    return ~checksum(packed + struct.pack("!II", length, protocol)) & 0xFFFF


def _fill(segment, at, src, dst, protocol, partial):
    start = pseudo_sum(src, dst, protocol, len(segment))
    value = start if partial else checksum(segment, start)
    if protocol == UDP and not partial and value == 0:
        value = 0xFFFF
    return segment[:at] + struct.pack("!H", value) + segment[at + 2:]


def udp(src, dst, sport, dport, payload, partial=False):
    segment = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return _fill(segment, 6, src, dst, UDP, partial)


def tcp(src, dst, sport, dport, payload, seq=1000, flags=0x18, partial=False):
    segment = struct.pack("!HHIIBBHHH", sport, dport, seq, 1, 0x50, flags, 65535, 0, 0) + payload
    return _fill(segment, 16, src, dst, TCP, partial)


def arp_request(src_mac, src_ip, dst_ip, vlan=None):
    payload = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, 1) + mac_bytes(src_mac)
    payload += ipaddress.ip_address(src_ip).packed + bytes(6) + ipaddress.ip_address(dst_ip).packed
    return ether(BROADCAST, src_mac, ETH_ARP, payload, vlan)


def icmp_echo(dst_mac, src_mac, src, dst, seq=1, payload=b"vmqd"):
    message = struct.pack("!BBHHH", 8, 0, 0, 1, seq) + payload
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ether(dst_mac, src_mac, ETH_IPV4, ipv4(src, dst, ICMP, message))


def neighbour_solicitation(src_mac, src, target):
    """ICMPv6 type 135 to the solicited-node multicast group of `target`."""
    packed = ipaddress.ip_address(target).packed
    group = "ff02::1:ff" + packed[13:14].hex() + ":" + packed[14:].hex()
    message = struct.pack("!BBHI", 135, 0, 0, 0) + packed + b"\x01\x01" + mac_bytes(src_mac)
    value = checksum(message, pseudo_sum(src, group, ICMPV6, len(message)))
    message = message[:2] + struct.pack("!H", value) + message[4:]
    dst_mac = mac_text(b"\x33\x33\xff" + packed[13:])
    return ether(dst_mac, src_mac, ETH_IPV6, ipv6(src, group, ICMPV6, message, hops=255))


@dataclasses.dataclass
class Packet:
    """A frame taken apart. Fields of layers that are not there are None."""
    dst: str
    src: str
    ethertype: int
    vlan: int | None = None
    protocol: int | None = None
    sport: int | None = None
    dport: int | None = None
    seq: int | None = None
    flags: int | None = None
    ident: int | None = None
    payload: bytes = b""
    checksums_ok: bool = True  # of every layer that has one


def parse(frame):
    packet = Packet(mac_text(frame[:6]), mac_text(frame[6:12]),
                    int.from_bytes(frame[12:14], "big"))
    body = frame[14:]
    if packet.ethertype == ETH_VLAN:
        tci, packet.ethertype = struct.unpack_from("!HH", body)
        packet.vlan = tci & 0xFFF
        body = body[4:]
    packet.payload = body
    if packet.ethertype == ETH_IPV4:
        length, packet.ident = struct.unpack_from("!HH", body, 2)
        packet.protocol = body[9]
        packet.checksums_ok = checksum(body[:20]) == 0
        _parse_transport(packet, body[12:16], body[16:20], body[20:length])
    elif packet.ethertype == ETH_IPV6:
        length = int.from_bytes(body[4:6], "big")
        packet.protocol = body[6]
        _parse_transport(packet, body[8:24], body[24:40], body[40:40 + length])
    return packet


def _parse_transport(packet, src, dst, segment):
    packet.payload = segment
    if packet.protocol not in (TCP, UDP):
        return
    packet.sport, packet.dport = struct.unpack_from("!HH", segment)
    start = pseudo_sum(src, dst, packet.protocol, len(segment))
    packet.checksums_ok &= checksum(segment, start) == 0
    if packet.protocol == TCP:
        packet.seq, packet.flags = int.from_bytes(segment[4:8], "big"), segment[13]
        packet.payload = segment[(segment[12] >> 4) * 4:]
    else:
        packet.payload = segment[8:]

// The header walk behind checksum.cc and segmentation.cc, on the path of every frame that a netdev
// port receives. Any thread.
//
// Must stay true: an offset is compared with the head's length before the byte at it is read, and
// with the frame's before it is believed.
#include "daemon/net/ip_transport.h"

#include <algorithm>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"

namespace vmqd {
namespace {

constexpr uint16_t kIpv4FragmentMask = 0x3fff;  // more fragments, or an offset

// IPv6 extension headers (RFC 8200, 4).
constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kRouting = 43;
constexpr uint8_t kDestinationOptions = 60;
constexpr uint32_t kExtensionUnit = 8;

// Routing types (RFC 8200, 4.4; RFC 6275, 6.4; RFC 8754, 2).
constexpr uint8_t kRoutingSource = 0;
constexpr uint8_t kRoutingHome = 2;
constexpr uint8_t kRoutingSegments = 4;
constexpr uint32_t kIpv6AddressLen = 16;

// A frame's bytes that can be read, and how long it is in all.
struct View {
  const uint8_t* data;
  size_t head;
  size_t length;
};

bool HasRoomForTransport(const IpTransport& at, const View& frame) {
  const size_t end = std::min<size_t>(at.end, frame.head);
  if (end < at.transport) return false;
  const size_t room = end - at.transport;
  return (at.protocol == kIpProtocolTcp && room >= kTcpHeaderLen) ||
         (at.protocol == kIpProtocolUdp && room >= kUdpHeaderLen);
}

std::optional<IpTransport> FindInIpv4(const View& frame, uint32_t network) {
  if (frame.head - network < kIpv4HeaderLen) return std::nullopt;
  const uint8_t* ip = frame.data + network;
  const uint32_t header = (ip[0] & 0x0fu) * 4;
  const uint32_t total = LoadBe16(ip + 2);
  if (ip[0] >> 4 != 4 || header < kIpv4HeaderLen || total < header) return std::nullopt;
  if (total > frame.length - network) return std::nullopt;
  if (LoadBe16(ip + 6) & kIpv4FragmentMask) return std::nullopt;
  IpTransport at{.network = network,
                 .transport = network + header,
                 .end = network + total,
                 .destination = network + 16,
                 .protocol = ip[9]};
  if (!HasRoomForTransport(at, frame)) return std::nullopt;
  return at;
}

// A packet that still has segments to visit is summed with its last destination, not the next one
// (RFC 8200, 8.1). `header` is a routing header of `size` bytes.
void FollowRouting(const uint8_t* frame, uint32_t header, uint32_t size, IpTransport& at) {
  const uint8_t type = frame[header + 2];
  const uint8_t segments_left = frame[header + 3];
  if (segments_left == 0 || size < kExtensionUnit + kIpv6AddressLen) return;
  if (type == kRoutingSegments) at.destination = header + kExtensionUnit;
  if (type == kRoutingSource || type == kRoutingHome) {
    at.destination = header + size - kIpv6AddressLen;
  }
}

std::optional<IpTransport> FindInIpv6(const View& frame, uint32_t network) {
  if (frame.head - network < kIpv6HeaderLen) return std::nullopt;
  const uint8_t* ip = frame.data + network;
  const uint32_t payload = LoadBe16(ip + 4);
  if (ip[0] >> 4 != 6 || payload > frame.length - network - kIpv6HeaderLen) return std::nullopt;
  IpTransport at{.network = network,
                 .transport = network + kIpv6HeaderLen,
                 .end = network + kIpv6HeaderLen + payload,
                 .destination = network + 24,
                 .protocol = ip[6],
                 .ipv6 = true};
  while (at.protocol == kHopByHop || at.protocol == kRouting ||
         at.protocol == kDestinationOptions) {
    const uint32_t header = at.transport;
    const auto end = static_cast<uint32_t>(std::min<size_t>(at.end, frame.head));
    if (end - header < kExtensionUnit) return std::nullopt;
    const uint32_t size = (frame.data[header + 1] + 1u) * kExtensionUnit;
    if (size > end - header) return std::nullopt;
    if (at.protocol == kRouting) FollowRouting(frame.data, header, size, at);
    at.protocol = frame.data[header];
    at.transport = header + size;
  }
  if (!HasRoomForTransport(at, frame)) return std::nullopt;
  return at;
}

}  // namespace

std::optional<IpTransport> FindIpTransport(const uint8_t* frame, size_t length) {
  return FindIpTransport(frame, length, length);
}

std::optional<IpTransport> FindIpTransport(const uint8_t* frame, size_t head, size_t length) {
  if (head < kEthHeaderLen) return std::nullopt;
  uint32_t network = kEthHeaderLen;
  uint16_t type = EtherTypeOf(frame);
  if (type == kEtherTypeVlan) {
    if (head < kEthHeaderLen + kVlanTagLen) return std::nullopt;
    network += kVlanTagLen;
    type = LoadBe16(frame + network - 2);
  }
  if (type == kEtherTypeIpv4) return FindInIpv4({frame, head, length}, network);
  if (type == kEtherTypeIpv6) return FindInIpv6({frame, head, length}, network);
  return std::nullopt;
}

uint64_t PseudoHeaderSum(const uint8_t* frame, const IpTransport& at, uint32_t length) {
  const uint8_t* ip = frame + at.network;
  const size_t address = at.ipv6 ? kIpv6AddressLen : 4;
  uint64_t sum = ChecksumAdd(ip + (at.ipv6 ? 8 : 12), address, uint64_t{at.protocol} + length);
  return ChecksumAdd(frame + at.destination, address, sum);
}

}  // namespace vmqd

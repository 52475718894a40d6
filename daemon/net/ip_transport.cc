// The header walk behind checksum.cc and segmentation.cc, on the path of every frame that a netdev
// port receives. Any thread.
//
// Must stay true: an offset is compared with the length before the byte at it is read.
#include "daemon/net/ip_transport.h"

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"

namespace vmqd {
namespace {

constexpr uint16_t kEtherTypeIpv4 = 0x0800;
constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
constexpr uint32_t kIpv4HeaderLen = 20;         // without options
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

bool HasRoomForTransport(const IpTransport& at) {
  const uint32_t room = at.end - at.transport;
  return (at.protocol == kIpProtocolTcp && room >= kTcpHeaderLen) ||
         (at.protocol == kIpProtocolUdp && room >= kUdpHeaderLen);
}

std::optional<IpTransport> FindInIpv4(const uint8_t* frame, size_t length, uint32_t network) {
  if (length - network < kIpv4HeaderLen) return std::nullopt;
  const uint8_t* ip = frame + network;
  const uint32_t header = (ip[0] & 0x0fu) * 4;
  const uint32_t total = LoadBe16(ip + 2);
  if (ip[0] >> 4 != 4 || header < kIpv4HeaderLen || total < header || total > length - network) {
    return std::nullopt;
  }
  if (LoadBe16(ip + 6) & kIpv4FragmentMask) return std::nullopt;
  IpTransport at{.network = network,
                 .transport = network + header,
                 .end = network + total,
                 .destination = network + 16,
                 .protocol = ip[9]};
  if (!HasRoomForTransport(at)) return std::nullopt;
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

std::optional<IpTransport> FindInIpv6(const uint8_t* frame, size_t length, uint32_t network) {
  if (length - network < kIpv6HeaderLen || frame[network] >> 4 != 6) return std::nullopt;
  const uint32_t payload = LoadBe16(frame + network + 4);
  if (payload > length - network - kIpv6HeaderLen) return std::nullopt;
  IpTransport at{.network = network,
                 .transport = network + kIpv6HeaderLen,
                 .end = network + kIpv6HeaderLen + payload,
                 .destination = network + 24,
                 .protocol = frame[network + 6],
                 .ipv6 = true};
  while (at.protocol == kHopByHop || at.protocol == kRouting ||
         at.protocol == kDestinationOptions) {
    const uint32_t header = at.transport;
    if (at.end - header < kExtensionUnit) return std::nullopt;
    const uint32_t size = (frame[header + 1] + 1u) * kExtensionUnit;
    if (size > at.end - header) return std::nullopt;
    if (at.protocol == kRouting) FollowRouting(frame, header, size, at);
    at.protocol = frame[header];
    at.transport = header + size;
  }
  if (!HasRoomForTransport(at)) return std::nullopt;
  return at;
}

}  // namespace

std::optional<IpTransport> FindIpTransport(const uint8_t* frame, size_t length) {
  if (length < kEthHeaderLen) return std::nullopt;
  uint32_t network = kEthHeaderLen;
  uint16_t type = EtherTypeOf(frame);
  if (type == kEtherTypeVlan) {
    if (length < kEthHeaderLen + kVlanTagLen) return std::nullopt;
    network += kVlanTagLen;
    type = LoadBe16(frame + network - 2);
  }
  if (type == kEtherTypeIpv4) return FindInIpv4(frame, length, network);
  if (type == kEtherTypeIpv6) return FindInIpv6(frame, length, network);
  return std::nullopt;
}

uint64_t PseudoHeaderSum(const uint8_t* frame, const IpTransport& at, uint32_t length) {
  const uint8_t* ip = frame + at.network;
  const size_t address = at.ipv6 ? kIpv6AddressLen : 4;
  uint64_t sum = ChecksumAdd(ip + (at.ipv6 ? 8 : 12), address, uint64_t{at.protocol} + length);
  return ChecksumAdd(frame + at.destination, address, sum);
}

}  // namespace vmqd

// TSO and USO in software: Plan checks, Write cuts. Called by workers for large segments that a
// guest left to its device. Any thread.
//
// Must stay true: Plan is the only place that believes nothing; Write relies on
// headers_ <= frame_.size() and on every offset that Plan found.
#include "daemon/net/segmentation.h"

#include <endian.h>

#include <algorithm>
#include <cstring>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "daemon/net/ip_transport.h"

namespace vmqd {
namespace {

constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpPush = 0x08;
constexpr uint8_t kTcpCwr = 0x80;

uint32_t LoadBe32(const uint8_t* at) { return uint32_t{LoadBe16(at)} << 16 | LoadBe16(at + 2); }
void StoreBe32(uint8_t* at, uint32_t value) {
  StoreBe16(at, static_cast<uint16_t>(value >> 16));
  StoreBe16(at + 2, static_cast<uint16_t>(value));
}

bool TypeMatches(uint8_t gso_type, const IpTransport& at) {
  const bool tcp = at.protocol == kIpProtocolTcp;
  switch (gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return tcp && !at.ipv6;
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return tcp && at.ipv6;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return !tcp;
    default:
      return false;
  }
}

// Length of the TCP or UDP header, 0 when it contradicts what IP carries.
uint32_t TransportHeaderLength(const uint8_t* frame, const IpTransport& at) {
  const uint8_t* header = frame + at.transport;
  const uint32_t carried = at.end - at.transport;
  if (at.protocol == kIpProtocolUdp) return LoadBe16(header + 4) == carried ? kUdpHeaderLen : 0;
  const uint32_t length = (header[12] >> 4) * 4u;
  return length >= kTcpHeaderLen && length <= carried ? length : 0;
}

void WriteIpv4Header(uint8_t* ip, uint32_t packet_length, uint32_t index) {
  StoreBe16(ip + 2, static_cast<uint16_t>(packet_length));
  StoreBe16(ip + 4, static_cast<uint16_t>(LoadBe16(ip + 4) + index));
  StoreBe16(ip + 10, 0);
  const uint16_t sum = ChecksumFold(ChecksumAdd(ip, (ip[0] & 0x0fu) * 4, 0));
  StoreBe16(ip + 10, static_cast<uint16_t>(~sum));
}

}  // namespace

std::optional<Segmentation> Segmentation::Plan(std::span<const uint8_t> frame,
                                               const virtio_net_hdr& header) {
  const uint32_t gso_size = le16toh(header.gso_size);
  const std::optional<IpTransport> at = FindIpTransport(frame.data(), frame.size());
  if (!at || gso_size == 0 || !TypeMatches(header.gso_type, *at)) return std::nullopt;
  const uint32_t transport_header = TransportHeaderLength(frame.data(), *at);
  if (transport_header == 0) return std::nullopt;

  Segmentation plan;
  plan.frame_ = frame.first(at->end);
  plan.network_ = at->network;
  plan.transport_ = at->transport;
  plan.destination_ = at->destination;
  plan.headers_ = at->transport + transport_header;
  const uint32_t payload = at->end - plan.headers_;
  plan.gso_size_ = std::min(gso_size, payload);
  plan.count_ = payload == 0 ? 1 : (payload + gso_size - 1) / gso_size;
  plan.ipv6_ = at->ipv6;
  plan.tcp_ = at->protocol == kIpProtocolTcp;
  return plan;
}

uint32_t Segmentation::Write(uint32_t index, uint8_t* out) const {
  const uint32_t offset = index * gso_size_;
  const uint32_t payload =
      std::min(gso_size_, static_cast<uint32_t>(frame_.size()) - headers_ - offset);
  const uint32_t length = headers_ + payload;
  std::memcpy(out, frame_.data(), headers_);
  std::memcpy(out + headers_, frame_.data() + headers_ + offset, payload);

  uint8_t* ip = out + network_;
  if (ipv6_) {
    StoreBe16(ip + 4, static_cast<uint16_t>(length - network_ - kIpv6HeaderLen));
  } else {
    WriteIpv4Header(ip, length - network_, index);
  }
  if (tcp_) {
    WriteTcpHeader(out + transport_, index);
  } else {
    StoreBe16(out + transport_ + 4, static_cast<uint16_t>(length - transport_));
  }
  WriteTransportChecksum(out, length);
  return length;
}

void Segmentation::WriteTcpHeader(uint8_t* tcp, uint32_t index) const {
  StoreBe32(tcp + 4, LoadBe32(tcp + 4) + index * gso_size_);
  if (index > 0) tcp[13] &= static_cast<uint8_t>(~kTcpCwr);
  if (index + 1 < count_) tcp[13] &= static_cast<uint8_t>(~(kTcpFin | kTcpPush));
}

void Segmentation::WriteTransportChecksum(uint8_t* out, uint32_t length) const {
  const IpTransport at{.network = network_,
                       .transport = transport_,
                       .end = length,
                       .destination = destination_,
                       .protocol = tcp_ ? kIpProtocolTcp : kIpProtocolUdp,
                       .ipv6 = ipv6_};
  const uint32_t covered = length - transport_;
  uint8_t* field = out + transport_ + (tcp_ ? 16 : 6);
  StoreBe16(field, 0);
  const uint64_t sum = ChecksumAdd(out + transport_, covered, PseudoHeaderSum(out, at, covered));
  uint16_t checksum = static_cast<uint16_t>(~ChecksumFold(sum));
  if (!tcp_ && checksum == 0) checksum = 0xffff;
  StoreBe16(field, checksum);
}

}  // namespace vmqd

// TSO and USO in software: Plan checks, Write cuts. Called by workers for large segments that a
// guest left to its device. Any thread.
//
// Must stay true: Plan is the only place that believes nothing; Write relies on
// headers_ <= head.size(), headers_ <= end_ <= length, and on every offset that Plan found.
#include "daemon/net/segmentation.h"

#include <endian.h>

#include <algorithm>
#include <cstring>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "daemon/net/ip_transport.h"

namespace vmqd {
namespace {

constexpr uint32_t kGsoByFragments = 0xffff;  // Linux, GSO_BY_FRAGS
constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpPush = 0x08;
constexpr uint8_t kTcpCwr = 0x80;

uint32_t LoadBe32(const uint8_t* at) { return uint32_t{LoadBe16(at)} << 16 | LoadBe16(at + 2); }
void StoreBe32(uint8_t* at, uint32_t value) {
  StoreBe16(at, static_cast<uint16_t>(value >> 16));
  StoreBe16(at + 2, static_cast<uint16_t>(value));
}

bool TypeMatches(uint8_t gso_type, const IpTransport& at) {
  if (at.protocol == kIpProtocolUdp) return gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
  const uint8_t type = at.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
  return (gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == type;
}

// Length of the TCP or UDP header, 0 when it contradicts what IP carries.
uint32_t TransportHeaderLength(const uint8_t* frame, const IpTransport& at) {
  const uint8_t* header = frame + at.transport;
  const uint32_t carried = at.end - at.transport;
  if (at.protocol == kIpProtocolUdp) return LoadBe16(header + 4) == carried ? kUdpHeaderLen : 0;
  const uint32_t length = (header[12] >> 4) * 4u;
  return length >= kTcpHeaderLen && length <= carried ? length : 0;
}

// The sender may leave the checksum to us or give a whole one, which is of no use once the frame is
// cut; but Linux takes a large datagram with a partial checksum only.
bool ChecksumMatches(const virtio_net_hdr& header, const IpTransport& at) {
  const bool udp = at.protocol == kIpProtocolUdp;
  if (!(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) return !udp;
  return le16toh(header.csum_start) == at.transport &&
         le16toh(header.csum_offset) == (udp ? kUdpChecksumOffset : kTcpChecksumOffset);
}

bool SizeMatches(uint32_t gso_size, uint32_t payload, const IpTransport& at) {
  if (gso_size == kGsoByFragments) return false;
  if (at.protocol == kIpProtocolTcp) return gso_size >= Segmentation::kMinTcpSize;
  return gso_size > 0 && payload <= gso_size * Segmentation::kMaxDatagrams;
}

void WriteIpv4Header(uint8_t* ip, uint32_t packet_length, uint32_t index) {
  StoreBe16(ip + 2, static_cast<uint16_t>(packet_length));
  StoreBe16(ip + 4, static_cast<uint16_t>(LoadBe16(ip + 4) + index));
  StoreBe16(ip + 10, 0);
  const uint16_t sum = ChecksumFold(ChecksumAdd(ip, (ip[0] & 0x0fu) * 4, 0));
  StoreBe16(ip + 10, static_cast<uint16_t>(~sum));
}

}  // namespace

std::optional<Segmentation> Segmentation::Plan(std::span<const uint8_t> head, uint32_t length,
                                               const virtio_net_hdr& header) {
  const std::optional<IpTransport> at = FindIpTransport(head.data(), head.size(), length);
  if (!at || !TypeMatches(header.gso_type, *at) || !ChecksumMatches(header, *at)) {
    return std::nullopt;
  }
  const uint32_t transport_header = TransportHeaderLength(head.data(), *at);
  const uint32_t headers = at->transport + transport_header;
  if (transport_header == 0 || headers > head.size()) return std::nullopt;
  const uint32_t payload = at->end - headers;
  const uint32_t gso_size = le16toh(header.gso_size);
  if (!SizeMatches(gso_size, payload, *at)) return std::nullopt;

  Segmentation plan;
  plan.head_ = head.data();
  plan.end_ = at->end;
  plan.network_ = at->network;
  plan.transport_ = at->transport;
  plan.destination_ = at->destination;
  plan.headers_ = headers;
  plan.gso_size_ = std::min(gso_size, payload);
  plan.count_ = payload == 0 ? 1 : (payload + gso_size - 1) / gso_size;
  plan.ipv6_ = at->ipv6;
  plan.tcp_ = at->protocol == kIpProtocolTcp;
  return plan;
}

uint32_t Segmentation::PayloadOf(uint32_t index) const {
  return std::min(gso_size_, end_ - headers_ - index * gso_size_);
}

uint32_t Segmentation::Write(uint32_t index, FrameReader& reader, uint8_t* out) const {
  if (index == 0) reader.Skip(headers_);
  reader.Read(PayloadOf(index), out + headers_);
  return Finish(index, out);
}

uint32_t Segmentation::Write(uint32_t index, uint8_t* out) const {
  std::memcpy(out + headers_, head_ + headers_ + index * gso_size_, PayloadOf(index));
  return Finish(index, out);
}

// Everything but the payload, which lies in `out` already.
uint32_t Segmentation::Finish(uint32_t index, uint8_t* out) const {
  const uint32_t length = headers_ + PayloadOf(index);
  std::memcpy(out, head_, headers_);
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
  uint8_t* field = out + transport_ + (tcp_ ? kTcpChecksumOffset : kUdpChecksumOffset);
  StoreBe16(field, 0);
  const uint64_t sum = ChecksumAdd(out + transport_, covered, PseudoHeaderSum(out, at, covered));
  uint16_t checksum = static_cast<uint16_t>(~ChecksumFold(sum));
  if (!tcp_ && checksum == 0) checksum = 0xffff;
  StoreBe16(field, checksum);
}

}  // namespace vmqd

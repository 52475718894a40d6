// GRO in software. Called by workers for bursts to a guest that takes large segments.
//
// Stricter than Linux, so that no information is lost: the urgent pointers must agree, equal ids
// need DF (a virtio_net_hdr cannot say that they are equal), a checksum that is right but not
// written as a sender writes it (0xffff for 0) is not merged, and a segment below kMinTcpSize
// begins no group, since Segmentation would not cut one at that size. A frame with CWR goes alone:
// Linux before 6.18 let one begin a group with the ECN type, since then (AccECN) only frames that
// all have it merge, and that no virtio_net_hdr can say.
//
// The first frame of a group keeps its headers until the group is finished, so that what follows is
// compared with what arrived. Its own checksum is verified when a second frame wants to join: a
// flow with one frame a burst costs no sum.
#include "daemon/net/coalesce.h"

#include <endian.h>

#include <algorithm>
#include <cstring>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "daemon/net/ip_transport.h"
#include "daemon/net/segmentation.h"

namespace vmqd {
namespace {

constexpr uint8_t kIpProtocolIcmpv6 = 58;
constexpr uint16_t kDontFragment = 0x4000;
constexpr uint32_t kMaxIpLength =
    65535;  // headers included, for IPv6 too: what buffers are made for

constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPush = 0x08, kUrgent = 0x20, kCwr = 0x80;
constexpr uint8_t kEnds = kFin | kPush;  // the frame that has one is the last of its group

uint32_t LoadBe32(const uint8_t* at) { return uint32_t{LoadBe16(at)} << 16 | LoadBe16(at + 2); }

bool Equal(const uint8_t* a, const uint8_t* b, size_t length) {
  return std::memcmp(a, b, length) == 0;
}

const uint8_t* NetworkOf(const uint8_t* frame) { return frame + kEthHeaderLen; }

bool IsPlainIpv4(const uint8_t* ip, uint32_t length) {
  return ip[0] == 0x45 && LoadBe16(ip + 2) == length && (LoadBe16(ip + 6) & ~kDontFragment) == 0;
}

bool IsPlainIpv6(const uint8_t* ip, uint32_t length) {
  return ip[0] >> 4 == 6 && LoadBe16(ip + 4) + kIpv6HeaderLen == length;
}

IpTransport TransportOf(uint32_t transport, uint32_t end, bool ipv6) {
  return {.network = kEthHeaderLen,
          .transport = transport,
          .end = end,
          .destination = kEthHeaderLen + (ipv6 ? 24u : 16u),
          .protocol = kIpProtocolTcp,
          .ipv6 = ipv6};
}

}  // namespace

Coalescing::Kind Coalescing::Classify(const Arrival& frame, Segment& out) {
  if (!frame.whole) return Kind::kUnclear;
  if (frame.length < kEthHeaderLen + kIpv4HeaderLen) return Kind::kForeign;
  const uint8_t* ip = NetworkOf(frame.data);
  const uint32_t length = frame.length - kEthHeaderLen;
  const uint16_t type = EtherTypeOf(frame.data);
  if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return Kind::kForeign;
  out.data = frame.data;
  out.ipv6 = type == kEtherTypeIpv6;
  const uint32_t network = out.ipv6 ? kIpv6HeaderLen : kIpv4HeaderLen;
  if (length < network) return Kind::kForeign;
  const uint8_t protocol = ip[out.ipv6 ? 6 : 9];
  if (protocol != kIpProtocolTcp) {
    // IPv6 extension headers may end in TCP.
    const bool ends = !out.ipv6 || protocol == kIpProtocolUdp || protocol == kIpProtocolIcmpv6;
    return ends ? Kind::kForeign : Kind::kUnclear;
  }
  if (!(out.ipv6 ? IsPlainIpv6(ip, length) : IsPlainIpv4(ip, length))) return Kind::kUnclear;
  if (length < network + kTcpHeaderLen) return Kind::kUnclear;
  const uint32_t tcp = (ip[network + 12] >> 4) * 4u;
  if (tcp < kTcpHeaderLen || tcp > length - network) return Kind::kUnclear;
  out.transport = kEthHeaderLen + network;
  out.headers = out.transport + tcp;
  out.payload = frame.length - out.headers;
  return Kind::kSegment;
}

// Addresses and ports lie side by side.
bool Coalescing::SameFlow(const Segment& a, const Segment& b) {
  if (a.ipv6 != b.ipv6) return false;
  const uint32_t from = a.transport - (a.ipv6 ? 32 : 8);
  return Equal(a.data + from, b.data + from, a.transport + 4 - from);
}

// Consecutive, or all the same where DF says that nobody will need them.
bool Coalescing::IsConsecutiveId(const Group& group, const Segment& head, const Segment& next) {
  const uint8_t* first = NetworkOf(head.data);
  const uint8_t* ip = NetworkOf(next.data);
  const auto distance = static_cast<uint16_t>(LoadBe16(ip + 4) - LoadBe16(first + 4));
  if (group.frames == 1 && distance == 0) return LoadBe16(ip + 6) & kDontFragment;
  return distance == (group.fixed_id ? 0 : group.frames);
}

bool Coalescing::IsRight(const Segment& segment) {
  const uint8_t* ip = NetworkOf(segment.data);
  const uint8_t* tcp = segment.data + segment.transport;
  if (!segment.ipv6 &&
      (LoadBe16(ip + 10) == 0xffff || ChecksumFold(ChecksumAdd(ip, kIpv4HeaderLen, 0)) != 0xffff)) {
    return false;
  }
  if (LoadBe16(tcp + kTcpChecksumOffset) == 0xffff) return false;
  const uint32_t end = segment.headers + segment.payload;
  const uint32_t covered = end - segment.transport;
  const IpTransport at = TransportOf(segment.transport, end, segment.ipv6);
  return ChecksumFold(ChecksumAdd(tcp, covered, PseudoHeaderSum(segment.data, at, covered))) ==
         0xffff;
}

bool Coalescing::MayOpen(const Segment& segment) const {
  if (!(segment.ipv6 ? accepts_.tso6 : accepts_.tso4)) return false;
  const uint8_t flags = segment.data[segment.transport + 13];
  if (flags & (kEnds | kSyn | kRst | kUrgent | kCwr)) return false;
  return segment.payload >= Segmentation::kMinTcpSize;
}

// Everything that resegmenting would copy from the first frame is in the next one the same.
bool Coalescing::Follows(const Open& open, const Segment& next) const {
  const Segment& head = open.head;
  const Group& group = groups_[open.group];
  if (next.headers != head.headers || next.payload == 0 || next.payload > head.payload) {
    return false;
  }
  if (group.length + next.payload - kEthHeaderLen > kMaxIpLength) return false;
  if (!Equal(head.data, next.data, kEthHeaderLen)) return false;

  const uint8_t* first = NetworkOf(head.data);
  const uint8_t* ip = NetworkOf(next.data);
  if (head.ipv6) {
    if (!Equal(first, ip, 4) || first[7] != ip[7]) return false;  // class, flow label; hop limit
  } else {
    if (first[1] != ip[1] || !Equal(first + 6, ip + 6, 3)) return false;  // TOS; DF, TTL
    if (!IsConsecutiveId(group, head, next)) return false;
  }

  const uint8_t* first_tcp = head.data + head.transport;
  const uint8_t* tcp = next.data + next.transport;
  if (LoadBe32(tcp + 4) != open.next_sequence) return false;
  if ((tcp[13] & ~kEnds) != first_tcp[13]) return false;
  return Equal(first_tcp + 8, tcp + 8, 5) &&    // acknowledged, header length, reserved bits
         Equal(first_tcp + 14, tcp + 14, 2) &&  // window
         Equal(first_tcp + 18, tcp + 18, next.headers - next.transport - 18);  // options
}

void Coalescing::Run(std::span<const Arrival> burst, const Accepts& accepts) {
  accepts_ = accepts;
  burst_ = burst;
  group_count_ = 0;
  open_count_ = 0;
  for (uint32_t i = 0; i < burst.size(); ++i) {
    further_[i] = {};
    Segment segment;
    switch (Classify(burst[i], segment)) {
      case Kind::kSegment:
        TakeSegment(i, segment);
        break;
      case Kind::kUnclear:
        FinishAll();
        Begin(i, burst[i].length);
        break;
      case Kind::kForeign:
        Begin(i, burst[i].length);
        break;
    }
  }
  FinishAll();
  burst_ = {};
}

void Coalescing::TakeSegment(uint32_t frame, const Segment& segment) {
  uint32_t at = 0;
  while (at < open_count_ && !SameFlow(open_[at].head, segment)) ++at;
  if (at < open_count_) {
    if (Merge(open_[at], frame, segment)) {
      const bool last = segment.payload < open_[at].head.payload ||
                        (segment.data[segment.transport + 13] & kEnds) != 0;
      if (last) Close(at);
      return;
    }
    Close(at);  // what comes later in this flow stays behind this frame
  }
  Begin(frame, segment.headers + segment.payload);
  if (MayOpen(segment)) Hold(segment);
}

bool Coalescing::Merge(Open& open, uint32_t frame, const Segment& segment) {
  if (!Follows(open, segment) || !IsRight(segment)) return false;
  if (!open.verified && !IsRight(open.head)) return false;
  open.verified = true;
  Group& group = groups_[open.group];
  if (group.frames == 1 && !segment.ipv6) {
    group.fixed_id = Equal(NetworkOf(open.head.data) + 4, NetworkOf(segment.data) + 4, 2);
  }
  further_[frame] = {.next = kNone, .offset = segment.headers, .length = segment.payload};
  further_[group.last].next = frame;
  group.last = frame;
  ++group.frames;
  group.length += segment.payload;
  open.next_sequence += segment.payload;
  open.ends = segment.data[segment.transport + 13] & kEnds;
  return true;
}

void Coalescing::Begin(uint32_t frame, uint32_t length) {
  groups_[group_count_++] = {.first = frame, .last = frame, .length = length};
}

void Coalescing::Hold(const Segment& segment) {
  if (open_count_ == kOpen) Close(0);
  const uint32_t sequence = LoadBe32(segment.data + segment.transport + 4);
  open_[open_count_++] = {
      .head = segment, .group = group_count_ - 1, .next_sequence = sequence + segment.payload};
}

void Coalescing::Close(uint32_t at) {
  Finish(open_[at]);
  --open_count_;
  std::copy(open_.begin() + at + 1, open_.begin() + open_count_ + 1, open_.begin() + at);
}

void Coalescing::FinishAll() {
  for (uint32_t i = 0; i < open_count_; ++i) Finish(open_[i]);
  open_count_ = 0;
}

// The first frame's headers become those of the whole.
void Coalescing::Finish(const Open& open) {
  Group& group = groups_[open.group];
  if (group.frames == 1) return;
  const Segment& head = open.head;
  uint8_t* frame = burst_[group.first].data;
  uint8_t* ip = frame + kEthHeaderLen;
  uint8_t* tcp = frame + head.transport;
  if (head.ipv6) {
    StoreBe16(ip + 4, static_cast<uint16_t>(group.length - kEthHeaderLen - kIpv6HeaderLen));
  } else {
    StoreBe16(ip + 2, static_cast<uint16_t>(group.length - kEthHeaderLen));
    StoreBe16(ip + 10, 0);
    const uint16_t sum = ChecksumFold(ChecksumAdd(ip, kIpv4HeaderLen, 0));
    StoreBe16(ip + 10, static_cast<uint16_t>(~sum));
  }
  tcp[13] |= open.ends;
  const IpTransport at = TransportOf(head.transport, group.length, head.ipv6);
  StoreBe16(tcp + kTcpChecksumOffset,
            ChecksumFold(PseudoHeaderSum(frame, at, group.length - head.transport)));

  group.offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  group.offload.gso_type = head.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
  group.offload.hdr_len = htole16(static_cast<uint16_t>(head.headers));
  group.offload.gso_size = htole16(static_cast<uint16_t>(head.payload));
  group.offload.csum_start = htole16(static_cast<uint16_t>(head.transport));
  group.offload.csum_offset = htole16(kTcpChecksumOffset);
}

}  // namespace vmqd

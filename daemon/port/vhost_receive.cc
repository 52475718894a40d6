// From the guest: chains become frames. A short frame is copied whole; of a long one only the head
// is, and the rest is copied when it is known where to: into another guest's memory, or behind the
// head. The chains go back to the guest in Settle, when every copy has been made.
#include <endian.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "daemon/net/ethernet.h"
#include "daemon/net/segmentation.h"
#include "daemon/port/vhost_pair.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

// Copied at once: the head of a frame that asks for nothing, which has to hold what police and
// forwarding look at; and a whole frame when little more would be left.
constexpr uint32_t kPlainHead = 64;
constexpr uint32_t kCopyWhole = 192;
// The largest frame there is: IP's 64 KiB and an Ethernet header with a tag.
constexpr uint32_t kLongest = 65535 + kEthHeaderLen + kVlanTagLen;
// Frames that one burst may become on a wire, some half a millisecond of copying: other VMs of the
// worker wait for it, and the uplink's transmit ring has room for twice as many.
constexpr uint32_t kMostFrames = 512;

uint32_t FinalsOf(const Frame& frame) {
  if (frame.tail == nullptr || !frame.tail->IsSegmented()) return 1;
  return frame.len / le16toh(frame.tail->offload.gso_size) + 1;
}

bool MaySegment(uint64_t features, uint8_t type) {
  if ((type & VIRTIO_NET_HDR_GSO_ECN) && !HasFeature(features, VIRTIO_NET_F_HOST_ECN)) return false;
  switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return HasFeature(features, VIRTIO_NET_F_HOST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return HasFeature(features, VIRTIO_NET_F_HOST_TSO6);
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return HasFeature(features, VIRTIO_NET_F_HOST_USO);
    default:
      return false;
  }
}

// Reads the spans of a chain from front to back.
class SpanReader {
 public:
  SpanReader(const GuestSpan* spans, uint32_t count) : spans_(spans), count_(count) {}
  // The header in front of a frame, `size` bytes, which are there.
  virtio_net_hdr ReadHeader(uint32_t size) {
    if (spans_[0].size() > size) {
      offset_ = size;
      return spans_[0].First<virtio_net_hdr>();
    }
    std::array<uint8_t, 32> bytes;
    Read(bytes.data(), size);
    virtio_net_hdr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    return header;
  }
  // The next `size` bytes, which are there.
  void Read(uint8_t* to, uint32_t size) {
    while (size > 0) {
      const uint32_t part = std::min(size, spans_[at_].size() - offset_);
      spans_[at_].Part(offset_, part).ShortCopyTo(to);
      to += part;
      size -= part;
      Advance(part);
    }
  }
  // What is left, as pieces; returns how many.
  uint32_t Rest(FramePiece* out) {
    uint32_t pieces = 0;
    for (; at_ < count_; ++at_, offset_ = 0) {
      const uint32_t left = spans_[at_].size() - offset_;
      if (left > 0) out[pieces++] = {.bytes = spans_[at_].Part(offset_, left)};
    }
    return pieces;
  }

 private:
  void Advance(uint32_t part) {
    offset_ += part;
    if (offset_ == spans_[at_].size() && at_ + 1 < count_) {
      ++at_;
      offset_ = 0;
    }
  }
  const GuestSpan* spans_;
  uint32_t count_;
  uint32_t at_ = 0;
  uint32_t offset_ = 0;
};

}  // namespace

uint32_t VhostPair::Receive(FramePool& pool, Frame* out, uint32_t max) {
  uint32_t count = MakeAnnouncement(pool, out) ? 1 : 0;
  const Running* ring = from_guest_.live.load(std::memory_order_acquire);
  receiving_ = ring;
  if (ring == nullptr) return count;
  ChainBatch& batch = scratch_->sent;
  batch.count = batch.span_count = scratch_->piece_count = 0;
  const uint32_t wanted = std::min({max - count, pool.available(), VhostScratch::kFrames});
  stalled_ = wanted == 0;
  const uint32_t taken = ring->queue->ring->Take(batch, wanted);
  if (taken == 0) {
    Look(RingUse::kReads, *ring);
    return count;
  }
  if (from_guest_.kicks_wanted) {
    ring->queue->ring->WantKicks(false);
    from_guest_.kicks_wanted = false;
  }
  // What the burst may become on a wire has to find buffers.
  const uint32_t budget = std::min(kMostFrames, pool.available() / 2);
  uint32_t done = 0;
  for (uint32_t finals = 0; done < taken && finals <= budget; ++done) {
    if (!MakeFrame(*ring, pool, batch.chains[done], &out[count])) continue;
    finals += FinalsOf(out[count++]);
  }
  if (done < taken) {
    ring->queue->ring->PutBack(batch.chains[done]);
    batch.count = done;
  }
  received_.Add(done);
  // Nobody settles a burst of which nothing is left.
  if (count == 0) Settle();
  return count;
}

bool VhostPair::Drop(DropReason reason) {
  drops_[static_cast<size_t>(reason)].Add(1);
  return false;
}

// False: dropped, and counted.
bool VhostPair::MakeFrame(const Running& ring, FramePool& pool, const Chain& chain, Frame* out) {
  if (!ring.queue->enabled) return Drop(DropReason::kPORT_DOWN);
  if (chain.bytes < ring.header + kEthHeaderLen) return Drop(DropReason::kRUNT);
  const uint32_t length = chain.bytes - ring.header;
  if (length > kLongest) return Drop(DropReason::kFRAME_TOO_LARGE);

  SpanReader reader(&scratch_->sent.spans[chain.first], chain.spans);
  virtio_net_hdr offload = reader.ReadHeader(ring.header);
  // The other flags speak of frames towards the guest.
  offload.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
  const bool plain = offload.flags == 0 && offload.gso_type == VIRTIO_NET_HDR_GSO_NONE;

  const uint32_t head = plain && length > kCopyWhole ? kPlainHead : std::min(length, kFrameHead);
  *out = {pool.Take() + FrameArea::kHeadroom, length};
  uint8_t* data = pool.area().Data(out->addr);
  reader.Read(data, head);
  if (plain && head == length) return true;

  // One for each chain, so that there are enough of both.
  FrameTail& tail = scratch_->tails[&chain - scratch_->sent.chains.data()];
  tail = {.offload = offload, .head = head, .wire_len = length};
  if (plain) tail.offload = {};
  tail.pieces = &scratch_->pieces[scratch_->piece_count];
  tail.piece_count = reader.Rest(&scratch_->pieces[scratch_->piece_count]);
  scratch_->piece_count += tail.piece_count;
  if (!plain && !CheckOffload(ring, data, tail, length)) {
    pool.Give(out->addr);
    return Drop(DropReason::kBAD_OFFLOAD);
  }
  out->tail = &tail;
  return true;
}

// A driver must ask for the checksum where it asks for segmentation (VIRTIO 1.3, 5.1.6.2.1).
bool VhostPair::CheckOffload(const Running& ring, const uint8_t* head, FrameTail& tail,
                             uint32_t length) {
  if (!tail.NeedsChecksum() || !HasFeature(ring.features, VIRTIO_NET_F_CSUM)) return false;
  const uint32_t start = le16toh(tail.offload.csum_start);
  // Behind the header and a tag, which may be taken off: what the police looks at stays as it is.
  const uint32_t least = kEthHeaderLen + (EtherTypeOf(head) == kEtherTypeVlan ? kVlanTagLen : 0);
  if (start < least || start + le16toh(tail.offload.csum_offset) + 2 > length) return false;
  if (!tail.IsSegmented()) {
    tail.offload.gso_size = tail.offload.hdr_len = 0;
    return true;
  }
  if (!MaySegment(ring.features, tail.offload.gso_type)) return false;
  const auto plan = Segmentation::Plan({head, tail.head}, length, tail.offload);
  if (!plan || plan->count() > Segmentation::kMaxCount) return false;
  tail.wire_len = plan->max_length();
  return true;
}

void VhostPair::Settle() {
  const Running* ring = std::exchange(receiving_, nullptr);
  if (ring == nullptr || scratch_->sent.count == 0) return;
  Virtqueue& queue = *ring->queue->ring;
  queue.Use(scratch_->sent.chains.data(), scratch_->sent.count);
  scratch_->sent.count = 0;
  if (queue.ShouldNotify()) Notify(RingUse::kReads, *ring->queue);
  Look(RingUse::kReads, *ring);
}

// RFC 903, 3 "request reverse", as VMMs send it after a migration.
bool VhostPair::MakeAnnouncement(FramePool& pool, Frame* out) {
  if (announce_.load(std::memory_order_relaxed) == 0 || pool.available() == 0) return false;
  const uint64_t word = announce_.exchange(0);
  uint8_t mac[6];
  for (int i = 0; i < 6; ++i) mac[i] = static_cast<uint8_t>(word >> (40 - 8 * i));
  constexpr uint32_t kLength = 60;
  constexpr uint8_t kFixed[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};  // from the EtherType on
  *out = {pool.Take() + FrameArea::kHeadroom, kLength};
  uint8_t* data = pool.area().Data(out->addr);
  std::memset(data, 0, kLength);
  std::memset(data, 0xff, 6);
  std::memcpy(data + 6, mac, 6);
  std::memcpy(data + 12, kFixed, sizeof(kFixed));
  std::memcpy(data + 22, mac, 6);  // sender hardware address
  std::memcpy(data + 32, mac, 6);  // target hardware address
  received_.Add(1);
  return true;
}

}  // namespace vmqd

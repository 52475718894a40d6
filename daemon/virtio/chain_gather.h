// ChainGather: one chain on its way from descriptors to the spans of a batch. The checks of buffers
// that split and packed rings share. Used inside Take, by the queue's worker; nothing here
// allocates.
//
// Until Finish the batch's counts are as they were, so that a chain which fails, or does not fit,
// leaves no trace.
#ifndef VMQD_DAEMON_VIRTIO_CHAIN_GATHER_H_
#define VMQD_DAEMON_VIRTIO_CHAIN_GATHER_H_

#include <algorithm>
#include <cstdint>

#include "daemon/virtio/ring_access.h"
#include "daemon/virtio/virtqueue.h"

namespace vmqd {

// An indirect table: guest memory without a promise about its alignment, which may cross regions.
class IndirectTable {
 public:
  // The table that `descriptor` points to; `most` is how many entries it may have.
  RingFault Open(const GuestMemory& memory, const ring::Descriptor& descriptor, uint32_t most);
  uint32_t entries() const { return entries_; }
  // Entry `index` < entries(), as a split ring has it.
  ring::Descriptor Load(uint32_t index) const;

 private:
  static constexpr uint32_t kMaxParts = 4;  // 512 KiB in more regions than that is no real guest
  GuestSpan parts_[kMaxParts];
  uint32_t part_count_ = 0;
  uint32_t entries_ = 0;
};

class ChainGather {
 public:
  ChainGather(const GuestMemory& memory, RingUse use, ChainBatch& batch)
      : memory_(memory),
        use_(use),
        writable_(use == RingUse::kWrites ? ring::kWrite : 0),
        batch_(batch),
        first_(batch.span_count),
        end_(batch.span_count),
        limit_(std::min(first_ + Virtqueue::kMaxChainSpans, ChainBatch::kSpans)) {}

  // The chain that nearly all are: one buffer, in one region. False, and nothing done: any other,
  // which has to go the long way.
  static bool TakeSingle(const GuestMemory& memory, RingUse use, ChainBatch& batch,
                         const ring::Descriptor& descriptor, uint16_t id, uint32_t position) {
    const uint16_t expected = use == RingUse::kWrites ? ring::kWrite : 0;
    if (descriptor.flags != expected || descriptor.length > Virtqueue::kMaxChainBytes ||
        batch.span_count == ChainBatch::kSpans ||
        !memory.GatherWhole(descriptor.address, descriptor.length,
                            &batch.spans[batch.span_count])) {
      return false;
    }
    Prefetch(batch.spans[batch.span_count], use);
    batch.chains[batch.count++] = {.id = id,
                                   .entries = 1,
                                   .first = static_cast<uint16_t>(batch.span_count++),
                                   .spans = 1,
                                   .bytes = descriptor.length,
                                   .written = 0,
                                   .position = position};
    return true;
  }

  // The buffer of one descriptor, which is not an indirect one.
  RingFault Add(const ring::Descriptor& descriptor) {
    if (++pieces_ > Virtqueue::kMaxChainSpans) return RingFault::kTooLong;
    if ((descriptor.flags & ring::kWrite) != writable_) return RingFault::kDirection;
    if (descriptor.length == 0) return RingFault::kNone;
    if (descriptor.length > Virtqueue::kMaxChainBytes - bytes_) return RingFault::kTooLong;
    bytes_ += descriptor.length;
    if (memory_.Gather(descriptor.address, descriptor.length, batch_.spans.data(), &end_, limit_)) {
      return RingFault::kNone;
    }
    return end_ == limit_ ? RingFault::kTooLong : RingFault::kAddress;
  }

  // Whether `fault` may be only that this batch is nearly full.
  bool MayBeRoom(RingFault fault) const {
    return (fault == RingFault::kTooLong || fault == RingFault::kAddress) &&
           limit_ < first_ + Virtqueue::kMaxChainSpans;
  }
  uint32_t pieces() const { return pieces_; }

  // Puts the chain into the batch, unless it is empty.
  RingFault Finish(uint16_t id, uint32_t entries, uint32_t position) {
    if (bytes_ == 0) return RingFault::kEmpty;
    // Headers come next: they are in the first span, and the frame often begins in the second.
    for (uint32_t i = first_; i < std::min(end_, first_ + 2); ++i) Prefetch(batch_.spans[i], use_);
    batch_.chains[batch_.count++] = {.id = id,
                                     .entries = static_cast<uint16_t>(entries),
                                     .first = static_cast<uint16_t>(first_),
                                     .spans = static_cast<uint16_t>(end_ - first_),
                                     .bytes = bytes_,
                                     .written = 0,
                                     .position = position};
    batch_.span_count = end_;
    return RingFault::kNone;
  }

 private:
  static void Prefetch(const GuestSpan& span, RingUse use) {
    if (use == RingUse::kWrites) {
      span.PrefetchToWrite();
    } else {
      span.PrefetchToRead();
    }
  }

  const GuestMemory& memory_;
  const RingUse use_;
  const uint16_t writable_;
  ChainBatch& batch_;
  const uint32_t first_;  // span
  uint32_t end_;
  const uint32_t limit_;
  uint32_t bytes_ = 0;
  uint32_t pieces_ = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_CHAIN_GATHER_H_

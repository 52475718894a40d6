// The packed ring; the contract is in virtqueue.h.
//
// Order that must stay: the flags of a chain's first descriptor are loaded with acquire before
// anything else of it; of all that one Use hands back, the flags of the first are stored last, with
// release, so that the guest, which goes in order, sees everything or nothing. A full fence lies
// between what we publish and what we then look at of the guest's.
#include "daemon/virtio/packed_queue.h"

#include <utility>

namespace vmqd {
namespace {

constexpr uint32_t kEventPlace = 0, kEventFlags = 2;  // of an event suppression

}  // namespace

PackedQueue::PackedQueue(const VirtqueueConfig& config, std::shared_ptr<const GuestMemory> memory,
                         DirtyLog* log, void* descriptors, void* driver, void* device)
    : Virtqueue(config, std::move(memory), log),
      descriptors_(static_cast<uint8_t*>(descriptors)),
      driver_(static_cast<uint8_t*>(driver)),
      device_(static_cast<uint8_t*>(device)),
      next_(config.base & 0xffff),
      used_(config.base & 0xffff) {}

bool PackedQueue::BaseIsPossible(uint32_t base, uint32_t size) {
  return Place(base & 0xffff).entry < size;
}

// More than `size` when `to` is not ahead of `from` by at most a lap.
uint32_t PackedQueue::Between(Place from, Place to, uint32_t size) {
  return to.entry + (from.wrap == to.wrap ? 0 : size) - from.entry;
}

uint32_t PackedQueue::Take(ChainBatch& batch, uint32_t max) {
  if (fault_ != RingFault::kNone) return 0;
  if (memory_->Broken()) {
    fault_ = RingFault::kMemory;
    return 0;
  }
  uint32_t taken = 0;
  for (uint32_t visits = 0; taken < max && batch.count < ChainBatch::kChains && visits < kMaxVisits;
       ++taken) {
    const uint16_t flags = ring::Acquire16(At(next_) + ring::kPackedFlags);
    if (!IsAvailable(flags, next_.wrap)) break;
    ChainGather gather(*memory_, config_.use, batch);
    const RingFault fault = TakeOne(flags, gather);
    if (fault != RingFault::kNone) {
      if (gather.MayBeRoom(fault)) break;
      fault_ = memory_->Broken() ? RingFault::kMemory : fault;
      break;
    }
    visits += gather.pieces();
  }
  return taken;
}

RingFault PackedQueue::TakeOne(uint16_t flags, ChainGather& gather) {
  uint32_t entries = 0;
  uint16_t id = 0;
  RingFault fault = Walk(flags, gather, &entries, &id);
  if (fault != RingFault::kNone) return fault;
  if (id >= config_.size) return RingFault::kHead;
  fault = gather.Finish(id, entries, next_.ToHalf());
  if (fault == RingFault::kNone) next_.Advance(entries, config_.size);
  return fault;
}

RingFault PackedQueue::Walk(uint16_t flags, ChainGather& gather, uint32_t* entries,
                            uint16_t* id) const {
  const uint32_t room = config_.size - Between(used_, next_, config_.size);
  Place place = next_;
  for (uint32_t seen = 0; seen < room;) {
    if (seen > 0) flags = ring::Load16(At(place) + ring::kPackedFlags);
    const ring::Descriptor descriptor = ring::LoadPacked(At(place), flags);
    *entries = ++seen;
    *id = descriptor.last;
    if ((flags & ring::kIndirect) != 0) {
      // A chain is either one table or made of buffers.
      return seen == 1 ? WalkTable(descriptor, gather) : RingFault::kIndirect;
    }
    if (const RingFault fault = gather.Add(descriptor); fault != RingFault::kNone) return fault;
    if ((flags & ring::kNext) == 0) return RingFault::kNone;
    place.Advance(1, config_.size);
  }
  // What is taken and not used yet cannot be available once more.
  return room == config_.size ? RingFault::kLoop : RingFault::kAvailIndex;
}

// Every entry of the table is a buffer, whatever its NEXT flag says (VIRTIO 1.3, 2.8.7).
RingFault PackedQueue::WalkTable(const ring::Descriptor& descriptor, ChainGather& gather) const {
  if (!config_.indirect || (descriptor.flags & ring::kNext) != 0) return RingFault::kIndirect;
  IndirectTable table;
  RingFault fault = table.Open(*memory_, descriptor, config_.size);
  for (uint32_t i = 0; fault == RingFault::kNone && i < table.entries(); ++i) {
    ring::Descriptor entry = table.Load(i);
    // There the buffer id lies before the flags.
    std::swap(entry.flags, entry.last);
    // DPDK's driver leaves the entry of its header marked as writable; to read it does no harm.
    if (config_.use == RingUse::kReads) entry.flags &= static_cast<uint16_t>(~ring::kWrite);
    fault = (entry.flags & ring::kIndirect) != 0 ? RingFault::kIndirect : gather.Add(entry);
  }
  return fault;
}

void PackedQueue::PutBack(const Chain& chain) { next_ = Place(chain.position); }

void PackedQueue::Use(const Chain* chains, uint32_t count) {
  if (count == 0) return;
  const auto flags_of = [](const Chain& chain, Place place) {
    return static_cast<uint16_t>((place.wrap ? ring::kAvailable | ring::kUsed : 0) |
                                 (chain.written > 0 ? ring::kWrite : 0));
  };
  const Place first = used_;
  for (uint32_t i = 0; i < count; ++i) {
    uint8_t* at = At(used_);
    ring::Store32(at + ring::kLength, chains[i].written);
    ring::Store16(at + ring::kPackedId, chains[i].id);
    if (i > 0) ring::Store16(at + ring::kPackedFlags, flags_of(chains[i], used_));
    NoteRing(at, ring::kDescriptorSize);
    used_.Advance(chains[i].entries, config_.size);
    untold_ = std::min(untold_ + chains[i].entries, config_.size);
  }
  ring::Release16(At(first) + ring::kPackedFlags, flags_of(chains[0], first));
  NoteRing(At(first), ring::kDescriptorSize);
}

bool PackedQueue::ShouldNotify() {
  if (untold_ == 0) return false;
  ring::FullFence();
  const uint32_t untold = std::exchange(untold_, 0);
  const bool first = !std::exchange(told_, true);
  const uint16_t flags = ring::Acquire16(driver_ + kEventFlags) & ring::kEventsMask;
  if (flags == ring::kEventsDisabled) return false;
  if (flags != ring::kEventsAtEntry || !config_.event_idx) return true;
  // The first time we do not know what a device before us has told.
  if (first || untold == config_.size) return true;
  const Place event(ring::Load16(driver_ + kEventPlace));
  // In entries, from the last one used back to the wanted one; negative when that is still ahead.
  int32_t back = static_cast<int32_t>(used_.entry) - static_cast<int32_t>(event.entry) - 1;
  if (event.wrap != used_.wrap) back += static_cast<int32_t>(config_.size);
  return back >= 0 && back < static_cast<int32_t>(untold);
}

void PackedQueue::WantKicks(bool wanted) {
  uint16_t flags = wanted ? ring::kEventsEnabled : ring::kEventsDisabled;
  if (wanted && config_.event_idx) {
    ring::Store16(device_ + kEventPlace, next_.ToHalf());
    flags = ring::kEventsAtEntry;
  }
  ring::Release16(device_ + kEventFlags, flags);
  NoteRing(device_, kEventBytes);
  if (wanted) ring::FullFence();
}

bool PackedQueue::HasWork() const {
  return fault_ == RingFault::kNone &&
         IsAvailable(ring::Acquire16(At(next_) + ring::kPackedFlags), next_.wrap);
}

// Entries become available in order: the first that is not is found by halving.
uint32_t PackedQueue::Available() const {
  if (!HasWork()) return 0;
  uint32_t below = 0, above = config_.size - Between(used_, next_, config_.size);
  while (below < above) {
    const uint32_t middle = below + (above - below) / 2;
    Place place = next_;
    place.Advance(middle, config_.size);
    if (IsAvailable(ring::Load16(At(place) + ring::kPackedFlags), place.wrap)) {
      below = middle + 1;
    } else {
      above = middle;
    }
  }
  return below;
}

uint32_t PackedQueue::Base() const {
  return uint32_t{used_.ToHalf()} << 16 | uint32_t{next_.ToHalf()};
}

void PackedQueue::NoteRing(const void* at, uint64_t size) const {
  if (log_ != nullptr) memory_->LogRing(*log_, at, size);
}

}  // namespace vmqd

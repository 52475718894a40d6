// The split ring; the contract is in virtqueue.h.
//
// Order that must stay: the available index is loaded with acquire before heads and descriptors;
// the used index is stored with release after the elements; a full fence lies between what we
// publish and what we then look at of the guest's.
//
// A ring begins at the used index that lies in it, read this once, whatever base the front end
// sent: every chain before it has been handed back, and none behind it, as a device of its own
// takes no chain it does not use before it stops. The two differ when a back end died with chains
// taken: DPDK's front end then sends base 0, and one that sends the available index would lose what
// was outstanding. The vhost-user specification allows it for rings used in order ("Inflight I/O
// tracking"), and DPDK's back end does the same. A guest that writes nonsense there gets nonsense:
// entries are masked, and more chains than the ring has are a fault as ever.
#include "daemon/virtio/split_queue.h"

#include <array>
#include <utility>

namespace vmqd {
namespace {

constexpr uint32_t kFlags = 0, kIndex = 2, kEntries = 4;  // of both halves
constexpr uint64_t kHeadSize = 2, kElementSize = 8;
constexpr uint32_t kWholeLap = 65536;  // of an index
constexpr uint32_t kAhead = 64;        // chains

}  // namespace

SplitQueue::SplitQueue(const VirtqueueConfig& config, std::shared_ptr<const GuestMemory> memory,
                       DirtyLog* log, void* descriptors, void* driver, void* device)
    : Virtqueue(config, std::move(memory), log),
      descriptors_(static_cast<const uint8_t*>(descriptors)),
      driver_(static_cast<uint8_t*>(driver)),
      device_(static_cast<uint8_t*>(device)),
      mask_(static_cast<uint16_t>(config.size - 1)),
      next_(ring::Load16(device_ + kIndex)),
      used_(next_),
      seen_(next_) {
  ring::Store16(device_ + kFlags, 0);  // with event indexes it stays so
  NoteRing(device_ + kFlags, sizeof(uint16_t));
}

uint32_t SplitQueue::Look() {
  if (fault_ != RingFault::kNone) return 0;
  if (memory_->Broken()) {
    fault_ = RingFault::kMemory;
    return 0;
  }
  const uint16_t available = ring::Acquire16(driver_ + kIndex);
  seen_ = available;
  // Chains that are taken and not used yet occupy entries as well, and cannot be made unavailable.
  const auto offered = static_cast<uint16_t>(available - used_);
  const auto taken = static_cast<uint16_t>(next_ - used_);
  if (offered > config_.size || offered < taken) {
    fault_ = memory_->Broken() ? RingFault::kMemory : RingFault::kAvailIndex;
    return 0;
  }
  return uint32_t{offered} - taken;
}

uint32_t SplitQueue::Take(ChainBatch& batch, uint32_t max) {
  const uint32_t most = std::min({Look(), max, ChainBatch::kChains - batch.count});
  // All heads first, so that their descriptors are on the way when the first is looked at.
  std::array<uint16_t, ChainBatch::kChains> heads;
  for (uint32_t i = 0; i < most; ++i) {
    const uint32_t entry = static_cast<uint16_t>(next_ + i) & mask_;
    heads[i] = ring::Load16(driver_ + kEntries + kHeadSize * entry);
    __builtin_prefetch(descriptors_ + ring::kDescriptorSize * uint64_t{heads[i]});
  }
  uint32_t taken = 0;
  for (uint32_t visits = 0; taken < most && visits < kMaxVisits; ++taken) {
    if (TakeSingle(heads[taken], batch)) {
      ++visits;
      ++next_;
      continue;
    }
    ChainGather gather(*memory_, config_.use, batch);
    RingFault fault = Walk(heads[taken], gather);
    if (fault == RingFault::kNone) fault = gather.Finish(heads[taken], 1, next_);
    if (fault != RingFault::kNone) {
      if (gather.MayBeRoom(fault)) break;
      fault_ = memory_->Broken() ? RingFault::kMemory : fault;
      break;
    }
    visits += gather.pieces();
    ++next_;
  }
  PrefetchAhead();
  return taken;
}

bool SplitQueue::TakeSingle(uint16_t head, ChainBatch& batch) const {
  return head < config_.size &&
         ChainGather::TakeSingle(
             *memory_, config_.use, batch,
             ring::LoadSplit(descriptors_ + ring::kDescriptorSize * uint64_t{head}), head, next_);
}

// The descriptors of the chains that the next Take may begin with.
void SplitQueue::PrefetchAhead() const {
  const uint32_t ahead = std::min<uint32_t>(static_cast<uint16_t>(seen_ - next_), kAhead);
  for (uint32_t i = 0; i < ahead; ++i) {
    const uint32_t entry = static_cast<uint16_t>(next_ + i) & mask_;
    __builtin_prefetch(descriptors_ +
                       ring::kDescriptorSize *
                           uint64_t{ring::Load16(driver_ + kEntries + kHeadSize * entry)});
  }
}

RingFault SplitQueue::Walk(uint16_t head, ChainGather& gather) const {
  if (head >= config_.size) return RingFault::kHead;
  uint16_t index = head;
  for (uint32_t seen = 1;; ++seen) {
    const ring::Descriptor descriptor =
        ring::LoadSplit(descriptors_ + ring::kDescriptorSize * uint64_t{index});
    if ((descriptor.flags & ring::kIndirect) != 0) return WalkTable(descriptor, gather);
    if (const RingFault fault = gather.Add(descriptor); fault != RingFault::kNone) return fault;
    if ((descriptor.flags & ring::kNext) == 0) return RingFault::kNone;
    if (seen == config_.size) return RingFault::kLoop;
    index = descriptor.last;
    if (index >= config_.size) return RingFault::kNext;
  }
}

// An indirect table is the last of its chain.
RingFault SplitQueue::WalkTable(const ring::Descriptor& descriptor, ChainGather& gather) const {
  if (!config_.indirect || (descriptor.flags & ring::kNext) != 0) return RingFault::kIndirect;
  IndirectTable table;
  if (const RingFault fault = table.Open(*memory_, descriptor, config_.size);
      fault != RingFault::kNone) {
    return fault;
  }
  uint16_t index = 0;
  for (uint32_t seen = 1;; ++seen) {
    const ring::Descriptor entry = table.Load(index);
    if ((entry.flags & ring::kIndirect) != 0) return RingFault::kIndirect;
    if (const RingFault fault = gather.Add(entry); fault != RingFault::kNone) return fault;
    if ((entry.flags & ring::kNext) == 0) return RingFault::kNone;
    if (seen == table.entries()) return RingFault::kLoop;
    index = entry.last;
    if (index >= table.entries()) return RingFault::kNext;
  }
}

void SplitQueue::PutBack(const Chain& chain) { next_ = static_cast<uint16_t>(chain.position); }

void SplitQueue::Use(const Chain* chains, uint32_t count) {
  if (count == 0) return;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t entry = static_cast<uint16_t>(used_ + i) & mask_;
    uint8_t* element = device_ + kEntries + kElementSize * entry;
    ring::Store32(element, chains[i].id);
    ring::Store32(element + sizeof(uint32_t), chains[i].written);
    NoteRing(element, kElementSize);
  }
  used_ = static_cast<uint16_t>(used_ + count);
  ring::Release16(device_ + kIndex, used_);
  NoteRing(device_ + kIndex, sizeof(uint16_t));
  untold_ = std::min(untold_ + count, kWholeLap);
}

bool SplitQueue::ShouldNotify() {
  if (untold_ == 0) return false;
  ring::FullFence();
  const uint32_t untold = std::exchange(untold_, 0);
  const bool first = !std::exchange(told_, true);
  if (!config_.event_idx) return (ring::Load16(driver_ + kFlags) & ring::kNoInterrupt) == 0;
  // The first time we do not know what a device before us has told.
  if (first || untold == kWholeLap) return true;
  const uint16_t event = ring::Load16(DriverEvent());
  return static_cast<uint16_t>(used_ - event - 1) < untold;
}

void SplitQueue::WantKicks(bool wanted) {
  if (config_.event_idx) {
    // Not wanted: an index that the guest has passed.
    ring::Store16(DeviceEvent(), wanted ? next_ : static_cast<uint16_t>(next_ - 1));
    NoteRing(DeviceEvent(), sizeof(uint16_t));
  } else {
    ring::Store16(device_ + kFlags, wanted ? 0 : ring::kNoNotify);
    NoteRing(device_ + kFlags, sizeof(uint16_t));
  }
  if (wanted) ring::FullFence();
}

bool SplitQueue::HasWork() const {
  return fault_ == RingFault::kNone && ring::Acquire16(driver_ + kIndex) != next_;
}

uint32_t SplitQueue::Available() const {
  if (fault_ != RingFault::kNone) return 0;
  const uint16_t ahead = static_cast<uint16_t>(ring::Acquire16(driver_ + kIndex) - next_);
  return std::min<uint32_t>(ahead, config_.size);
}

uint32_t SplitQueue::Base() const { return next_; }

void SplitQueue::NoteRing(const void* at, uint64_t size) const {
  if (log_ != nullptr) memory_->LogRing(*log_, at, size);
}

}  // namespace vmqd

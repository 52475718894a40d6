// A driver that behaves; the contract is in test_driver.h.
#include "tests/support/test_driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/virtio/packed_queue.h"
#include "daemon/virtio/ring_access.h"
#include "daemon/virtio/split_queue.h"

namespace vmqd::testing {
namespace {

constexpr uint64_t kAlign = 64;

uint64_t AlignUp(uint64_t value) { return (value + kAlign - 1) / kAlign * kAlign; }

void Require(bool condition) {
  if (!condition) std::abort();
}

void Store64(uint8_t* at, uint64_t value) {
  __atomic_store_n(reinterpret_cast<uint64_t*>(at), htole64(value), __ATOMIC_RELAXED);
}

uint16_t Availability(bool wrap) { return wrap ? ring::kAvailable : ring::kUsed; }

uint64_t DriverPart(const DriverConfig& config) {
  return AlignUp(config.packed ? PackedQueue::kEventBytes : SplitQueue::DriverBytes(config.size));
}
uint64_t DevicePart(const DriverConfig& config) {
  return AlignUp(config.packed ? PackedQueue::kEventBytes : SplitQueue::DeviceBytes(config.size));
}

}  // namespace

TestMemory::TestMemory(std::vector<std::pair<uint64_t, uint64_t>> regions, bool sealed) {
  for (const auto& [guest, size] : regions) {
    regions_.push_back({guest, size, User(guest), bytes_});
    bytes_ += size;
  }
  fd_ = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  Require(fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(bytes_)) == 0);
  if (sealed) Require(fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
  void* base = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  Require(base != MAP_FAILED);
  base_ = static_cast<uint8_t*>(base);
}

TestMemory::~TestMemory() {
  munmap(base_, bytes_);
  close(fd_);
}

uint8_t* TestMemory::At(uint64_t guest_address) const {
  for (const MemoryRegion& region : regions_) {
    const uint64_t offset = guest_address - region.guest_address;
    if (offset < region.size) return base_ + region.mmap_offset + offset;
  }
  std::abort();
}

std::shared_ptr<const GuestMemory> TestMemory::Lend() const {
  auto memory = std::make_shared<const GuestMemory>();
  for (const MemoryRegion& region : regions_) {
    auto more = memory->With(region, UniqueFd(fcntl(fd_, F_DUPFD_CLOEXEC, 0)));
    Require(more.ok());
    memory = *more;
  }
  return memory;
}

TestDriver::TestDriver(const TestMemory& memory, const DriverConfig& config, uint64_t at)
    : memory_(memory),
      config_(config),
      descriptors_(at),
      driver_(descriptors_ + AlignUp(SplitQueue::DescriptorBytes(config.size))),
      device_(driver_ + DriverPart(config)),
      tables_(device_ + DevicePart(config)),
      taken_(config.size),
      free_entries_(config.size) {
  for (uint32_t i = config.size; i > 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

uint64_t TestDriver::Bytes(const DriverConfig& config) {
  const uint64_t tables = config.indirect ? uint64_t{config.size} * kTableEntries * 16 : 0;
  return AlignUp(SplitQueue::DescriptorBytes(config.size)) + DriverPart(config) +
         DevicePart(config) + tables;
}

VirtqueueConfig TestDriver::ForDevice() const {
  return {.use = config_.use,
          .packed = config_.packed,
          .event_idx = config_.event_idx,
          .indirect = config_.indirect,
          .size = config_.size,
          .descriptors = TestMemory::User(descriptors_),
          .driver = TestMemory::User(driver_),
          .device = TestMemory::User(device_),
          .base = config_.packed ? 0x80008000 : 0};
}

uint16_t TestDriver::Direction() const {
  return config_.use == RingUse::kWrites ? ring::kWrite : 0;
}

void TestDriver::WriteSplit(uint64_t at, uint64_t address, uint32_t length, uint16_t flags,
                            uint16_t next) {
  uint8_t* to = memory_.At(at);
  Store64(to + ring::kAddress, address);
  Store64(to + ring::kLength, uint64_t{length} | uint64_t{flags} << 32 | uint64_t{next} << 48);
}

void TestDriver::WritePacked(uint32_t entry, uint64_t address, uint32_t length, uint16_t id,
                             uint16_t flags, bool wrap) {
  uint8_t* to = descriptors() + ring::kDescriptorSize * entry;
  Store64(to + ring::kAddress, address);
  ring::Store32(to + ring::kLength, length);
  ring::Store16(to + ring::kPackedId, id);
  ring::Release16(to + ring::kPackedFlags, flags | Availability(wrap));
}

// Entries in order: the next of each is the one behind it, which is also how packed tables go.
void TestDriver::WriteTable(uint16_t id, const std::vector<DriverBuffer>& buffers) {
  Require(buffers.size() <= kTableEntries);
  for (size_t i = 0; i < buffers.size(); ++i) {
    const uint64_t at = table(id) + i * ring::kDescriptorSize;
    const bool more = i + 1 < buffers.size();
    const auto flags = static_cast<uint16_t>(Direction() | (more ? ring::kNext : 0));
    if (config_.packed) {
      WriteSplit(at, buffers[i].address, buffers[i].length, 0, Direction());
    } else {
      WriteSplit(at, buffers[i].address, buffers[i].length, flags, static_cast<uint16_t>(i + 1));
    }
  }
}

std::optional<uint16_t> TestDriver::Add(const std::vector<DriverBuffer>& buffers, bool indirect) {
  const size_t entries = indirect ? 1 : buffers.size();
  if (entries > free_entries_ || free_.empty()) return std::nullopt;
  free_entries_ -= static_cast<uint32_t>(entries);
  unasked_ += config_.packed ? static_cast<uint32_t>(entries) : 1;
  return config_.packed ? AddPacked(buffers, indirect) : AddSplit(buffers, indirect);
}

uint16_t TestDriver::AddSplit(const std::vector<DriverBuffer>& buffers, bool indirect) {
  const size_t entries = indirect ? 1 : buffers.size();
  std::vector<uint16_t> chain(free_.end() - static_cast<long>(entries), free_.end());
  free_.resize(free_.size() - entries);
  const uint16_t head = chain.front();
  for (size_t i = 0; i < entries; ++i) {
    const uint64_t at = descriptors_ + uint64_t{ring::kDescriptorSize} * chain[i];
    if (indirect) {
      WriteTable(head, buffers);
      WriteSplit(at, table(head), static_cast<uint32_t>(buffers.size() * ring::kDescriptorSize),
                 ring::kIndirect, 0);
    } else {
      const bool more = i + 1 < entries;
      WriteSplit(at, buffers[i].address, buffers[i].length,
                 static_cast<uint16_t>(Direction() | (more ? ring::kNext : 0)),
                 more ? chain[i + 1] : 0);
    }
  }
  taken_[head] = std::move(chain);
  Offer(head);
  return head;
}

void TestDriver::Offer(uint16_t head) {
  ring::Store16(driver() + 4 + 2 * uint64_t{next_ % config_.size}, head);
  SetAvailableIndex(static_cast<uint16_t>(next_ + 1));
}

void TestDriver::SetAvailableIndex(uint16_t index) {
  next_ = index;
  ring::Release16(driver() + 2, index);
}

void TestDriver::SetIndexes(uint16_t index) {
  SetAvailableIndex(index);
  reaped_ = index;
  ring::Release16(device() + 2, index);
}

uint16_t TestDriver::AddPacked(const std::vector<DriverBuffer>& buffers, bool indirect) {
  const size_t entries = indirect ? 1 : buffers.size();
  const uint16_t id = free_.back();
  free_.pop_back();
  taken_[id].resize(entries);
  const uint32_t first = next_;
  const bool first_wrap = next_wrap_;
  const auto flags_of = [&](size_t i) -> uint16_t {
    if (indirect) return ring::kIndirect;
    return static_cast<uint16_t>(Direction() | (i + 1 < entries ? ring::kNext : 0));
  };
  if (indirect) WriteTable(id, buffers);
  const DriverBuffer head =
      indirect ? DriverBuffer{table(id), static_cast<uint32_t>(buffers.size() * 16)} : buffers[0];
  for (size_t i = 0; i < entries; ++i) {
    if (i > 0)
      WritePacked(next_, buffers[i].address, buffers[i].length, id, flags_of(i), next_wrap_);
    if (++next_ == config_.size) {
      next_ = 0;
      next_wrap_ = !next_wrap_;
    }
  }
  WritePacked(first, head.address, head.length, id, flags_of(0), first_wrap);
  return id;
}

bool TestDriver::ShouldKick() {
  ring::FullFence();
  const uint32_t added = std::exchange(unasked_, 0);
  if (added == 0) return false;
  if (!config_.packed) {
    if (!config_.event_idx) return (ring::Load16(device()) & ring::kNoNotify) == 0;
    const uint16_t event = ring::Load16(device() + 4 + 8 * uint64_t{config_.size});
    return static_cast<uint16_t>(next_ - event - 1) < added;
  }
  const uint16_t flags = ring::Acquire16(device() + 2) & ring::kEventsMask;
  if (flags == ring::kEventsDisabled) return false;
  if (flags == ring::kEventsEnabled) return true;
  const uint16_t event = ring::Load16(device());
  int32_t at = event & 0x7fff;
  if (((event & 0x8000) != 0) != next_wrap_) at -= static_cast<int32_t>(config_.size);
  const int32_t back = static_cast<int32_t>(next_) - at - 1;
  return back >= 0 && back < static_cast<int32_t>(added);
}

std::optional<TestDriver::Used> TestDriver::Reap() {
  return config_.packed ? ReapPacked() : ReapSplit();
}

std::optional<TestDriver::Used> TestDriver::ReapSplit() {
  if (ring::Acquire16(device() + 2) == static_cast<uint16_t>(reaped_)) return std::nullopt;
  const uint8_t* element = device() + 4 + 8 * uint64_t{reaped_ % config_.size};
  reaped_ = static_cast<uint16_t>(reaped_ + 1);
  const uint32_t id = ring::Load32(element);
  Require(id < config_.size && !taken_[id].empty());
  free_entries_ += static_cast<uint32_t>(taken_[id].size());
  free_.insert(free_.end(), taken_[id].begin(), taken_[id].end());
  taken_[id].clear();
  return Used{static_cast<uint16_t>(id), ring::Load32(element + 4)};
}

std::optional<TestDriver::Used> TestDriver::ReapPacked() {
  const uint8_t* at = descriptors() + ring::kDescriptorSize * reaped_;
  const uint16_t flags = ring::Acquire16(at + ring::kPackedFlags);
  const bool available = (flags & ring::kAvailable) != 0, used = (flags & ring::kUsed) != 0;
  if (available != reaped_wrap_ || used != reaped_wrap_) return std::nullopt;
  const uint16_t id = ring::Load16(at + ring::kPackedId);
  Require(id < config_.size && !taken_[id].empty());
  const auto entries = static_cast<uint32_t>(taken_[id].size());
  const uint32_t length = ring::Load32(at + ring::kLength);
  // The flag tells whether anything was written.
  Require(((flags & ring::kWrite) != 0) == (length > 0));
  taken_[id].clear();
  free_.push_back(id);
  free_entries_ += entries;
  reaped_ += entries;
  if (reaped_ >= config_.size) {
    reaped_ -= config_.size;
    reaped_wrap_ = !reaped_wrap_;
  }
  return Used{id, length};
}

void TestDriver::RefuseInterrupts() {
  if (config_.packed) return ring::Release16(driver() + 2, ring::kEventsDisabled);
  if (!config_.event_idx) return ring::Store16(driver(), ring::kNoInterrupt);
  ring::Store16(driver() + 4 + 2 * uint64_t{config_.size}, static_cast<uint16_t>(reaped_ - 1));
}

void TestDriver::WantInterrupt(uint32_t after) {
  if (!config_.packed) {
    ring::Store16(driver(), 0);
    ring::Store16(driver() + 4 + 2 * uint64_t{config_.size},
                  static_cast<uint16_t>(reaped_ + after));
  } else if (config_.event_idx) {
    const uint32_t entry = reaped_ + after;
    const bool wrap = reaped_wrap_ != (entry >= config_.size);
    ring::Store16(driver(), static_cast<uint16_t>(entry % config_.size | (wrap ? 0x8000 : 0)));
    ring::Release16(driver() + 2, ring::kEventsAtEntry);
  } else {
    ring::Release16(driver() + 2, ring::kEventsEnabled);
  }
  ring::FullFence();
}

}  // namespace vmqd::testing

// The guest's side, for tests: memory to lend and a virtio driver over it, split or packed (VIRTIO
// 1.3, 2.7 and 2.8), with indirect tables and event indexes. It behaves; a test that wants a
// hostile guest writes into the ring parts itself. One thread. No mocks of the device: what is
// tested reads this memory as it would a VM's.
#ifndef VMQD_TESTS_SUPPORT_TEST_DRIVER_H_
#define VMQD_TESTS_SUPPORT_TEST_DRIVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/virtio/guest_memory.h"
#include "daemon/virtio/virtqueue.h"

namespace vmqd::testing {

// A memfd in one or more regions, mapped on the guest's side as well.
class TestMemory {
 public:
  static constexpr uint64_t kUserBase = uint64_t{0x7f00} << 32;

  // Regions by guest address and size, one after the other in the file; user addresses are
  // kUserBase + guest address.
  explicit TestMemory(std::vector<std::pair<uint64_t, uint64_t>> regions, bool sealed = false);
  ~TestMemory();
  TestMemory(const TestMemory&) = delete;
  TestMemory& operator=(const TestMemory&) = delete;

  int fd() const { return fd_; }
  const std::vector<MemoryRegion>& regions() const { return regions_; }
  // Where a guest address is mapped here; it must lie in a region.
  uint8_t* At(uint64_t guest_address) const;
  static uint64_t User(uint64_t guest_address) { return kUserBase + guest_address; }
  // All regions as the device maps them.
  std::shared_ptr<const GuestMemory> Lend() const;

 private:
  int fd_ = -1;
  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
  std::vector<MemoryRegion> regions_;
};

struct DriverConfig {
  RingUse use = RingUse::kReads;
  bool packed = false;
  bool event_idx = false;
  bool indirect = false;
  uint32_t size = 256;
};

struct DriverBuffer {
  uint64_t address = 0;  // guest physical
  uint32_t length = 0;
};

class TestDriver {
 public:
  static constexpr uint32_t kTableEntries = 8;  // of an indirect table, at most

  // The ring parts and the indirect tables begin at guest address `at`, a multiple of 16, and take
  // Bytes(config), all in one region.
  TestDriver(const TestMemory& memory, const DriverConfig& config, uint64_t at);
  static uint64_t Bytes(const DriverConfig& config);

  // For Virtqueue::Open, at the driver's start.
  VirtqueueConfig ForDevice() const;

  // Makes one chain available; its id, or nullopt when the ring has no room. As an indirect table
  // if asked for.
  std::optional<uint16_t> Add(const std::vector<DriverBuffer>& buffers, bool indirect = false);
  // Whether the device wants a kick for what was added since this was last asked.
  bool ShouldKick();

  struct Used {
    uint16_t id = 0;
    uint32_t length = 0;
  };
  // The next chain that the device has used.
  std::optional<Used> Reap();
  // Interrupts: never, or as soon as `after` more chains (packed: entries) than now have been used.
  void RefuseInterrupts();
  void WantInterrupt(uint32_t after = 0);
  uint32_t free() const { return free_entries_; }

  // The parts, to write what no driver would.
  uint8_t* descriptors() const { return memory_.At(descriptors_); }
  uint8_t* driver() const { return memory_.At(driver_); }
  uint8_t* device() const { return memory_.At(device_); }
  uint64_t table(uint16_t id) const { return tables_ + uint64_t{id} * kTableEntries * 16; }
  // A descriptor at a guest address, in the split layout (`flags`, then `next`).
  void WriteSplit(uint64_t at, uint64_t address, uint32_t length, uint16_t flags, uint16_t next);
  // A descriptor of the packed ring; `flags` without those of availability, which are added.
  void WritePacked(uint32_t entry, uint64_t address, uint32_t length, uint16_t id, uint16_t flags,
                   bool wrap = true);
  uint64_t descriptors_at() const { return descriptors_; }
  // Split: puts `head` into the available ring and counts the index up.
  void Offer(uint16_t head);
  void SetAvailableIndex(uint16_t index);
  // Split: both indexes, of a ring that has been used for a while and is idle.
  void SetIndexes(uint16_t index);

 private:
  uint16_t Direction() const;
  void WriteTable(uint16_t id, const std::vector<DriverBuffer>& buffers);
  uint16_t AddSplit(const std::vector<DriverBuffer>& buffers, bool indirect);
  uint16_t AddPacked(const std::vector<DriverBuffer>& buffers, bool indirect);
  std::optional<Used> ReapSplit();
  std::optional<Used> ReapPacked();

  const TestMemory& memory_;
  const DriverConfig config_;
  uint64_t descriptors_, driver_, device_, tables_;  // guest addresses
  std::vector<uint16_t> free_;                       // descriptors; packed: ids
  std::vector<std::vector<uint16_t>> taken_;         // by id: descriptors; packed: that many
  uint32_t free_entries_;
  uint32_t next_ = 0;    // available index; packed: entry
  uint32_t reaped_ = 0;  // used index; packed: entry
  bool next_wrap_ = true, reaped_wrap_ = true;
  uint32_t unasked_ = 0;  // added since ShouldKick; packed: entries
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_TEST_DRIVER_H_

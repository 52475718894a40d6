// A driver, the memory it lends, and the queue under test over both.
#ifndef VMQD_TESTS_UNIT_VIRTIO_RING_FIXTURE_H_
#define VMQD_TESTS_UNIT_VIRTIO_RING_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/virtio/ring_access.h"
#include "daemon/virtio/virtqueue.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_driver.h"

namespace vmqd::testing {

// Guest memory: rings from kRings, two regions that meet at kBorder, a hole, one more at kFar.
struct RingFixture {
  static constexpr uint64_t kRings = 0, kBorder = 32 << 20, kEnd = kBorder + (1 << 20);
  static constexpr uint64_t kData = 16 << 20;  // buffers of well-behaved chains
  static constexpr uint64_t kFar = uint64_t{1} << 32;

  explicit RingFixture(const DriverConfig& driver_config, DirtyLog* log = nullptr)
      : memory({{kRings, kBorder}, {kBorder, kEnd - kBorder}, {kFar, 1 << 20}}),
        driver(memory, driver_config, kRings) {
    auto opened = Virtqueue::Open(driver.ForDevice(), memory.Lend(), log);
    EXPECT_THAT(opened, IsOk());
    queue = *std::move(opened);
    batch = std::make_unique<ChainBatch>();
  }

  // What is available now, into a fresh batch.
  uint32_t Take(uint32_t max = ChainBatch::kChains) {
    batch->count = batch->span_count = 0;
    return queue->Take(*batch, max);
  }
  // The bytes of a chain of the batch.
  std::string Read(const Chain& chain) const {
    std::string bytes;
    for (uint32_t i = chain.first; i < chain.first + uint32_t{chain.spans}; ++i) {
      std::string piece(batch->spans[i].size(), '\0');
      batch->spans[i].CopyTo(reinterpret_cast<uint8_t*>(piece.data()));
      bytes += piece;
    }
    return bytes;
  }
  void Fill(uint64_t address, const std::string& bytes) const {
    for (size_t i = 0; i < bytes.size(); ++i) {
      *memory.At(address + i) = static_cast<uint8_t>(bytes[i]);
    }
  }
  void ExpectPoisoned(RingFault fault) {
    EXPECT_EQ(Take(), 0u);
    EXPECT_EQ(queue->fault(), fault) << RingFaultText(queue->fault());
    EXPECT_EQ(batch->count, 0u);
    EXPECT_EQ(batch->span_count, 0u);
    EXPECT_EQ(Take(), 0u);
    EXPECT_FALSE(queue->HasWork());
  }

  TestMemory memory;
  TestDriver driver;
  std::unique_ptr<Virtqueue> queue;
  std::unique_ptr<ChainBatch> batch;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_UNIT_VIRTIO_RING_FIXTURE_H_

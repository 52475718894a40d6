// What only a packed ring can do wrong. V numbers are those of the list of threats.
#include "daemon/virtio/packed_queue.h"

#include "tests/unit/virtio/ring_fixture.h"

namespace vmqd {
namespace {

using testing::IsOk;
using testing::RingFixture;
using testing::StatusIs;

constexpr uint64_t kData = RingFixture::kData;
constexpr uint32_t kSize = 16;

struct PackedRing : RingFixture {
  explicit PackedRing(uint32_t size = kSize)
      : RingFixture({.packed = true, .event_idx = true, .indirect = true, .size = size}) {}
};

TEST(PackedQueueTest, V21BufferIdsBeyondTheRing) {
  for (const uint16_t id : {kSize, 0x7fffu, 0xffffu}) {
    PackedRing ring;
    ring.driver.WritePacked(0, kData, 1, id, 0);
    ring.ExpectPoisoned(RingFault::kHead);
  }
}

TEST(PackedQueueTest, TheBufferIdIsTheLastDescriptors) {
  PackedRing ring;
  ring.driver.WritePacked(1, kData, 1, 5, 0);
  ring.driver.WritePacked(0, kData, 1, 0xffff, ring::kNext);
  ASSERT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].id, 5);
  EXPECT_EQ(ring.batch->chains[0].entries, 2);
}

TEST(PackedQueueTest, V22AChainWithoutEnd) {
  for (const uint32_t size : {1u, kSize}) {
    PackedRing ring(size);
    for (uint32_t i = 0; i < size; ++i) ring.driver.WritePacked(i, kData, 1, 0, ring::kNext);
    ring.ExpectPoisoned(RingFault::kLoop);
  }
}

TEST(PackedQueueTest, AChainMayUseTheWholeRing) {
  PackedRing ring;
  for (uint32_t i = kSize; i-- > 0;) {
    ring.driver.WritePacked(i, kData, 1, 0, i + 1 < kSize ? ring::kNext : 0);
  }
  ASSERT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].entries, kSize);
  ring.queue->Use(ring.batch->chains.data(), 1);
  EXPECT_EQ(ring.queue->Base(), 0u) << "both a lap further";
}

TEST(PackedQueueTest, V24ATableStandsAlone) {
  PackedRing ring;
  ring.driver.WritePacked(1, kData, 16, 0, ring::kIndirect);
  ring.driver.WritePacked(0, kData, 1, 0, ring::kNext);
  ring.ExpectPoisoned(RingFault::kIndirect);
}

TEST(PackedQueueTest, V26WhatIsOutstandingIsNotAvailableAgain) {
  PackedRing ring;
  for (uint32_t i = 0; i < kSize; ++i) ring.driver.Add({{kData, 1}});
  ASSERT_EQ(ring.Take(), kSize);
  EXPECT_FALSE(ring.queue->HasWork());
  ring.driver.WritePacked(0, kData, 1, 0, 0, false);
  EXPECT_EQ(ring.queue->Available(), 0u);
  ring.ExpectPoisoned(RingFault::kAvailIndex);
}

TEST(PackedQueueTest, V26AChainReachesIntoWhatIsOutstanding) {
  PackedRing ring;
  for (uint32_t i = 0; i < kSize - 1; ++i) ring.driver.Add({{kData, 1}});
  ASSERT_EQ(ring.Take(), kSize - 1);
  ring.driver.WritePacked(kSize - 1, kData, 1, 0, ring::kNext);
  ring.ExpectPoisoned(RingFault::kAvailIndex);
}

TEST(PackedQueueTest, V32WhatTheGuestWritesIntoUsedDescriptorsIsNotRead) {
  PackedRing ring;
  ring.driver.Add({{kData, 1}});
  ring.driver.Add({{kData, 2}});
  ASSERT_EQ(ring.Take(1), 1u);
  std::memset(ring.driver.descriptors(), 0xff, 16);
  std::memset(ring.driver.device(), 0xff, 4);
  ring.queue->Use(ring.batch->chains.data(), 1);
  EXPECT_TRUE(ring.driver.Reap());
  ASSERT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].bytes, 2u);
}

TEST(PackedQueueTest, UsedDescriptorsAreSeenAllAtOnce) {
  PackedRing ring;
  for (int i = 0; i < 3; ++i) ring.driver.Add({{kData, 1}, {kData, 1}});
  ASSERT_EQ(ring.Take(), 3u);
  ring.queue->Use(ring.batch->chains.data(), 3);
  for (uint32_t entry = 0; entry < 6; entry += 2) {
    const uint16_t flags = ring::Load16(ring.driver.descriptors() + 16 * entry + 14);
    EXPECT_EQ(flags, ring::kAvailable | ring::kUsed);
  }
  EXPECT_EQ(ring.queue->Base(), 0x80068006u);
}

TEST(PackedQueueTest, BasesThatMayNotBe) {
  const PackedRing ring;
  const auto open = [&](uint32_t base) {
    VirtqueueConfig config = ring.driver.ForDevice();
    config.base = base;
    return Virtqueue::Open(config, ring.memory.Lend(), nullptr);
  };
  for (const uint32_t next : {0u, 0x8000u, 0x800fu, 0x000fu}) {
    for (const uint32_t used : {0u, next, 0xffffu}) {  // as some front ends leave it
      const auto queue = open(used << 16 | next);
      ASSERT_THAT(queue, IsOk()) << next;
      EXPECT_EQ((*queue)->Base(), next << 16 | next);
    }
  }
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("base"));
  EXPECT_THAT(open(0x80108010), refused) << "entry 16 of 16";
  EXPECT_THAT(open(0x80008010), refused);
  EXPECT_THAT(open(0xffffffff), refused);
}

TEST(PackedQueueTest, UnknownEventFlagsAndPlacesAreNoHarm) {
  PackedRing ring;
  for (const uint32_t word : {0xffffffffu, 0x0003ffffu, 0x0002ffffu, 0x00027fffu}) {
    ring.driver.Add({{kData, 1}});
    ASSERT_EQ(ring.Take(), 1u);
    ring.queue->Use(ring.batch->chains.data(), 1);
    ring::Store32(ring.driver.driver(), word);
    ring.queue->ShouldNotify();
    EXPECT_TRUE(ring.driver.Reap());
  }
}

}  // namespace
}  // namespace vmqd

// What only a split ring can do wrong. V numbers are those of the list of threats.
#include "daemon/virtio/split_queue.h"

#include "tests/unit/virtio/ring_fixture.h"

namespace vmqd {
namespace {

using testing::IsOk;
using testing::RingFixture;
using testing::StatusIs;

constexpr uint64_t kData = RingFixture::kData;
constexpr uint32_t kSize = 16;

struct SplitRing : RingFixture {
  explicit SplitRing(uint32_t size = kSize) : RingFixture({.indirect = true, .size = size}) {}
  void Write(uint16_t index, uint16_t flags, uint16_t next, uint32_t length = 1) {
    driver.WriteSplit(driver.descriptors_at() + 16 * uint64_t{index}, kData, length, flags, next);
  }
};

TEST(SplitQueueTest, V21HeadsBeyondTheTable) {
  for (const uint16_t head : {kSize, kSize + 1, 0x7fffu, 0xffffu}) {
    SplitRing ring;
    ring.driver.Offer(head);
    ring.ExpectPoisoned(RingFault::kHead);
  }
}

TEST(SplitQueueTest, V21NextBeyondTheTable) {
  for (const uint16_t next : {kSize, 0xffffu}) {
    SplitRing ring;
    ring.Write(0, ring::kNext, next);
    ring.driver.Offer(0);
    ring.ExpectPoisoned(RingFault::kNext);
  }
}

TEST(SplitQueueTest, V21NextBeyondAnIndirectTable) {
  SplitRing ring;
  ring.driver.WriteSplit(kData, kData, 1, ring::kNext, 2);
  ring.driver.WriteSplit(kData + 16, kData, 1, 0, 0);
  ring.driver.WriteSplit(kData + 32, kData, 1, 0, 0);
  ring.Write(0, ring::kIndirect, 0, 32);
  ring.driver.Offer(0);
  ring.ExpectPoisoned(RingFault::kNext);
}

TEST(SplitQueueTest, V22Loops) {
  SplitRing self;
  self.Write(3, ring::kNext, 3);
  self.driver.Offer(3);
  self.ExpectPoisoned(RingFault::kLoop);

  SplitRing pair;
  pair.Write(3, ring::kNext, 4);
  pair.Write(4, ring::kNext, 3, 0);
  pair.driver.Offer(3);
  pair.ExpectPoisoned(RingFault::kLoop);

  SplitRing large(4096);
  large.Write(3, ring::kNext, 3, 0);
  large.driver.Offer(3);
  large.ExpectPoisoned(RingFault::kTooLong);
}

TEST(SplitQueueTest, V22LoopsInAnIndirectTable) {
  SplitRing ring;
  ring.driver.WriteSplit(kData, kData, 1, ring::kNext, 1);
  ring.driver.WriteSplit(kData + 16, kData, 1, ring::kNext, 0);
  ring.Write(0, ring::kIndirect, 0, 32);
  ring.driver.Offer(0);
  ring.ExpectPoisoned(RingFault::kLoop);
}

TEST(SplitQueueTest, AChainMayUseTheWholeTable) {
  SplitRing ring;
  for (uint16_t i = 0; i < kSize; ++i) {
    ring.Write(i, i + 1u < kSize ? ring::kNext : 0, static_cast<uint16_t>(i + 1));
  }
  ring.driver.Offer(0);
  EXPECT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].spans, kSize);
}

TEST(SplitQueueTest, AChainMayEndInATable) {
  SplitRing ring;
  ring.Write(0, ring::kNext, 1);
  ring.Write(1, ring::kIndirect, 0, 32);
  ring.driver.WriteSplit(kData, kData, 2, ring::kNext, 1);
  ring.driver.WriteSplit(kData + 16, kData, 3, 0, 0);
  ring.driver.Offer(0);
  ASSERT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].bytes, 6u);
}

TEST(SplitQueueTest, V26TheAvailableIndexRunsAway) {
  for (const uint16_t index : {kSize + 1, 0x8000u, 0xffffu}) {
    SplitRing ring;
    ring.driver.SetAvailableIndex(index);
    EXPECT_EQ(ring.queue->Available(), kSize);
    ring.ExpectPoisoned(RingFault::kAvailIndex);
    EXPECT_EQ(ring.queue->Available(), 0u);
  }
}

TEST(SplitQueueTest, V26WhatIsOutstandingCounts) {
  SplitRing ring;
  for (uint32_t i = 0; i < kSize; ++i) ring.driver.Add({{kData, 1}});
  ASSERT_EQ(ring.Take(), kSize);
  ring.driver.Offer(0);
  ring.ExpectPoisoned(RingFault::kAvailIndex);
}

TEST(SplitQueueTest, V26TheAvailableIndexGoesBack) {
  for (const uint16_t index : {0u, 2u}) {  // of three, which would be taken once more
    SplitRing ring;
    for (uint32_t i = 0; i < 3; ++i) ring.driver.Add({{kData, 1}});
    ASSERT_EQ(ring.Take(), 3u);
    ring.driver.SetAvailableIndex(index);
    ring.ExpectPoisoned(RingFault::kAvailIndex);
  }
}

TEST(SplitQueueTest, V32WhatTheGuestWritesIntoTheUsedRingIsNotRead) {
  SplitRing ring;
  ring.driver.Add({{kData, 1}});
  ASSERT_EQ(ring.Take(), 1u);
  std::memset(ring.driver.device(), 0xff, SplitQueue::DeviceBytes(kSize));
  ring.queue->Use(ring.batch->chains.data(), 1);
  EXPECT_EQ(ring::Load16(ring.driver.device() + 2), 1);
  EXPECT_EQ(ring.queue->Base(), 1u);
  EXPECT_TRUE(ring.driver.Reap());
  ring.driver.Add({{kData, 1}});
  EXPECT_EQ(ring.Take(), 1u);
}

// As after a back end that died with chains taken: nothing is lost, nothing comes twice.
TEST(SplitQueueTest, BeginsAtTheUsedIndexWhateverTheBase) {
  for (const uint32_t base : {0u, 1u, 5u, 0xfffeu}) {
    SplitRing ring;
    ring.queue.reset();
    ring.driver.SetIndexes(0xfffe);  // so that what is outstanding lies around the wrap
    VirtqueueConfig config = ring.driver.ForDevice();
    ring.queue = *Virtqueue::Open(config, ring.memory.Lend(), nullptr);
    for (uint32_t length = 1; length <= 5; ++length) ring.driver.Add({{kData, length}});
    ASSERT_EQ(ring.Take(), 5u);
    ring.queue->Use(ring.batch->chains.data(), 2);
    config.base = base;
    auto next = Virtqueue::Open(config, ring.memory.Lend(), nullptr);
    ASSERT_THAT(next, IsOk());
    ring.queue = *std::move(next);
    EXPECT_EQ(ring.queue->Base(), 0u);
    EXPECT_TRUE(ring.queue->HasWork());
    ASSERT_EQ(ring.Take(), 3u);
    for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(ring.batch->chains[i].bytes, i + 3);
    ring.queue->Use(ring.batch->chains.data(), 3);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(ring.driver.Reap());
    EXPECT_EQ(ring.driver.free(), kSize);
  }
}

TEST(SplitQueueTest, AUsedIndexThatIsNonsenseIsAFaultOrNothing) {
  for (const uint16_t used : {1u, 0x8000u, 0xffffu - kSize}) {  // beyond what is available, or far
    SplitRing ring;
    ring::Store16(ring.driver.device() + 2, used);
    ring.queue = *Virtqueue::Open(ring.driver.ForDevice(), ring.memory.Lend(), nullptr);
    ring.ExpectPoisoned(RingFault::kAvailIndex);
  }
}

TEST(SplitQueueTest, OnlyAnIndexIsABase) {
  const SplitRing ring;
  VirtqueueConfig config = ring.driver.ForDevice();
  config.base = 0xffff;
  EXPECT_THAT(Virtqueue::Open(config, ring.memory.Lend(), nullptr), IsOk());
  config.base = 0x10000;
  EXPECT_THAT(Virtqueue::Open(config, ring.memory.Lend(), nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("base 0x10000")));
}

TEST(SplitQueueTest, WithEventIndexesTheFlagsAreZero) {
  const RingFixture ring({.event_idx = true, .size = kSize});
  ring::Store16(ring.driver.device(), 0xffff);
  const auto open = Virtqueue::Open(ring.driver.ForDevice(), ring.memory.Lend(), nullptr);
  ASSERT_THAT(open, IsOk());
  (*open)->WantKicks(false);
  EXPECT_EQ(ring::Load16(ring.driver.device()), 0);
}

}  // namespace
}  // namespace vmqd

// What split and packed rings have in common: every test is run on both. V numbers are those of the
// list of threats.
#include "daemon/virtio/virtqueue.h"

#include <unistd.h>

#include <deque>
#include <random>
#include <set>

#include "tests/unit/virtio/ring_fixture.h"

namespace vmqd {
namespace {

using testing::DriverBuffer;
using testing::DriverConfig;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RingFixture;
using testing::StatusIs;
using testing::TestDriver;
using testing::TestMemory;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr uint64_t kData = RingFixture::kData;

class VirtqueueTest : public ::testing::TestWithParam<bool> {
 protected:
  static DriverConfig Config(uint32_t size = 16) {
    return {.packed = GetParam(), .indirect = true, .size = size};
  }
};
INSTANTIATE_TEST_SUITE_P(, VirtqueueTest, ::testing::Bool(),
                         [](const auto& packed) { return packed.param ? "Packed" : "Split"; });

TEST_P(VirtqueueTest, ChainsComeOutAsTheyWentIn) {
  RingFixture ring(Config());
  ring.Fill(kData, "header");
  ring.Fill(kData + 64, "frame");
  EXPECT_FALSE(ring.queue->HasWork());
  EXPECT_EQ(ring.Take(), 0u);
  const auto direct = ring.driver.Add({{kData, 6}, {kData + 64, 5}});
  const auto table = ring.driver.Add({{kData + 64, 5}, {kData, 0}, {kData, 6}}, true);
  EXPECT_TRUE(ring.queue->HasWork());
  EXPECT_EQ(ring.queue->Available(), GetParam() ? 3u : 2u);
  ASSERT_EQ(ring.Take(), 2u);
  EXPECT_FALSE(ring.queue->HasWork());
  const Chain* chains = ring.batch->chains.data();
  EXPECT_EQ(ring.Read(chains[0]), "headerframe");
  EXPECT_EQ(ring.Read(chains[1]), "frameheader");
  EXPECT_EQ(chains[0].id, direct);
  EXPECT_EQ(chains[1].id, table);
  EXPECT_EQ(chains[0].entries, GetParam() ? 2u : 1u);
  EXPECT_EQ(chains[1].spans, 2u) << "V25: an empty buffer is no span";
  EXPECT_EQ(chains[1].bytes, 11u);

  EXPECT_FALSE(ring.driver.Reap());
  ring.queue->Use(chains, 2);
  EXPECT_EQ(ring.driver.Reap()->id, direct);
  EXPECT_EQ(ring.driver.Reap()->id, table);
  EXPECT_FALSE(ring.driver.Reap());
}

TEST_P(VirtqueueTest, WhatIsWrittenIsCounted) {
  DriverConfig config = Config();
  config.use = RingUse::kWrites;
  RingFixture ring(config);
  ring.driver.Add({{kData, 100}, {kData + 4096, 50}});
  ASSERT_EQ(ring.Take(), 1u);
  Chain& chain = ring.batch->chains[0];
  EXPECT_EQ(chain.bytes, 150u);
  ring.batch->spans[chain.first].Part(0, 3).CopyFrom(reinterpret_cast<const uint8_t*>("abc"));
  chain.written = 3;
  ring.queue->Use(&chain, 1);
  EXPECT_EQ(ring.driver.Reap()->length, 3u);
  EXPECT_EQ(std::memcmp(ring.memory.At(kData), "abc", 3), 0);
}

TEST_P(VirtqueueTest, ABufferIsSplitWhereRegionsMeet) {
  RingFixture ring(Config());
  ring.driver.Add({{RingFixture::kBorder - 10, 30}});
  ASSERT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].spans, 2u);
  EXPECT_EQ(ring.batch->spans[0].size(), 10u);
  EXPECT_EQ(ring.batch->spans[1].size(), 20u);
}

TEST_P(VirtqueueTest, ATableMayCrossRegionsAndNeedsNoAlignment) {
  for (const uint64_t before : {16, 8, 3}) {
    RingFixture ring(Config());
    ring.Fill(kData, "frame");
    ring.driver.Add({{kData, 3}, {kData + 3, 2}}, true);
    const uint64_t table = RingFixture::kBorder - before;
    for (uint64_t i = 0; i < 32; ++i) {
      *ring.memory.At(table + i) = *ring.memory.At(ring.driver.table(0) + i);
    }
    if (GetParam()) {
      ring.driver.WritePacked(0, table, 32, 0, ring::kIndirect);
    } else {
      ring.driver.WriteSplit(ring.driver.descriptors_at(), table, 32, ring::kIndirect, 0);
    }
    ASSERT_EQ(ring.Take(), 1u);
    EXPECT_EQ(ring.Read(ring.batch->chains[0]), "frame");
  }
}

TEST_P(VirtqueueTest, TakeHonoursItsLimitsAndTheBatchs) {
  RingFixture ring(Config(1024));
  for (int i = 0; i < 600; ++i) ASSERT_TRUE(ring.driver.Add({{kData, 60}}));
  EXPECT_EQ(ring.Take(3), 3u);
  EXPECT_EQ(ring.queue->Take(*ring.batch, 2), 2u) << "appends";
  EXPECT_EQ(ring.batch->count, 5u);
  EXPECT_EQ(ring.queue->Take(*ring.batch, 1000), ChainBatch::kChains - 5);
  EXPECT_EQ(ring.queue->Take(*ring.batch, 1000), 0u);
  EXPECT_EQ(ring.queue->Available(), 600 - ChainBatch::kChains);
  EXPECT_EQ(ring.queue->fault(), RingFault::kNone);
}

TEST_P(VirtqueueTest, AChainThatDoesNotFitTheBatchWaits) {
  RingFixture ring(Config(32768));
  const std::vector<DriverBuffer> buffers(1000, {kData, 60});
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(ring.driver.Add(buffers));
  EXPECT_EQ(ring.Take(), 4u);
  EXPECT_EQ(ring.batch->span_count, 4000u);
  EXPECT_EQ(ring.queue->Take(*ring.batch, 100), 0u);
  EXPECT_EQ(ring.queue->fault(), RingFault::kNone);
  EXPECT_EQ(ring.Take(), 2u);
}

TEST_P(VirtqueueTest, PutBackUndoesTaking) {
  RingFixture ring(Config(8));
  // So that what is put back lies on both sides of the ring's end.
  for (int i = 0; i < 3; ++i) {
    ring.driver.Add({{kData, 1}, {kData, 1}});
    ASSERT_EQ(ring.Take(), 1u);
    ring.queue->Use(ring.batch->chains.data(), 1);
    ring.driver.Reap();
  }
  for (uint32_t i = 1; i <= 4; ++i) ring.driver.Add({{kData, i}, {kData, i}});
  ASSERT_EQ(ring.Take(), 4u);
  ring.queue->Use(ring.batch->chains.data(), 1);
  const Chain second = ring.batch->chains[1], third = ring.batch->chains[2];
  ring.queue->PutBack(third);
  EXPECT_TRUE(ring.queue->HasWork());
  ring.queue->PutBack(second);
  ASSERT_EQ(ring.Take(), 3u);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(ring.batch->chains[i].bytes, 2 * (i + 2));
  ring.queue->Use(ring.batch->chains.data(), 3);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(ring.driver.Reap());
  EXPECT_EQ(ring.driver.free(), 8u);
}

TEST_P(VirtqueueTest, AnotherQueueGoesOnAtItsBase) {
  RingFixture ring(Config(4));
  for (int i = 0; i < 7; ++i) {
    const auto id = ring.driver.Add({{kData, 5}});
    VirtqueueConfig config = ring.driver.ForDevice();
    config.base = ring.queue->Base();
    auto next = Virtqueue::Open(config, ring.memory.Lend(), nullptr);
    ASSERT_THAT(next, IsOk());
    ring.queue = *std::move(next);
    ASSERT_EQ(ring.Take(), 1u);
    ring.queue->Use(ring.batch->chains.data(), 1);
    EXPECT_EQ(ring.driver.Reap()->id, id);
  }
}

// Sizes, chains of several entries, tables, bursts: more chains than 16-bit indexes can count.
void Exchange(DriverConfig config, uint32_t chains) {
  SCOPED_TRACE(::testing::Message() << "size " << config.size << " event_idx " << config.event_idx);
  RingFixture ring(config);
  std::minstd_rand random(config.size);
  std::deque<std::pair<uint16_t, uint32_t>> outstanding;  // id, bytes
  uint32_t added = 0, reaped = 0;
  while (reaped < chains) {
    for (uint32_t burst = random() % 80 + 1; burst > 0 && added < chains; --burst) {
      const bool table = config.indirect && random() % 3 == 0;
      const uint32_t most = std::min(config.size, table ? TestDriver::kTableEntries : 4);
      std::vector<DriverBuffer> buffers(1 + random() % most);
      uint32_t bytes = 0;
      for (DriverBuffer& buffer : buffers) {
        buffer = {kData + random() % 1000, static_cast<uint32_t>(1 + random() % 2000)};
        bytes += buffer.length;
      }
      const auto id = ring.driver.Add(buffers, table);
      if (!id) break;
      outstanding.emplace_back(*id, bytes);
      ++added;
    }
    const uint32_t taken = ring.Take(1 + random() % 100);
    ASSERT_EQ(ring.queue->fault(), RingFault::kNone);
    for (uint32_t i = 0; i < taken; ++i) {
      ring.batch->chains[i].written = config.use == RingUse::kWrites ? i : 0;
    }
    for (uint32_t i = 0; i < taken;) {
      const uint32_t part = std::min<uint32_t>(taken - i, 1 + random() % 40);
      ring.queue->Use(&ring.batch->chains[i], part);
      i += part;
    }
    for (uint32_t i = 0; i < taken; ++i) {
      const auto used = ring.driver.Reap();
      ASSERT_TRUE(used);
      ASSERT_EQ(used->id, outstanding.front().first);
      ASSERT_EQ(used->length, ring.batch->chains[i].written);
      ASSERT_EQ(ring.batch->chains[i].bytes, outstanding.front().second);
      outstanding.pop_front();
      ++reaped;
    }
    ASSERT_FALSE(ring.driver.Reap());
  }
  EXPECT_EQ(ring.driver.free(), config.size);
}

TEST_P(VirtqueueTest, IndexesAndTheRingsEndWrapAround) {
  for (const uint32_t size : {1, 2, 64, 4096, 32768}) {
    DriverConfig config = Config(size);
    config.use = size == 64 ? RingUse::kWrites : RingUse::kReads;
    Exchange(config, 70000);
  }
  if (GetParam()) Exchange(Config(7), 70000);
}

TEST_P(VirtqueueTest, InterruptsComeWhenWanted) {
  RingFixture ring(Config());
  const auto serve = [&] {
    ring.driver.Add({{kData, 1}});
    EXPECT_EQ(ring.Take(), 1u);
    ring.queue->Use(ring.batch->chains.data(), 1);
    return ring.queue->ShouldNotify();
  };
  EXPECT_FALSE(ring.queue->ShouldNotify()) << "nothing was used";
  EXPECT_TRUE(serve());
  EXPECT_FALSE(ring.queue->ShouldNotify()) << "it was told";
  ring.driver.RefuseInterrupts();
  EXPECT_FALSE(serve());
  ring.driver.WantInterrupt();
  EXPECT_TRUE(serve());
}

TEST_P(VirtqueueTest, EventIndexesDelayInterrupts) {
  DriverConfig config = Config(8);
  config.event_idx = true;
  RingFixture ring(config);
  const auto serve = [&] {
    ring.driver.Add({{kData, 1}});
    EXPECT_EQ(ring.Take(), 1u);
    ring.queue->Use(ring.batch->chains.data(), 1);
    const bool notified = ring.queue->ShouldNotify();
    EXPECT_TRUE(ring.driver.Reap());
    return notified;
  };
  EXPECT_TRUE(serve()) << "the first time nobody knows what was told";
  for (int lap = 0; lap < 70000 / 5; ++lap) {
    ring.driver.WantInterrupt(4);
    for (int i = 0; i < 4; ++i) ASSERT_FALSE(serve());
    ASSERT_TRUE(serve());
    ASSERT_FALSE(serve()) << "it asked for one";
  }
}

TEST_P(VirtqueueTest, KicksComeWhenWanted) {
  for (const bool event_idx : {false, true}) {
    DriverConfig config = Config(8);
    config.event_idx = event_idx;
    RingFixture ring(config);
    const auto add_and_serve = [&] {
      EXPECT_TRUE(ring.driver.Add({{kData, 1}}));
      const bool kick = ring.driver.ShouldKick();
      EXPECT_EQ(ring.Take(), 1u);
      ring.queue->Use(ring.batch->chains.data(), 1);
      EXPECT_TRUE(ring.driver.Reap());
      return kick;
    };
    EXPECT_TRUE(add_and_serve()) << "at first they are wanted";
    for (int lap = 0; lap < 20; ++lap) {
      ring.queue->WantKicks(false);
      for (int i = 0; i < 5; ++i) EXPECT_FALSE(add_and_serve());
      ring.queue->WantKicks(true);
      EXPECT_TRUE(add_and_serve());
    }
  }
}

TEST_P(VirtqueueTest, V7PartsOfARingMustLieInMemory) {
  const RingFixture ring(Config(256));
  const auto open = [&](auto change) {
    VirtqueueConfig config = ring.driver.ForDevice();
    change(config);
    return Virtqueue::Open(config, ring.memory.Lend(), nullptr);
  };
  EXPECT_THAT(open([](auto&) {}), IsOk());
  constexpr uint64_t kLast = TestMemory::kUserBase + RingFixture::kBorder;
  EXPECT_THAT(open([](auto& c) { c.descriptors = kLast - 4096; }), IsOk());
  EXPECT_THAT(open([](auto& c) { c.descriptors = kLast - 4096 + 16; }),
              StatusIs(kInvalid, HasSubstr("descriptor table")));
  EXPECT_THAT(open([](auto& c) { c.descriptors += 8; }),
              StatusIs(kInvalid, HasSubstr("aligned to 16")));
  EXPECT_THAT(open([](auto& c) { c.driver += 1; }), StatusIs(kInvalid, HasSubstr("aligned")));
  EXPECT_THAT(open([](auto& c) { c.device += 2; }), StatusIs(kInvalid, HasSubstr("aligned to 4")));
  if (!GetParam()) {
    EXPECT_THAT(open([](auto& c) { c.driver = kLast - 518; }), IsOk());
    EXPECT_THAT(open([](auto& c) { c.driver = kLast - 516; }),
                StatusIs(kInvalid, HasSubstr("available ring")));
  }
  EXPECT_THAT(open([](auto& c) { c.device = 0x1000; }),
              StatusIs(kInvalid, HasSubstr("must lie in one")));
  EXPECT_THAT(open([](auto& c) { c.descriptors = ~uint64_t{15}; }),
              StatusIs(kInvalid, HasSubstr("")));
}

TEST_P(VirtqueueTest, V16SizesThatMayNotBe) {
  const RingFixture ring(Config(256));
  const auto open = [&](uint32_t size) {
    VirtqueueConfig config = ring.driver.ForDevice();
    config.size = size;
    return Virtqueue::Open(config, ring.memory.Lend(), nullptr);
  };
  EXPECT_THAT(open(0), StatusIs(kInvalid, HasSubstr("1 to 32768")));
  EXPECT_THAT(open(32769), StatusIs(kInvalid, HasSubstr("1 to 32768")));
  EXPECT_THAT(open(65536), StatusIs(kInvalid, HasSubstr("")));
  EXPECT_THAT(open(~0u), StatusIs(kInvalid, HasSubstr("")));
  if (GetParam()) {
    EXPECT_THAT(open(255), IsOk());
  } else {
    EXPECT_THAT(open(255), StatusIs(kInvalid, HasSubstr("power of two")));
  }
}

TEST_P(VirtqueueTest, V24TablesThatMayNotBe) {
  const auto expect = [](uint64_t table, uint32_t length, uint16_t flags, RingFault fault,
                         uint16_t entry_flags = 0, bool indirect = true) {
    SCOPED_TRACE(::testing::Message() << "length " << length << " flags " << flags);
    DriverConfig config = Config();
    config.indirect = indirect;
    RingFixture ring(config);
    // Entries in either layout: the flags are where the other has a number.
    const uint16_t id_or_flags = GetParam() ? 0 : entry_flags;
    for (uint64_t i = 0; i < 16; ++i) {
      ring.driver.WriteSplit(kData + 16 * i, kData, 1, id_or_flags, GetParam() ? entry_flags : 0);
    }
    if (GetParam()) {
      ring.driver.WritePacked(0, table, length, 0, flags);
    } else {
      ring.driver.WriteSplit(ring.driver.descriptors_at(), table, length, flags, 0);
      ring.driver.Offer(0);
    }
    if (fault == RingFault::kNone) {
      EXPECT_EQ(ring.Take(), 1u);
    } else {
      ring.ExpectPoisoned(fault);
    }
  };
  constexpr uint16_t kTable = ring::kIndirect;
  expect(kData, 16, kTable, RingFault::kNone);
  expect(kData, 16, kTable | ring::kWrite, RingFault::kNone);  // there the flag means nothing
  expect(kData, 16 * 16, kTable, RingFault::kNone);
  expect(kData, 16 * 17, kTable, RingFault::kIndirect);
  expect(kData, 0, kTable, RingFault::kIndirect);
  expect(kData, 17, kTable, RingFault::kIndirect);
  expect(kData, 15, kTable, RingFault::kIndirect);
  expect(kData, 0xfffffff0, kTable, RingFault::kIndirect);
  expect(kData, 32, kTable | ring::kNext, RingFault::kIndirect);
  expect(kData, 16, kTable, RingFault::kIndirect, ring::kIndirect);
  // A packed table may have the flag where the device reads, as DPDK's driver does.
  expect(kData, 16, kTable, GetParam() ? RingFault::kNone : RingFault::kDirection, ring::kWrite);
  expect(kData, 16, kTable, RingFault::kIndirect, 0, false);
  expect(RingFixture::kEnd - 16, 32, kTable, RingFault::kAddress);
  expect(RingFixture::kEnd, 16, kTable, RingFault::kAddress);
  expect(~uint64_t{0} - 15, 32, kTable, RingFault::kAddress);
}

TEST_P(VirtqueueTest, V25AChainWithoutAByte) {
  RingFixture ring(Config());
  ring.driver.Add({{kData, 0}, {kData, 0}});
  ring.ExpectPoisoned(RingFault::kEmpty);
}

TEST_P(VirtqueueTest, V27WastedDescriptorsCostTheirOwner) {
  RingFixture ring(Config(32768));
  std::vector<DriverBuffer> buffers(1024, {kData, 0});
  buffers.back().length = 60;
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(ring.driver.Add(buffers));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(ring.Take(), Virtqueue::kMaxVisits / 1024);
  EXPECT_EQ(ring.queue->fault(), RingFault::kNone);
}

TEST_P(VirtqueueTest, V28ARuntBufferIsCountedAsItIs) {
  DriverConfig config = Config();
  config.use = RingUse::kWrites;
  RingFixture ring(config);
  ring.driver.Add({{kData, 1}});
  ASSERT_EQ(ring.Take(), 1u);
  EXPECT_EQ(ring.batch->chains[0].bytes, 1u) << "room is for whoever writes to compare";
}

TEST_P(VirtqueueTest, V30ChainsThatAreTooLong) {
  constexpr uint32_t kMost = Virtqueue::kMaxChainBytes;
  const auto take = [](const std::vector<DriverBuffer>& buffers) {
    RingFixture ring(Config(2048));
    ring.driver.Add(buffers);
    ring.Take();
    return ring.queue->fault();
  };
  EXPECT_EQ(take({{kData, kMost}}), RingFault::kNone);
  EXPECT_EQ(take({{kData, kMost}, {kData, 1}}), RingFault::kTooLong);
  EXPECT_EQ(take({{kData, 0x80000000}, {kData, 0x80000000}, {kData, 1}}), RingFault::kTooLong);
  EXPECT_EQ(take({{kData, 1}, {kData, 0xffffffff}}), RingFault::kTooLong);
  EXPECT_EQ(take(std::vector<DriverBuffer>(1024, {kData, 1})), RingFault::kNone);
  EXPECT_EQ(take(std::vector<DriverBuffer>(1025, {kData, 1})), RingFault::kTooLong);
  EXPECT_EQ(take(std::vector<DriverBuffer>(1025, {kData, 0})), RingFault::kTooLong);
  std::vector<DriverBuffer> crossing(1024, {kData, 1});
  crossing.back() = {RingFixture::kBorder - 1, 2};
  EXPECT_NE(take(crossing), RingFault::kNone) << "1025 spans";
}

TEST_P(VirtqueueTest, V1BuffersOutsideMemory) {
  const auto take = [](uint64_t address, uint32_t length) {
    RingFixture ring(Config());
    ring.driver.Add({{kData, 1}, {address, length}});
    ring.Take();
    return ring.queue->fault();
  };
  EXPECT_EQ(take(RingFixture::kEnd - 1, 1), RingFault::kNone);
  EXPECT_EQ(take(RingFixture::kEnd - 1, 2), RingFault::kAddress);
  EXPECT_EQ(take(RingFixture::kEnd, 1), RingFault::kAddress);
  EXPECT_EQ(take(RingFixture::kFar - 1, 2), RingFault::kAddress);
  EXPECT_EQ(take(~uint64_t{0}, 2), RingFault::kAddress);
  EXPECT_EQ(take(TestMemory::kUserBase, 2), RingFault::kAddress);
}

TEST_P(VirtqueueTest, V31Directions) {
  for (const RingUse use : {RingUse::kReads, RingUse::kWrites}) {
    DriverConfig config = Config();
    config.use = use;
    RingFixture ring(config);
    ring.driver.Add({{kData, 1}});
    ASSERT_EQ(ring.Take(), 1u);
    const uint16_t wrong = use == RingUse::kReads ? ring::kWrite : 0;
    if (GetParam()) {
      ring.driver.WritePacked(1, kData, 1, 1, wrong);
    } else {
      ring.driver.WriteSplit(ring.driver.descriptors_at() + 16, kData, 1, wrong, 0);
      ring.driver.Offer(1);
    }
    ring.ExpectPoisoned(RingFault::kDirection);
  }
}

TEST_P(VirtqueueTest, WhatWasTakenBeforeAFaultIsGiven) {
  RingFixture ring(Config());
  ring.driver.Add({{kData, 5}});
  ring.driver.Add({{kData, 6}});
  ring.driver.Add({{RingFixture::kEnd, 7}});
  ring.driver.Add({{kData, 8}});
  EXPECT_EQ(ring.Take(), 2u);
  EXPECT_EQ(ring.queue->fault(), RingFault::kAddress);
  EXPECT_EQ(ring.batch->span_count, 2u);
  ring.queue->Use(ring.batch->chains.data(), 2);
  EXPECT_TRUE(ring.driver.Reap());
  EXPECT_TRUE(ring.driver.Reap());
  EXPECT_EQ(ring.Take(), 0u);
}

TEST_P(VirtqueueTest, V4MemoryCutShortIsAFaultOfItsOwn) {
  GuardGuestMemory();
  RingFixture ring(Config());
  ring.driver.Add({{kData, 5}});
  ASSERT_EQ(ftruncate(ring.memory.fd(), 0), 0);
  ring.Take();
  EXPECT_TRUE(ring.queue->MemoryBroken());
  ring.ExpectPoisoned(RingFault::kMemory);
}

TEST(RingFaultTest, EveryFaultHasWords) {
  std::set<std::string_view> texts;
  for (int i = 0; i <= static_cast<int>(RingFault::kMemory); ++i) {
    texts.insert(RingFaultText(static_cast<RingFault>(i)));
  }
  EXPECT_EQ(texts.size(), static_cast<size_t>(RingFault::kMemory) + 1);
  EXPECT_EQ(texts.count("made an unknown mistake"), 0u);
}

}  // namespace
}  // namespace vmqd

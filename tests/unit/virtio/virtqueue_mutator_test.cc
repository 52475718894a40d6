// V23: a guest that changes everything while it is looked at. One thread flips ring indexes,
// descriptors and tables as fast as it can; the other takes, copies and uses. Whatever comes out
// must lie in guest memory and add up. For the sanitizers to find what is read twice, but not for
// the thread sanitizer: the race is what is tested.
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "daemon/virtio/split_queue.h"
#include "tests/unit/virtio/ring_fixture.h"

#ifndef VMQD_THREAD_SANITIZER
namespace vmqd {
namespace {

using testing::DriverConfig;
using testing::RingFixture;
using testing::TestDriver;

constexpr uint32_t kSize = 64;
constexpr uint64_t kEnoughChains = 1000, kEnoughFaults = 100;
constexpr uint64_t kTables = RingFixture::kData, kBuffers = kTables + (1 << 20);

class Mutator {
 public:
  Mutator(RingFixture& ring, bool packed) : ring_(ring), packed_(packed) {}

  // So that there is something right to begin with.
  void Fill() {
    for (uint32_t i = 0; i < 256 + kSize; ++i) {
      uint8_t* at = i < 256 ? ring_.memory.At(kTables) + uint64_t{16} * i
                            : ring_.driver.descriptors() + uint64_t{16} * (i - 256);
      ring::Store32(at, kBuffers + 64 * i);
      ring::Store32(at + ring::kLength, 64);
      if (packed_ && i >= 256) ring::Store16(at + 14, ring::kAvailable);
    }
  }

  void Run(const std::atomic<bool>& stop) {
    while (!stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 64; ++i) Change();
    }
  }

 private:
  // Of what a descriptor says, mostly what is right, so that faults are rare enough to get far.
  uint64_t Address() {
    switch (random_() % 64) {
      case 0:
        return RingFixture::kEnd - 8;
      case 1:
        return RingFixture::kBorder - 8;
      case 2:
        return ~uint64_t{0} - 8;
      default:
        return random_() % 2 == 0 ? kBuffers + random_() % 65536
                                  : kTables + random_() % 4096 / 16 * 16;
    }
  }
  uint32_t Length() {
    const auto pick = random_() % 64;
    if (pick == 0) return 0xfffffff0;
    if (pick == 1) return 0;
    return static_cast<uint32_t>(16 * (1 + random_() % 64));
  }
  uint16_t Flags() {
    static constexpr uint16_t kChoice[] = {
        0, 0, 0, ring::kNext, ring::kNext, ring::kIndirect, ring::kIndirect, ring::kWrite};
    const uint16_t flags = kChoice[random_() % (random_() % 16 == 0 ? 8 : 7)];
    if (!packed_) return flags;
    return static_cast<uint16_t>(flags | (random_() % 2 == 0 ? ring::kAvailable : ring::kUsed));
  }
  void Change() {
    const bool table = random_() % 2 == 0;
    uint8_t* at = (table ? ring_.memory.At(kTables) : ring_.driver.descriptors()) +
                  16 * (random_() % (table ? 256 : kSize));
    const auto number = static_cast<uint16_t>(random_() % (random_() % 32 == 0 ? 65536 : kSize));
    switch (random_() % 6) {
      case 0:
        ring::Store32(at, static_cast<uint32_t>(Address()));
        break;
      case 1:
        ring::Store32(at + ring::kLength, Length());
        break;
      case 2:
        ring::Store16(at + 12, packed_ ? number : Flags());
        break;
      case 3:
        ring::Store16(at + 14, packed_ ? Flags() : number);
        break;
      case 4:
        if (!packed_) ring::Store16(ring_.driver.driver() + 4 + 2 * (random_() % kSize), number);
        break;
      default:
        if (packed_) {
          ring::Store32(ring_.driver.driver(), static_cast<uint32_t>(random_()));
        } else {
          // Not too far from where the device is.
          const uint16_t used = ring::Load16(ring_.driver.device() + 2);
          const auto ahead = random_() % (random_() % 4096 == 0 ? 65536 : kSize / 2);
          ring::Release16(ring_.driver.driver() + 2, static_cast<uint16_t>(used + ahead));
        }
    }
  }

  RingFixture& ring_;
  const bool packed_;
  std::minstd_rand random_{1};
};

// Copies all of the batch, and checks that its numbers agree.
void Check(const RingFixture& ring, uint32_t taken) {
  ASSERT_EQ(ring.batch->count, taken);
  uint32_t spans = 0;
  for (uint32_t i = 0; i < taken; ++i) {
    const Chain& chain = ring.batch->chains[i];
    ASSERT_EQ(chain.first, spans);
    ASSERT_LT(chain.id, kSize);
    ASSERT_LE(chain.bytes, Virtqueue::kMaxChainBytes);
    ASSERT_EQ(ring.Read(chain).size(), chain.bytes);
    spans += chain.spans;
  }
  ASSERT_EQ(spans, ring.batch->span_count);
}

class VirtqueueMutatorTest : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, VirtqueueMutatorTest, ::testing::Bool(),
                         [](const auto& packed) { return packed.param ? "Packed" : "Split"; });

TEST_P(VirtqueueMutatorTest, V23ChangesWhileTheRingIsRead) {
  RingFixture ring({.packed = GetParam(), .event_idx = true, .indirect = true, .size = kSize});
  const auto memory = ring.memory.Lend();
  std::atomic<bool> stop{false};
  Mutator mutator(ring, GetParam());
  mutator.Fill();
  std::thread guest([&] { mutator.Run(stop); });
  // On a busy machine the two threads take turns, and little happens in each.
  const auto began = std::chrono::steady_clock::now();
  uint64_t chains = 0, faults = 0;
  const auto enough = [&] {
    const auto passed = std::chrono::steady_clock::now() - began;
    return passed > std::chrono::seconds(30) ||
           (passed > std::chrono::seconds(2) && chains > kEnoughChains && faults > kEnoughFaults);
  };
  while (!enough() && !::testing::Test::HasFatalFailure()) {
    for (int round = 0; round < 16; ++round) {
      const uint32_t taken = ring.Take();
      Check(ring, taken);
      chains += taken;
      const uint32_t kept = taken / 4;
      if (kept > 0) ring.queue->PutBack(ring.batch->chains[taken - kept]);
      ring.queue->Use(ring.batch->chains.data(), taken - kept);
      ring.queue->ShouldNotify();
      ring.queue->WantKicks(round % 2 == 0);
      ring.queue->Available();
      if (ring.queue->fault() == RingFault::kNone) continue;
      ++faults;
      mutator.Fill();
      VirtqueueConfig config = ring.driver.ForDevice();
      config.base = GetParam() ? 0x80008000 : ring.queue->Base();
      ring.queue = *Virtqueue::Open(config, memory, nullptr);
    }
  }
  stop.store(true);
  guest.join();
  RecordProperty("chains", std::to_string(chains));
  RecordProperty("faults", std::to_string(faults));
  EXPECT_GT(chains, kEnoughChains);
  EXPECT_GT(faults, kEnoughFaults);
}

}  // namespace
}  // namespace vmqd
#endif

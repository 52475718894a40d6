// What a chain costs in a ring, without a guest: Take, look at the first bytes, Use. The driver's
// part is not in the time. One thread; ring and buffers are in the cache, so these are floors.
#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <vector>

#include "daemon/virtio/virtqueue.h"
#include "tests/support/test_driver.h"

namespace vmqd {
namespace {

using testing::DriverBuffer;
using testing::DriverConfig;
using testing::TestDriver;
using testing::TestMemory;

constexpr uint32_t kBurst = 64;
constexpr uint64_t kData = 8 << 20;

// Arguments: packed, buffers of a chain, in an indirect table.
void BM_TakeAndUse(benchmark::State& state) {
  const DriverConfig config{
      .packed = state.range(0) != 0, .event_idx = true, .indirect = true, .size = 256};
  const TestMemory memory({{0, 0xa0000}, {0x100000, 32 << 20}});
  TestDriver driver(memory, config, 0x100000);
  auto queue = Virtqueue::Open(driver.ForDevice(), memory.Lend(), nullptr);
  const auto batch = std::make_unique<ChainBatch>();
  std::vector<DriverBuffer> buffers;
  for (int64_t i = 0; i < state.range(1); ++i) {
    buffers.push_back({kData + static_cast<uint64_t>(i) * 2048, 64});
  }
  uint8_t header[12];
  for (auto _ : state) {
    for (uint32_t i = 0; i < kBurst; ++i) driver.Add(buffers, state.range(2) != 0);
    batch->count = batch->span_count = 0;
    const auto start = std::chrono::steady_clock::now();
    const uint32_t taken = (*queue)->Take(*batch, kBurst);
    for (uint32_t i = 0; i < taken; ++i) {
      batch->spans[batch->chains[i].first].Part(0, sizeof(header)).CopyTo(header);
      benchmark::DoNotOptimize(header);
    }
    (*queue)->Use(batch->chains.data(), taken);
    benchmark::DoNotOptimize((*queue)->ShouldNotify());
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(spent.count() / kBurst);  // of one chain
    if (taken != kBurst) state.SkipWithError("the burst did not arrive whole");
    while (driver.Reap()) {
    }
  }
}
BENCHMARK(BM_TakeAndUse)
    ->ArgNames({"packed", "buffers", "table"})
    ->ArgsProduct({{0, 1}, {1, 2}, {0}})
    ->Args({0, 2, 1})
    ->Args({1, 2, 1})
    ->UseManualTime()
    ->Iterations(20000);

}  // namespace
}  // namespace vmqd

// What single stages of the way of a frame cost, without the kernel: checksums, policing, cutting
// segments, looking a destination up. One thread; the data is in the cache, so these are floors.
#include <benchmark/benchmark.h>
#include <endian.h>

#include <cstring>
#include <memory>
#include <vector>

#include "daemon/datapath/police.h"
#include "daemon/datapath/topology.h"
#include "daemon/net/checksum.h"
#include "daemon/net/coalesce.h"
#include "daemon/net/segmentation.h"
#include "tests/support/frame_builder.h"

namespace vmqd {
namespace {

using testing::Build;
using testing::Bytes;
using testing::Checksum;
using testing::FrameSpec;
using testing::Pattern;

constexpr uint32_t kBurst = 64;
constexpr size_t kTcpHeaders = 14 + 20 + 20;

void PerFrame(benchmark::State& state, uint32_t frames = 1) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * frames);
}

void BM_ChecksumAdd(benchmark::State& state) {
  const Bytes data = Pattern(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(ChecksumAdd(data.data(), data.size(), 0));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(BM_ChecksumAdd)->Arg(20)->Arg(64)->Arg(512)->Arg(1514)->Arg(9000)->Arg(65535);

// One way of summing, whatever ChecksumAdd would choose; see daemon/net/checksum_add.cc.
void BM_ChecksumWay(benchmark::State& state) {
  const auto ways = ChecksumWays();
  const auto way = static_cast<size_t>(state.range(0));
  if (way >= ways.size()) return state.SkipWithError("this processor cannot");
  state.SetLabel(ways[way].name);
  const Bytes data = Pattern(static_cast<size_t>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(ways[way].add(data.data(), data.size(), 0));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(1));
}
BENCHMARK(BM_ChecksumWay)
    ->ArgNames({"way", "bytes"})
    ->ArgsProduct({{0, 1}, {64, 256, 512, 1514, 9000, 65535}});

// The field is put back each time, so that there is always a checksum to finish.
void BM_FinishPartialChecksum(benchmark::State& state) {
  FrameSpec spec;
  spec.checksum = Checksum::kPartial;
  spec.payload = Pattern(static_cast<size_t>(state.range(0)) - kTcpHeaders);
  testing::BuiltFrame frame = Build(spec);
  uint16_t partial;
  std::memcpy(&partial, &frame.bytes[frame.field], sizeof(partial));
  for (auto _ : state) {
    std::memcpy(&frame.bytes[frame.field], &partial, sizeof(partial));
    benchmark::DoNotOptimize(FinishPartialChecksum(frame.bytes.data(), frame.bytes.size()));
  }
  PerFrame(state);
}
BENCHMARK(BM_FinishPartialChecksum)->Arg(64)->Arg(512)->Arg(1514);

// Most frames: there is nothing to finish, and that has to be found out.
void BM_NoPartialChecksum(benchmark::State& state) {
  FrameSpec spec;
  spec.payload = Pattern(static_cast<size_t>(state.range(0)) - kTcpHeaders);
  Bytes frame = Build(spec).bytes;
  for (auto _ : state) benchmark::DoNotOptimize(FinishPartialChecksum(frame.data(), frame.size()));
  PerFrame(state);
}
BENCHMARK(BM_NoPartialChecksum)->Arg(64)->Arg(1514);

void BM_Police(benchmark::State& state) {
  auto area = FrameArea::Create(kBurst, 2048);
  if (!area.ok()) return state.SkipWithError(std::string(area.status().message()).c_str());
  FramePool pool(**area);
  const FrameSpec spec;
  const Bytes bytes = Build(spec).bytes;
  std::vector<Frame> frames;
  for (uint32_t i = 0; i < kBurst; ++i) {
    frames.push_back({pool.Take() + FrameArea::kHeadroom, static_cast<uint32_t>(bytes.size())});
    std::memcpy((*area)->Data(frames.back().addr), bytes.data(), bytes.size());
  }
  PortEntry port;
  port.macs = {spec.source.ToWord()};
  FrameCounters counters;
  for (auto _ : state) {
    if (Police(port, pool, counters, frames.data(), kBurst) != kBurst) {
      return state.SkipWithError("a frame was dropped");
    }
  }
  PerFrame(state, kBurst);
}
BENCHMARK(BM_Police);

void BM_Segmentation(benchmark::State& state) {
  FrameSpec spec;
  spec.ipv6 = state.range(0) != 0;
  spec.checksum = Checksum::kPartial;
  spec.payload = Pattern(40 * 1400);
  const testing::BuiltFrame built = Build(spec);
  const Bytes& frame = built.bytes;
  virtio_net_hdr header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = spec.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
  header.gso_size = htole16(1400);
  header.csum_start = htole16(static_cast<uint16_t>(built.transport));
  header.csum_offset = htole16(static_cast<uint16_t>(built.field - built.transport));
  Bytes out(2048);
  uint32_t count = 0;
  for (auto _ : state) {
    const auto plan = Segmentation::Plan(frame, header);
    if (!plan.has_value()) return state.SkipWithError("refused the segment");
    count = plan->count();
    for (uint32_t i = 0; i < count; ++i) benchmark::DoNotOptimize(plan->Write(i, out.data()));
  }
  PerFrame(state, count);
}
BENCHMARK(BM_Segmentation)->ArgName("ipv6")->Arg(0)->Arg(1);

// A burst of one TCP stream, put together. The first frame's headers are put back each time.
void BM_Coalescing(benchmark::State& state) {
  FrameSpec spec;
  spec.payload = Pattern(1448);
  spec.tcp_options = Bytes(12, 1);
  std::vector<Bytes> frames;
  std::vector<Coalescing::Arrival> burst;
  const auto step = static_cast<uint32_t>(state.range(0));  // 0: each stays alone
  for (uint32_t i = 0; i < 32; ++i) {
    frames.push_back(Build(spec).bytes);
    spec.tcp_sequence += 1448 * step;
    ++spec.ip_id;
  }
  for (Bytes& frame : frames) {
    burst.push_back({.data = frame.data(), .length = static_cast<uint32_t>(frame.size())});
  }
  const Bytes first(frames[0].begin(), frames[0].begin() + 66);
  auto coalescing = std::make_unique<Coalescing>();
  for (auto _ : state) {
    coalescing->Run(burst, {.tso4 = true});
    benchmark::DoNotOptimize(coalescing->groups().data());
    std::memcpy(frames[0].data(), first.data(), first.size());
  }
  if (coalescing->groups().size() != (step == 1 ? 1 : 32)) {
    return state.SkipWithError("the groups are others than expected");
  }
  PerFrame(state, 32);
}
BENCHMARK(BM_Coalescing)->ArgName("merged")->Arg(0)->Arg(1);

void BM_TopologyLookUp(benchmark::State& state) {
  Topology topology;
  constexpr uint64_t kFirst = 0x020000000000;
  const auto ports = static_cast<uint64_t>(state.range(0));
  for (uint64_t i = 0; i < ports; ++i) {
    topology.owners.emplace(Topology::Key(0, kFirst + i), static_cast<uint32_t>(i));
  }
  uint64_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(topology.OwnerOf(0, kFirst + next));
    next = next + 1 == ports ? 0 : next + 1;
  }
  PerFrame(state);
}
BENCHMARK(BM_TopologyLookUp)->ArgName("ports")->Arg(1)->Arg(64)->Arg(1024);

}  // namespace
}  // namespace vmqd

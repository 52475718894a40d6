// What a change and a start cost with a thousand ports and as many remembered replies. In memory
// (/dev/shm) what is measured is vmqd's own work; on the directory VMQD_BENCH_DIRECTORY, with the
// disk.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/store/state_directory.h"
#include "daemon/store/state_file.h"
#include "tests/unit/store/sample_history.h"
#include "tests/unit/store/scratch_directory.h"

namespace vmqd {
namespace {

constexpr int kPorts = 1000;

std::string Where() {
  const char* directory = std::getenv("VMQD_BENCH_DIRECTORY");
  return directory != nullptr ? directory : kInMemory;
}

StateChange PutPort(uint64_t revision) {
  const DesiredPort port{SamplePort("vm" + std::to_string(revision % kPorts), revision), revision};
  char id[40];
  std::snprintf(id, sizeof(id), "%08llx-0000-4000-8000-000000000000",
                static_cast<unsigned long long>(revision));
  return {.revision = revision, .put = port, .reply = Reply{id, std::string(64, 'f'), port}};
}

// As many replies as ports.
DesiredState Filled() {
  DesiredState state{.state_id = "0123456789abcdef"};
  for (uint64_t revision = 1; revision <= kPorts; ++revision) Apply(PutPort(revision), state);
  return state;
}

OpenedState OpenWith(const ScratchDirectory& scratch, int changes) {
  OpenedState opened = *OpenStateDirectory({.path = scratch.path()});
  for (int i = 0; i < changes; ++i) {
    if (!opened.store->Commit(PutPort(opened.store->state().revision + 1)).ok()) std::abort();
  }
  return opened;
}

// Beside the mean, what half, 99 % and all of the changes stayed below, in microseconds.
void Commit(benchmark::State& state) {
  const ScratchDirectory scratch(Where());
  scratch.Write("state.1", MakeStateFile(Filled()).bytes);
  const OpenedState opened = OpenWith(scratch, 0);
  std::vector<double> micros;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    if (!opened.store->Commit(PutPort(opened.store->state().revision + 1)).ok()) std::abort();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    micros.push_back(took.count());
  }
  std::sort(micros.begin(), micros.end());
  state.counters["p50"] = micros[micros.size() / 2];
  state.counters["p99"] = micros[micros.size() * 99 / 100];
  state.counters["max"] = micros.back();
}
BENCHMARK(Commit)->Unit(benchmark::kMicrosecond);

// With as many changes behind a snapshot of it all as the argument says.
void Open(benchmark::State& state) {
  const ScratchDirectory scratch(Where());
  scratch.Write("state.1", MakeStateFile(Filled()).bytes);
  OpenWith(scratch, static_cast<int>(state.range(0))).store.reset();
  for (auto _ : state) {
    benchmark::DoNotOptimize(OpenStateDirectory({.path = scratch.path()}));
  }
  const auto files = scratch.All();
  state.counters["bytes"] = static_cast<double>(files.rbegin()->second.size());
}
BENCHMARK(Open)->Arg(0)->Arg(800)->Arg(1600)->Arg(2400)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vmqd

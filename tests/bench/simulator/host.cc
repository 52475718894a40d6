// Max-min fair shares on two levels, as the kernel's scheduler and deficit round robin give them.
#include "tests/bench/simulator/host.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace vmqd::simulator {
namespace {

// Who wants how much -> how much each gets, in place.
void Share(std::vector<std::pair<double, size_t>>& wants, double capacity) {
  std::sort(wants.begin(), wants.end());
  size_t left = wants.size();
  for (auto& [want, who] : wants) {
    want = std::min(want, capacity / static_cast<double>(left--));
    capacity -= want;
  }
}

void ServeCpu(size_t cpu, const Placement& placement, std::span<const double> wanted,
              Second& second) {
  std::array<double, kVms> by_worker{};
  for (size_t vm = 0; vm < kVms; ++vm) {
    if (placement.CpuOf(vm) == cpu) by_worker[placement.worker_of[vm]] += wanted[vm];
  }
  std::vector<std::pair<double, size_t>> workers;
  for (size_t worker = 0; worker < kVms; ++worker) {
    if (by_worker[worker] > 0) workers.emplace_back(by_worker[worker], worker);
  }
  Share(workers, 1);
  for (const auto& [share, worker] : workers) {
    std::vector<std::pair<double, size_t>> vms;
    for (size_t vm = 0; vm < kVms; ++vm) {
      if (placement.worker_of[vm] == worker && wanted[vm] > 0) vms.emplace_back(wanted[vm], vm);
    }
    Share(vms, share);
    for (const auto& [got, vm] : vms) second.served[vm] = got / wanted[vm];
  }
}

}  // namespace

Placement RoundRobin() {
  Placement placement;
  for (size_t vm = 0; vm < kVms; ++vm) {
    placement.worker_of[vm] = NicOf(vm) * kQueuesPerNic + vm / kNodes % kQueuesPerNic;
  }
  for (size_t queue = 0; queue < kQueues; ++queue) placement.cpu_of[queue] = queue;
  return placement;
}

Second Serve(const Placement& placement, std::span<const float> demand) {
  Second second;
  second.served.fill(1);
  std::array<double, kVms> wanted;
  for (size_t vm = 0; vm < kVms; ++vm) {
    wanted[vm] = demand[vm] * placement.CostOf(vm);
    second.needed[placement.CpuOf(vm)] += wanted[vm];
  }
  for (size_t cpu = 0; cpu < kCpus; ++cpu) {
    if (second.needed[cpu] > 1) ServeCpu(cpu, placement, wanted, second);
  }
  return second;
}

}  // namespace vmqd::simulator

// Where workers run: dealing them to the CPUs of the processor set, and moving them when that
// changes.
#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "daemon/control/fabric.h"
#include "daemon/xdp/affinity.h"

namespace vmqd {

// Round-robin over the processor set, but what the operator pinned; where workers have gone, their
// CPUs are dealt again first. CPUs on the NIC's NUMA node, if it has one, come before others.
std::vector<int> Fabric::DealCpus(const UplinkConfig& config, uint32_t queues, int node) const {
  std::map<int, int> workers = WorkersOnCpus();
  std::vector<int> cpus;
  for (uint32_t i = 0; i < queues; ++i) {
    if (const std::optional<int> pin = PinOf(config, i)) ++workers[*pin];
  }
  for (uint32_t i = 0; i < queues; ++i) {
    const std::optional<int> pin = PinOf(config, i);
    cpus.push_back(pin ? *pin : DealCpu(workers, node));
  }
  return cpus;
}

// One of those with the fewest workers, and now one more.
int Fabric::DealCpu(std::map<int, int>& workers, int node) const {
  const auto burden = [&workers, node](const CpuView& place) {
    return std::pair(workers[place.cpu], node != -1 && place.node != -1 && place.node != node);
  };
  const auto least = std::min_element(
      cpus_.begin(), cpus_.end(),
      [&burden](const CpuView& one, const CpuView& other) { return burden(one) < burden(other); });
  ++workers[least->cpu];
  return least->cpu;
}

std::map<int, int> Fabric::WorkersOnCpus() const {
  std::map<int, int> workers;
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    for (const QueueRuntime& queue : uplink.runtime->queues()) ++workers[queue.worker->cpu()];
  }
  return workers;
}

void Fabric::UseProcessors(const ProcessorSet& processors) {
  options_.processors = processors;
  cpus_.clear();
  for (int cpu : processors.cpus()) {
    cpus_.push_back({.cpu = cpu, .node = NumaNodeOfCpu(cpu), .core = CoreOfCpu(cpu)});
  }
}

absl::StatusOr<uint32_t> Fabric::SetProcessors(const ProcessorSet& processors) {
  struct Moved {
    Uplink* uplink;
    uint32_t queue;
    int from;
  };
  std::vector<Moved> all;
  uint32_t moved = 0;
  const ProcessorSet before = options_.processors;
  UseProcessors(processors);
  const std::vector<int>& cpus = processors.cpus();
  const auto inside = [&cpus](int cpu) {
    return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
  };
  std::map<int, int> workers = WorkersOnCpus();
  for (auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    const int node = uplink.runtime->link().numa_node;
    for (uint32_t queue = 0; queue < uplink.runtime->queues().size(); ++queue) {
      const int from = uplink.runtime->queues()[queue].worker->cpu();
      const std::optional<int> pin = PinOf(uplink.config, queue);
      const int to = pin ? *pin : inside(from) ? from : DealCpu(workers, node);
      // One that stays is pinned anew: the set it may run on can have been another.
      if (absl::Status status = MoveQueue(uplink, queue, to); !status.ok()) {
        UseProcessors(before);
        for (const Moved& done : all) MoveQueue(*done.uplink, done.queue, done.from).IgnoreError();
        return status;
      }
      all.push_back({&uplink, queue, from});
      moved += from != to;
    }
  }
  return moved;
}

}  // namespace vmqd

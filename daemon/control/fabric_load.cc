// What the balancer is shown: who is where, and how busy everybody was in the last second.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/fabric.h"
#include "daemon/xdp/affinity.h"

namespace vmqd {
namespace {

std::string QueueName(const std::string& uplink, uint32_t queue) {
  return absl::StrCat("uplinks/", uplink, "/queues/", queue);
}

}  // namespace

// Of a worker that was pinned to a CPU, or is about to leave it.
void Fabric::CountThreadTime(QueueRuntime& queue) {
  const uint64_t time = queue.TakeThreadTime();
  queue.thread_ns += time;
  worker_time_[queue.worker->cpu()] += time;
}

std::optional<int> Fabric::PinOf(const UplinkConfig& config, uint32_t queue) const {
  const auto pin = config.queue_cpus.find(queue);
  if (pin == config.queue_cpus.end() || !HasCpu(pin->second)) return std::nullopt;
  return pin->second;
}

bool Fabric::HasCpu(int cpu) const {
  const std::vector<int>& cpus = options_.processors.cpus();
  return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
}

// Where things are; what they need is for Balance to add.
Fabric::View Fabric::LookAround(Time now) {
  View view{.scene = {.now = now, .cpus = cpus_}};
  for (CpuView& cpu : view.scene.cpus) cpu.other = OtherShare(cpu.cpu);
  std::map<const UplinkRuntime*, size_t> first_queue;
  for (auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    const size_t index = view.scene.uplinks.size();
    view.scene.uplinks.push_back(
        {.node = uplink.runtime->link().numa_node, .mode = uplink.config.balance_mode});
    first_queue[uplink.runtime.get()] = view.queues.size();
    std::vector<QueueRuntime>& queues = uplink.runtime->queues();
    for (uint32_t number = 0; number < queues.size(); ++number) {
      view.queues.push_back({&uplink, number});
      view.scene.queues.push_back({.name = QueueName(id, number),
                                   .uplink = index,
                                   .number = number,
                                   .cpu = queues[number].worker->cpu(),
                                   .pinned = PinOf(uplink.config, number).has_value()});
    }
  }
  for (auto& [id, port] : ports_) {
    if (port.runtime == nullptr) continue;
    const PortPlace& place = port.runtime->place();
    view.ports.push_back(&port);
    view.scene.ports.push_back(
        {.name = NameOf(port),
         .queue = first_queue.at(&port.runtime->uplink()) + place.placement.queue,
         .weight = port.config.weight,
         .pinned = port.config.queue.has_value() || place.pairs > 1});
  }
  return view;
}

double Fabric::OtherShare(int cpu) const {
  const auto share = other_share_.find(cpu);
  return share == other_share_.end() ? 0 : share->second;
}

// What others than workers had of each CPU.
void Fabric::SampleCpus(double seconds) {
  std::map<int, uint64_t> workers = std::exchange(worker_time_, {});
  other_share_.clear();
  const bool first = cpu_time_.empty();
  for (const auto& [cpu, busy] : BusyTimeOfCpus()) {
    const double all = static_cast<double>(cpu_time_[cpu].Take(busy));
    if (first) continue;
    const double others = all - static_cast<double>(workers[cpu]);
    other_share_[cpu] = std::clamp(others / (1e9 * seconds), 0.0, 1.0);
  }
}

void Fabric::SampleLoads(Time now) {
  const double seconds = std::chrono::duration<double>(now - loads_sampled_).count();
  loads_sampled_ = now;
  for (auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    for (QueueRuntime& queue : uplink.runtime->queues()) CountThreadTime(queue);
  }
  SampleCpus(seconds);
  View view = LookAround(now);
  Balance::Second second;
  for (Port* port : view.ports) {
    second.ports.push_back(port->runtime->ReadLoad());
    second.ports.back().frames /= seconds;
    second.ports.back().lost /= seconds;
  }
  std::set<UplinkRuntime*> uplinks;
  for (const auto& [uplink, number] : view.queues) uplinks.insert(uplink->runtime.get());
  for (UplinkRuntime* uplink : uplinks) uplink->SampleLoad(now);
  std::vector<double> frames;  // of a queue, and no less than of all its ports
  for (const auto& [uplink, number] : view.queues) {
    const Load load = uplink->runtime->queues()[number].load.Over(1);
    second.queues.push_back({.busy = load.busy, .frames = load.frames_per_second});
    frames.push_back(0);
  }
  for (size_t i = 0; i < view.ports.size(); ++i) {
    frames[view.scene.ports[i].queue] += second.ports[i].frames;
  }
  for (size_t i = 0; i < view.ports.size(); ++i) {
    const size_t home = view.scene.ports[i].queue;
    const double all = std::max(frames[home], second.queues[home].frames);
    const double share = all > 0 ? second.ports[i].frames / all : 0;
    view.ports[i]->runtime->SampleLoad(now, share * second.queues[home].busy * seconds);
  }
  balance_.Note(view.scene, std::move(second));
}

std::vector<CpuStatus> Fabric::StatusOfCpus() const {
  std::map<int, CpuStatus> cpus;
  for (int cpu : options_.processors.cpus()) cpus[cpu];
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    for (uint32_t number = 0; number < uplink.runtime->queues().size(); ++number) {
      const QueueRuntime& queue = uplink.runtime->queues()[number];
      CpuStatus& status = cpus[queue.worker->cpu()];
      status.queues.push_back({id, number});
      const Loads loads = LoadsOf(queue.load);
      for (size_t i = 0; i < loads.size(); ++i) status.loads[i] += loads[i];
    }
  }
  std::vector<CpuStatus> list;
  for (auto& [cpu, status] : cpus) {
    status.cpu = cpu;
    status.numa_node = NumaNodeOfCpu(cpu);
    status.other_percent = 100 * OtherShare(cpu);
    list.push_back(std::move(status));
  }
  return list;
}

}  // namespace vmqd

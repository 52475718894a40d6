// The last minute, replayed.
#include "daemon/vmq/arrangement.h"

#include <algorithm>
#include <cstddef>

#include "daemon/vmq/tuning.h"

namespace vmqd {
namespace {

// The core of each CPU of the set; hyper-threads find the one their first thread made.
size_t CoreFor(const CpuView& view, const Scene& scene, std::vector<Arrangement::Core>& cores) {
  const auto first = std::find_if(scene.cpus.begin(), scene.cpus.end(), [&](const CpuView& other) {
    return other.cpu == view.cpu || (view.core != -1 && other.core == view.core);
  });
  const auto found = std::find_if(cores.begin(), cores.end(), [&](const Arrangement::Core& core) {
    return core.cpu == first->cpu;
  });
  if (found != cores.end()) return static_cast<size_t>(found - cores.begin());
  cores.push_back({.cpu = first->cpu, .node = first->node});
  return cores.size() - 1;
}

}  // namespace

double Strain(const Minute& needed) {
  double strain = 0;
  double weight = 1;
  for (float share : needed.seconds) {
    const double over = std::max(0.0, share - kBusy);
    strain += weight * over * over;
    weight *= kFade;
  }
  return strain;
}

Arrangement::Arrangement(const Scene& scene)
    : scene_(scene), core_of_(scene.queues.size()), ports_of_(scene.queues.size()) {
  std::vector<std::pair<int, size_t>> by_cpu;
  for (const CpuView& view : scene.cpus) {
    by_cpu.emplace_back(view.cpu, CoreFor(view, scene, cores_));
    for (float& share : cores_[by_cpu.back().second].needed.seconds) {
      share += static_cast<float>(view.other);
    }
  }
  for (const QueueView& queue : scene.queues) queues_.push_back(queue.own);
  for (size_t port = 0; port < scene.ports.size(); ++port) {
    const size_t home = scene.ports[port].queue;
    queue_of_.push_back(home);
    ports_of_[home].push_back(port);
    queues_[home].Add(scene.ports[port].demand);
  }
  for (size_t queue = 0; queue < scene.queues.size(); ++queue) {
    const int cpu = scene.queues[queue].cpu;
    auto at = std::find_if(by_cpu.begin(), by_cpu.end(),
                           [&](const auto& entry) { return entry.first == cpu; });
    if (at == by_cpu.end()) {
      cores_.push_back({.cpu = cpu, .in_set = false});
      at = by_cpu.insert(at, {cpu, cores_.size() - 1});
    }
    core_of_[queue] = at->second;
    cores_[at->second].queues.push_back(queue);
    cores_[at->second].needed.Add(queues_[queue], Cost(queue, at->second));
  }
  for (Core& core : cores_) core.strain = Strain(core.needed);
}

bool Arrangement::IsRemote(size_t queue, size_t core) const {
  const int nic = scene_.uplinks[scene_.queues[queue].uplink].node;
  return nic != -1 && cores_[core].node != -1 && nic != cores_[core].node;
}

double Arrangement::TotalStrain() const {
  double sum = 0;
  for (const Core& core : cores_) sum += core.strain;
  return sum;
}

Minute Arrangement::With(size_t core, size_t queue) const {
  Minute needed = cores_[core].needed;
  needed.Add(queues_[queue], Cost(queue, core));
  return needed;
}

Exchange Arrangement::Try(const Minute& demand, size_t from, double cost_there, size_t to,
                          double cost_here) const {
  if (from == to) return {};
  Minute left = cores_[from].needed;
  left.Add(demand, -cost_there);
  Minute right = cores_[to].needed;
  right.Add(demand, cost_here);
  return {.relief = cores_[from].strain - Strain(left),
          .burden = Strain(right) - cores_[to].strain};
}

Exchange Arrangement::TryQueue(size_t queue, size_t to_core) const {
  const size_t from = core_of_[queue];
  return Try(queues_[queue], from, Cost(queue, from), to_core, Cost(queue, to_core));
}

Exchange Arrangement::TryPort(size_t port, size_t to_queue) const {
  const size_t home = queue_of_[port];
  const size_t from = core_of_[home];
  const size_t to = core_of_[to_queue];
  return Try(scene_.ports[port].demand, from, Cost(home, from), to, Cost(to_queue, to));
}

void Arrangement::Change(size_t core, const Minute& by, double factor) {
  cores_[core].needed.Add(by, factor);
  for (float& share : cores_[core].needed.seconds) share = std::max(0.0f, share);  // rounding
  cores_[core].strain = Strain(cores_[core].needed);
}

void Arrangement::MoveQueue(size_t queue, size_t to_core) {
  const size_t from = core_of_[queue];
  Change(from, queues_[queue], -Cost(queue, from));
  Change(to_core, queues_[queue], Cost(queue, to_core));
  std::erase(cores_[from].queues, queue);
  cores_[to_core].queues.push_back(queue);
  core_of_[queue] = to_core;
}

void Arrangement::MovePort(size_t port, size_t to_queue) {
  const size_t home = queue_of_[port];
  const Minute& demand = scene_.ports[port].demand;
  Change(core_of_[home], demand, -Cost(home, core_of_[home]));
  Change(core_of_[to_queue], demand, Cost(to_queue, core_of_[to_queue]));
  queues_[home].Add(demand, -1);
  queues_[to_queue].Add(demand);
  std::erase(ports_of_[home], port);
  ports_of_[to_queue].push_back(port);
  queue_of_[port] = to_queue;
}

}  // namespace vmqd

// The rules. Each writes its placement and counts what it moves.
#include "tests/bench/simulator/policies.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "daemon/vmq/balancer.h"
#include "daemon/vmq/demand.h"

namespace vmqd::simulator {
namespace {

std::vector<size_t> LargestFirst(std::span<const double> load) {
  std::vector<size_t> order(load.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t one, size_t other) { return load[one] > load[other]; });
  return order;
}

// Of the CPUs of a node, by the load each VM brings.
double Variance(size_t node, const Placement& placement, std::span<const double> load) {
  std::array<double, kCpusPerNode> sums{};
  for (size_t vm = 0; vm < kVms; ++vm) {
    const size_t cpu = placement.CpuOf(vm);
    if (NodeOf(cpu) == node) sums[cpu % kCpusPerNode] += load[vm];
  }
  const double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / kCpusPerNode;
  double squares = 0;
  for (double sum : sums) squares += (sum - mean) * (sum - mean);
  return squares / kCpusPerNode;
}

}  // namespace

// --- OVS ---

// A VM's rings are a receive queue of their own there: a worker of its own here.
OvsRule::OvsRule(Deal deal) : deal_(deal) {
  const Placement start = placement_;
  for (size_t vm = 0; vm < kVms; ++vm) {
    placement_.worker_of[vm] = vm;
    placement_.cpu_of[vm] = start.CpuOf(vm);
  }
}

std::string OvsRule::name() const {
  return deal_ == Deal::kCycles ? "OVS rule, cycles" : "OVS rule, group";
}

void OvsRule::Look(std::span<const float> demand, const Second& second) {
  constexpr size_t kSample = 10, kSamples = 6;
  for (size_t cpu = 0; cpu < kCpus; ++cpu)
    busy_[cpu] += std::min(1.0, second.needed[cpu]) / kSample;
  for (size_t vm = 0; vm < kVms; ++vm) taken_[vm] += demand[vm] * second.served[vm];
  if (++seconds_ % kSample != 0) return;
  for (size_t cpu = 0; cpu < kCpus; ++cpu) {
    overloaded_[cpu] = busy_[cpu] >= 0.95 ? overloaded_[cpu] + 1 : 0;
  }
  busy_.fill(0);
  taken_in_samples_.push_back(taken_);
  if (taken_in_samples_.size() > kSamples) taken_in_samples_.pop_front();
  taken_.fill(0);
  const bool due = seconds_ >= next_rebalance_;
  if (due && *std::max_element(overloaded_.begin(), overloaded_.end()) >= kSamples) Rebalance();
}

void OvsRule::DealNode(size_t node, std::span<const double> load, Placement& placement) const {
  std::array<double, kCpusPerNode> sums{};
  size_t dealt = 0;
  for (size_t vm : LargestFirst(load)) {
    if (NicOf(vm) != node) continue;
    const size_t turn = dealt % kCpusPerNode;
    const bool back = dealt / kCpusPerNode % 2 == 1;
    ++dealt;
    const size_t least = std::min_element(sums.begin(), sums.end()) - sums.begin();
    const size_t cpu = deal_ == Deal::kGroup ? least : back ? kCpusPerNode - 1 - turn : turn;
    sums[cpu] += load[vm];
    placement.cpu_of[vm] = node * kCpusPerNode + cpu;
  }
}

void OvsRule::Rebalance() {
  std::array<double, kVms> load{};
  for (const auto& sample : taken_in_samples_) {
    for (size_t vm = 0; vm < kVms; ++vm) load[vm] += sample[vm];
  }
  Placement dealt = placement_;
  bool better = false;
  for (size_t node = 0; node < kNodes; ++node) {
    DealNode(node, load, dealt);
    better |= Variance(node, dealt, load) <= 0.75 * Variance(node, placement_, load);
  }
  next_rebalance_ = seconds_ + 60;
  if (!better) return;
  for (size_t vm = 0; vm < kVms; ++vm) moves_ += dealt.CpuOf(vm) != placement_.CpuOf(vm);
  placement_ = dealt;
  overloaded_.fill(0);
}

// --- vmqd ---

Dynamic::Dynamic() {
  for (size_t cpu = 0; cpu < kCpus; ++cpu) {
    scene_.cpus.push_back({.cpu = static_cast<int>(cpu), .node = static_cast<int>(NodeOf(cpu))});
  }
  for (size_t node = 0; node < kNodes; ++node) {
    scene_.uplinks.push_back({.node = static_cast<int>(node)});
    for (size_t queue = 0; queue < kQueuesPerNic; ++queue) {
      scene_.queues.push_back({.name = absl::StrCat("uplinks/eth", node, "/queues/", queue),
                               .uplink = node,
                               .number = static_cast<uint32_t>(queue)});
    }
  }
  for (size_t vm = 0; vm < kVms; ++vm) {
    scene_.ports.push_back({.name = absl::StrCat("ports/vm", vm)});
    frame_cost_[vm] = 0.6e-6 * static_cast<double>(1 + vm * 7 % 5) / 2;
  }
}

// Two VMs of three lose what cannot be served, as UDP does; the third holds it back, as TCP does.
void Dynamic::Note(std::span<const float> demand, const Second& second) {
  for (size_t queue = 0; queue < kQueues; ++queue) {
    const size_t cpu = placement_.cpu_of[queue];
    QueueSecond whole{.cpu_full = second.needed[cpu] >= kFullCpu,
                      .remote = NodeOf(cpu) != queue / kQueuesPerNic};
    std::vector<size_t> vms;
    std::vector<PortSecond> ports;
    for (size_t vm = 0; vm < kVms; ++vm) {
      if (placement_.worker_of[vm] != queue) continue;
      const double frames = demand[vm] / frame_cost_[vm];
      const double moved = frames * second.served[vm];
      whole.busy += demand[vm] * placement_.CostOf(vm) * second.served[vm];
      whole.frames += moved;
      const bool short_of_cpu = second.served[vm] < 0.999;
      const bool loses = vm % 3 != 0;
      vms.push_back(vm);
      ports.push_back({moved, short_of_cpu && loses ? frames - moved : 0, short_of_cpu});
    }
    std::vector<double> split(ports.size());
    scene_.queues[queue].own.Push(SplitDemand(whole, ports, split));
    for (size_t i = 0; i < vms.size(); ++i) scene_.ports[vms[i]].demand.Push(split[i]);
  }
}

void Dynamic::Look(std::span<const float> demand, const Second& second) {
  Note(demand, second);
  scene_.now += std::chrono::seconds(1);
  for (size_t queue = 0; queue < kQueues; ++queue) {
    scene_.queues[queue].cpu = static_cast<int>(placement_.cpu_of[queue]);
  }
  for (size_t vm = 0; vm < kVms; ++vm) scene_.ports[vm].queue = placement_.worker_of[vm];
  for (const Move& move : MakePlan(scene_).moves) {
    ++moves_;
    const bool is_queue = move.kind == Move::Kind::kQueueToCpu;
    if (is_queue) {
      placement_.cpu_of[move.subject] = static_cast<size_t>(move.to.cpu);
    } else {
      placement_.worker_of[move.subject] = move.to_queue;
    }
    scene_.history.push_back(
        {is_queue ? scene_.queues[move.subject].name : scene_.ports[move.subject].name, move.aim,
         scene_.now, move.from, move.to});
  }
  std::erase_if(scene_.history, [&](const PastMove& past) {
    return scene_.now - past.time > std::chrono::hours(1);
  });
}

// --- the bound ---

void Optimum::Foresee(std::span<const float> demand) {
  placement_.all_near = true;
  std::array<double, kCpus> sums{};
  std::array<double, kVms> load;
  std::copy(demand.begin(), demand.end(), load.begin());
  for (size_t vm : LargestFirst(load)) {
    const size_t cpu = std::min_element(sums.begin(), sums.end()) - sums.begin();
    sums[cpu] += load[vm];
    placement_.worker_of[vm] = vm;
    placement_.cpu_of[vm] = cpu;
  }
}

}  // namespace vmqd::simulator

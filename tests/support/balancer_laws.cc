// The laws look at the plan and the scene only, and add loads up themselves.
#include "tests/support/balancer_laws.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd::testing {
namespace {

class Bytes {
 public:
  explicit Bytes(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint8_t Next() {
    if (bytes_.empty()) return 0;
    const uint8_t byte = bytes_[0];
    bytes_ = bytes_.subspan(1);
    return byte;
  }
  size_t Below(size_t end) { return Next() % end; }
  bool OneIn(size_t n) { return Below(n) == n - 1; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::span<const uint8_t> bytes_;
};

Minute MakeMinute(Bytes& bytes) {
  const size_t shape = bytes.Below(6);
  const float level = static_cast<float>(bytes.Next()) / 100;
  const size_t length = 1 + bytes.Below(40);
  Minute minute;
  for (size_t i = 0; i < Minute::kSeconds; ++i) {
    const bool on = shape == 0   ? false
                    : shape == 1 ? true
                    : shape == 2 ? i < length           // began lately
                    : shape == 3 ? i >= length          // ended lately
                    : shape == 4 ? i / length % 2 == 0  // by turns
                                 : i / length % 2 == 1;
    minute.seconds[i] = on ? level : 0;
  }
  return minute;
}

void AddQueues(Bytes& bytes, Scene& scene, size_t uplink) {
  const size_t queues = 1 + bytes.Below(6);
  for (size_t number = 0; number < queues; ++number) {
    QueueView queue{.name = absl::StrCat("uplinks/eth", uplink, "/queues/", number),
                    .uplink = uplink,
                    .number = static_cast<uint32_t>(number)};
    queue.cpu = bytes.OneIn(16) ? 1000 : scene.cpus[bytes.Below(scene.cpus.size())].cpu;
    queue.pinned = bytes.OneIn(8);
    if (bytes.OneIn(3)) queue.own = MakeMinute(bytes);
    scene.queues.push_back(queue);
  }
}

// --- the laws ---

using Loads = std::map<int, double>;

// What each core needed, by the number of its first CPU; CPUs outside the set by their own.
Loads LoadsOf(const Scene& scene) {
  std::map<int, int> first_of;  // CPU -> first CPU of its core
  std::map<int, int> node_of;
  Loads loads;
  for (const CpuView& view : scene.cpus) {
    const auto first =
        std::find_if(scene.cpus.begin(), scene.cpus.end(), [&](const CpuView& other) {
          return other.cpu == view.cpu || (view.core != -1 && other.core == view.core);
        });
    first_of[view.cpu] = first->cpu;
    node_of[view.cpu] = first->node;
    loads[first->cpu] += view.other;
  }
  const auto add = [&](size_t queue, const Minute& needed) {
    const int cpu = scene.queues[queue].cpu;
    const int nic = scene.uplinks[scene.queues[queue].uplink].node;
    const int node = node_of.contains(cpu) ? node_of[cpu] : -1;
    const bool far = nic != -1 && node != -1 && nic != node;
    const double recent = (needed.seconds[0] + needed.seconds[1]) / 2.0;
    loads[first_of.contains(cpu) ? first_of[cpu] : cpu] += recent * (far ? kRemoteCost : 1);
  };
  for (size_t i = 0; i < scene.queues.size(); ++i) add(i, scene.queues[i].own);
  for (const PortView& port : scene.ports) add(port.queue, port.demand);
  return loads;
}

bool MayMove(const Scene& scene, size_t uplink) {
  const BalanceMode mode = scene.uplinks[uplink].mode;
  return mode == BalanceMode::kDynamic || (mode == BalanceMode::kManual && scene.asked);
}

std::string BrokenByMove(const Scene& scene, const Move& move) {
  if (move.why.empty()) return "it gives no reason";
  if (move.kind == Move::Kind::kQueueToCpu) {
    const QueueView& queue = scene.queues.at(move.subject);
    if (queue.pinned || !MayMove(scene, queue.uplink)) return "it must stay";
    const auto to = std::find_if(scene.cpus.begin(), scene.cpus.end(),
                                 [&](const CpuView& cpu) { return cpu.cpu == move.to.cpu; });
    if (to == scene.cpus.end()) return "its CPU is not in the processor set";
    const bool sibling = std::any_of(scene.cpus.begin(), to, [&](const CpuView& cpu) {
      return to->core != -1 && cpu.core == to->core;
    });
    if (sibling) return "its CPU is not the first of its core";
    return move.to.cpu == queue.cpu ? "it is there already" : "";
  }
  const PortView& port = scene.ports.at(move.subject);
  const QueueView& to = scene.queues.at(move.to_queue);
  const QueueView& home = scene.queues[port.queue];
  if (port.pinned || port.weight == 0 || !MayMove(scene, home.uplink)) return "it must stay";
  if (to.uplink != home.uplink) return "the queue is another uplink's";
  return move.to_queue == port.queue ? "it is there already" : "";
}

std::string BrokenByForecast(const Scene& scene, const Plan& plan) {
  const Loads before = LoadsOf(scene);
  const Loads after = LoadsOf(Apply(scene, plan));
  for (const CpuForecast& cpu : plan.forecast) {
    if (std::abs(cpu.before - before.at(cpu.cpu)) > 1e-3) return "a load before is wrong";
    const auto found = after.find(cpu.cpu);
    if (std::abs(cpu.after - (found == after.end() ? 0 : found->second)) > 1e-3) {
      return "a load after is wrong";
    }
  }
  const bool enters = std::any_of(plan.moves.begin(), plan.moves.end(),
                                  [](const Move& move) { return move.aim == MoveAim::kEnterSet; });
  if (!enters && plan.strain_after > plan.strain_before * 1.0001 + 1e-6) return "it is worse";
  const double really = MakePlan(Apply(scene, plan)).strain_before;
  if (std::abs(plan.strain_after - really) > 1e-3 * (1 + really)) return "its strain is wrong";
  return "";
}

// Carried out again and again, with nothing to wait for, it comes to rest.
std::string BrokenByRepeating(Scene scene) {
  scene.asked = true;
  for (int round = 0; round < 200; ++round) {
    const Plan plan = MakePlan(scene);
    if (plan.moves.empty()) return "";
    scene = Apply(scene, plan);
  }
  return "it never comes to rest";
}

}  // namespace

Scene MakeScene(std::span<const uint8_t> data) {
  Bytes bytes(data);
  Scene scene;
  scene.now += std::chrono::hours(10);
  scene.asked = bytes.OneIn(4);
  const size_t cpus = 1 + bytes.Below(10);
  const bool hyper_threads = bytes.OneIn(3);
  for (size_t i = 0; i < cpus; ++i) {
    scene.cpus.push_back({.cpu = static_cast<int>(2 * i + 1),
                          .node = static_cast<int>(bytes.Below(3)) - 1,
                          .core = hyper_threads ? static_cast<int>(i / 2) : -1,
                          .other = bytes.OneIn(4) ? bytes.Next() / 300.0 : 0});
  }
  const size_t uplinks = 1 + bytes.Below(3);
  for (size_t i = 0; i < uplinks; ++i) {
    constexpr BalanceMode kModes[] = {BalanceMode::kDynamic, BalanceMode::kDynamic,
                                      BalanceMode::kManual, BalanceMode::kStatic};
    scene.uplinks.push_back({static_cast<int>(bytes.Below(3)) - 1, kModes[bytes.Below(4)]});
    AddQueues(bytes, scene, i);
  }
  while (!bytes.empty() && scene.ports.size() < 32) {
    constexpr uint32_t kWeights[] = {100, 100, 50, 0};
    scene.ports.push_back({.name = absl::StrCat("ports/vm", scene.ports.size()),
                           .queue = bytes.Below(scene.queues.size()),
                           .weight = kWeights[bytes.Below(4)],
                           .pinned = bytes.OneIn(8),
                           .demand = MakeMinute(bytes)});
    if (bytes.OneIn(5)) {
      const bool port = bytes.OneIn(2);
      scene.history.push_back({.name = port ? scene.ports.back().name : scene.queues[0].name,
                               .time = scene.now - std::chrono::seconds(4 * bytes.Next())});
    }
  }
  return scene;
}

Scene Apply(const Scene& scene, const Plan& plan) {
  Scene next = scene;
  for (const Move& move : plan.moves) {
    const bool is_queue = move.kind == Move::Kind::kQueueToCpu;
    if (is_queue) {
      next.queues[move.subject].cpu = move.to.cpu;
    } else {
      next.ports[move.subject].queue = move.to_queue;
    }
    next.history.push_back(
        {is_queue ? next.queues[move.subject].name : next.ports[move.subject].name, move.aim,
         next.now, move.from, move.to});
  }
  return next;
}

std::string BrokenLaw(const Scene& scene) {
  const Plan plan = MakePlan(scene);
  if (plan.moves.size() > (scene.asked ? kMovesPerAskedPlan : kMovesPerPlan)) return "many moves";
  std::set<std::pair<Move::Kind, size_t>> moved;
  for (const Move& move : plan.moves) {
    if (!moved.emplace(move.kind, move.subject).second) return "it moves something twice";
    if (std::string broken = BrokenByMove(scene, move); !broken.empty()) {
      return absl::StrCat(broken, ": ", move.why);
    }
  }
  if (std::string broken = BrokenByForecast(scene, plan); !broken.empty()) return broken;
  const bool complete = plan.moves.size() < kMovesPerPlan;
  Scene after = Apply(scene, plan);
  after.asked = false;
  if (complete && !plan.moves.empty() && !MakePlan(after).moves.empty()) {
    return "it moves again at once";
  }
  return BrokenByRepeating(scene);
}

}  // namespace vmqd::testing

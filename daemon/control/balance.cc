#include "daemon/control/balance.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/vmq/tuning.h"

namespace vmqd {
namespace {

constexpr std::chrono::seconds kHistory{3600};
// What others take of a CPU changes faster than it can be followed.
constexpr size_t kOthersOver = 10;  // seconds

const CpuView* FindCpu(const Scene& scene, int cpu) {
  const auto found = std::find_if(scene.cpus.begin(), scene.cpus.end(),
                                  [cpu](const CpuView& view) { return view.cpu == cpu; });
  return found == scene.cpus.end() ? nullptr : &*found;
}

bool IsRemote(const Scene& scene, const QueueView& queue) {
  const CpuView* cpu = FindCpu(scene, queue.cpu);
  const int nic = scene.uplinks[queue.uplink].node;
  return cpu != nullptr && nic != -1 && cpu->node != -1 && cpu->node != nic;
}

// Shares of CPUs that were taken, by workers and by others.
std::map<int, double> TakenOfCpus(const Scene& scene, const Balance::Second& second) {
  std::map<int, double> taken;
  for (const CpuView& cpu : scene.cpus) taken[cpu.cpu] = cpu.other;
  for (size_t i = 0; i < scene.queues.size(); ++i) {
    taken[scene.queues[i].cpu] += second.queues[i].busy;
  }
  return taken;
}

int Points(double share) { return static_cast<int>(std::lround(100 * share)); }

std::string GainOf(const PastMove& move, const std::string& what, double gained) {
  const double before = std::max(move.from.before, move.to.before);
  const double expected = before - std::max(move.from.after, move.to.after);
  const std::string busier =
      move.from.cpu == move.to.cpu
          ? absl::StrCat("CPU ", move.to.cpu)
          : absl::StrCat("the busier of CPU ", move.from.cpu, " and CPU ", move.to.cpu);
  return absl::StrCat(move.name, " ", what, ": ", busier, " needed ", Points(before), " %, and ",
                      Points(before - gained), " % ", kSettle.count(), " s later; gained ",
                      Points(gained), " points, expected ", Points(expected));
}

}  // namespace

const std::string& NameOf(const Scene& scene, const Move& move) {
  return move.kind == Move::Kind::kQueueToCpu ? scene.queues[move.subject].name
                                              : scene.ports[move.subject].name;
}

void Balance::Note(const Scene& scene, Second second) {
  const std::map<int, double> taken = TakenOfCpus(scene, second);
  std::map<std::string, Minute> before = std::exchange(minutes_, {});
  ++watched_;
  const auto push = [&](const std::string& name, double demand) {
    minutes_[name] = before[name];  // what is not there any more is forgotten
    minutes_[name].Push(demand);
  };
  for (size_t queue = 0; queue < scene.queues.size(); ++queue) {
    const QueueView& view = scene.queues[queue];
    if (!before.contains(view.name)) watched_ = 1;
    second.queues[queue].cpu_full = taken.at(view.cpu) >= kFullCpu;
    second.queues[queue].remote = IsRemote(scene, view);
    std::vector<size_t> at_home;
    std::vector<PortSecond> ports;
    for (size_t port = 0; port < scene.ports.size(); ++port) {
      if (scene.ports[port].queue != queue) continue;
      at_home.push_back(port);
      ports.push_back(second.ports[port]);
    }
    std::vector<double> demand(ports.size());
    push(view.name, SplitDemand(second.queues[queue], ports, demand));
    for (size_t i = 0; i < at_home.size(); ++i) push(scene.ports[at_home[i]].name, demand[i]);
  }
  for (const CpuView& cpu : scene.cpus) others_[cpu.cpu].Push(cpu.other);
}

Scene Balance::Complete(Scene scene) const {
  const auto minute = [this](const std::string& name) {
    const auto found = minutes_.find(name);
    return found == minutes_.end() ? Minute() : found->second;
  };
  const auto failed = [this, &scene](const std::string& name) {
    const auto found = failed_.find(name);
    return found != failed_.end() && scene.now - found->second < kFailedRest;
  };
  for (QueueView& queue : scene.queues) {
    queue.own = minute(queue.name);
    queue.pinned = queue.pinned || failed(queue.name);
  }
  for (PortView& port : scene.ports) {
    port.demand = minute(port.name);
    port.pinned = port.pinned || failed(port.name);
  }
  const size_t seen = std::clamp<size_t>(watched_, 1, kOthersOver);
  for (CpuView& cpu : scene.cpus) {
    const auto found = others_.find(cpu.cpu);
    cpu.other = found == others_.end() ? 0 : found->second.Mean(seen);
  }
  scene.watched = std::min(watched_, Minute::kSeconds);
  scene.history = history_;
  return scene;
}

void Balance::Moved(const Scene& scene, const Move& move) {
  const bool queue = move.kind == Move::Kind::kQueueToCpu;
  ++(queue ? queue_moves_ : port_moves_);
  std::erase_if(history_, [&](const PastMove& past) { return scene.now - past.time >= kHistory; });
  history_.push_back({NameOf(scene, move), move.aim, scene.now, move.from, move.to});
  untold_.push_back(
      {history_.back(), queue ? absl::StrCat("moved to CPU ", move.to.cpu)
                              : absl::StrCat("moved to ", scene.queues[move.to_queue].name)});
}

void Balance::Failed(const Scene& scene, const Move& move) {
  std::erase_if(failed_, [&](const auto& one) { return scene.now - one.second >= kFailedRest; });
  failed_[NameOf(scene, move)] = scene.now;
}

std::vector<Balance::Told> Balance::Gains(const Scene& complete) {
  std::vector<Told> told;
  std::erase_if(untold_, [&](const Untold& past) {
    if (complete.now - past.move.time < kSettle) return false;
    told.push_back({past.move.name, GainOf(past.move, past.what, GainedBy(past.move, complete))});
    return true;
  });
  return told;
}

// Their figures change every second, and a CPU that is busy by turns would be told of each time.
std::vector<Balance::Told> Balance::NewRemarks(const Plan& plan, Time now) {
  std::erase_if(remarked_, [now](const auto& entry) {
    return now - entry.second > std::chrono::seconds(Minute::kSeconds);
  });
  std::vector<Told> told;
  for (const Remark& remark : plan.remarks) {
    const bool fresh = remarked_.insert_or_assign(remark.about, now).second;
    if (!fresh) continue;
    told.push_back({remark.about.starts_with("ports/") ? remark.about : "", remark.text});
  }
  return told;
}

}  // namespace vmqd

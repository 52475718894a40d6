// What may be moved, and how a move is told.
#include "daemon/vmq/draft.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "daemon/vmq/tuning.h"

namespace vmqd {
namespace {

using Time = std::chrono::steady_clock::time_point;

double Recent(const Arrangement::Core& core) { return core.needed.Mean(kRecent); }

std::string ForecastOf(const CpuForecast& cpu) {
  return absl::StrCat("CPU ", cpu.cpu, " ", Percent(cpu.before), " -> ", Percent(cpu.after));
}

}  // namespace

std::string Percent(double share) { return absl::StrCat(std::lround(share * 100), " %"); }

Draft::Draft(const Scene& scene) : scene_(scene), before_(scene), arrangement_(before_) {
  for (const QueueView& queue : scene.queues) {
    may_move_queue_.push_back(!queue.pinned && MayMoveOn(queue.uplink));
  }
  for (const PortView& port : scene.ports) {
    may_move_port_.push_back(!port.pinned && port.weight > 0 &&
                             MayMoveOn(scene.queues[port.queue].uplink));
  }
  settled_.assign(arrangement_.cores().size(), true);
  if (scene.asked) return;
  Rest();
  Settle();
}

bool Draft::MayMoveOn(size_t uplink) const {
  const BalanceMode mode = scene_.uplinks[uplink].mode;
  return mode == BalanceMode::kDynamic || (mode == BalanceMode::kManual && scene_.asked);
}

void Draft::Rest() {
  struct Moved {
    int times = 0;
    Time last;
  };
  std::unordered_map<std::string_view, Moved> moved;
  for (const PastMove& past : scene_.history) {
    if (scene_.now - past.time >= kRemember) continue;
    Moved& entry = moved[past.name];
    ++entry.times;
    entry.last = std::max(entry.last, past.time);
  }
  const auto rests = [&](const std::string& name) {
    const auto at = moved.find(name);
    if (at == moved.end()) return false;
    const int doubled = std::min(at->second.times - 1, 10);
    return scene_.now - at->second.last < std::min(kLongestRest, kRest * (1 << doubled));
  };
  for (size_t i = 0; i < scene_.queues.size(); ++i) {
    if (rests(scene_.queues[i].name)) may_move_queue_[i] = false;
  }
  for (size_t i = 0; i < scene_.ports.size(); ++i) {
    if (rests(scene_.ports[i].name)) may_move_port_[i] = false;
  }
}

void Draft::Settle() {
  for (const PastMove& past : scene_.history) {
    if (scene_.now - past.time >= kSettle) continue;
    for (size_t i = 0; i < settled_.size(); ++i) {
      const int cpu = arrangement_.cores()[i].cpu;
      if (cpu == past.from.cpu || cpu == past.to.cpu) settled_[i] = false;
    }
  }
}

bool Draft::HasRoom(size_t moves) const {
  return plan_.moves.size() + moves <= (scene_.asked ? kMovesPerAskedPlan : kMovesPerPlan);
}

bool Draft::QuietFor(std::chrono::seconds time, std::optional<MoveAim> aim) const {
  const auto counts = [&](const auto& move) { return !aim || move.aim == *aim; };
  if (std::any_of(plan_.moves.begin(), plan_.moves.end(), counts)) return false;
  return scene_.asked ||
         std::none_of(scene_.history.begin(), scene_.history.end(), [&](const PastMove& past) {
           return counts(past) && scene_.now - past.time < time;
         });
}

double Draft::Unrest() const {
  if (scene_.asked) return 1;
  const auto moves =
      std::count_if(scene_.history.begin(), scene_.history.end(),
                    [&](const PastMove& past) { return scene_.now - past.time < kRemember; });
  return 1 +
         kUnrest * static_cast<double>(moves) / static_cast<double>(arrangement_.cores().size());
}

void Draft::Add(Move move, size_t from_core, size_t to_core, const std::string& seen,
                const std::string& done) {
  const Arrangement::Core& from = arrangement_.cores()[from_core];
  const Arrangement::Core& to = arrangement_.cores()[to_core];
  move.from = {from.cpu, Recent(from)};
  move.to = {to.cpu, Recent(to)};
  if (move.kind == Move::Kind::kQueueToCpu) {
    arrangement_.MoveQueue(move.subject, to_core);
    may_move_queue_[move.subject] = false;
  } else {
    arrangement_.MovePort(move.subject, move.to_queue);
    may_move_port_[move.subject] = false;
  }
  move.from.after = Recent(from);
  move.to.after = Recent(to);
  move.why = absl::StrCat(seen, "; ", done, "; expected: ", ForecastOf(move.from));
  if (from_core != to_core) absl::StrAppend(&move.why, ", ", ForecastOf(move.to));
  plan_.moves.push_back(std::move(move));
}

void Draft::MoveQueue(size_t queue, size_t to_core, MoveAim aim, const std::string& seen) {
  Add({.kind = Move::Kind::kQueueToCpu, .aim = aim, .subject = queue}, arrangement_.CoreOf(queue),
      to_core, seen,
      absl::StrCat(scene_.queues[queue].name, " moves to CPU ", arrangement_.cores()[to_core].cpu));
}

void Draft::MovePort(size_t port, size_t to_queue, MoveAim aim, const std::string& seen) {
  Add({.kind = Move::Kind::kPortToQueue, .aim = aim, .subject = port, .to_queue = to_queue},
      arrangement_.CoreOf(arrangement_.QueueOf(port)), arrangement_.CoreOf(to_queue), seen,
      absl::StrCat(scene_.ports[port].name, " moves to ", scene_.queues[to_queue].name));
}

Plan Draft::Finish() && {
  plan_.strain_before = before_.TotalStrain();
  plan_.strain_after = arrangement_.TotalStrain();
  for (size_t i = 0; i < before_.cores().size(); ++i) {
    if (before_.cores()[i].queues.empty() && arrangement_.cores()[i].queues.empty()) continue;
    plan_.forecast.push_back(
        {before_.cores()[i].cpu, Recent(before_.cores()[i]), Recent(arrangement_.cores()[i])});
  }
  return std::move(plan_);
}

}  // namespace vmqd

// Moves of queues when all is quiet: home to the node of the NIC, and onto fewer CPUs.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/vmq/draft.h"
#include "daemon/vmq/tuning.h"

namespace vmqd {
namespace {

bool HasWork(const Arrangement& now, size_t queue) { return now.NeededBy(queue).Peak() >= kUsed; }

// By a worker: what others take of a CPU is no reason to come there, nor can it be moved away.
bool IsUsed(const Arrangement& now, size_t core) {
  const std::vector<size_t>& queues = now.cores()[core].queues;
  return std::any_of(queues.begin(), queues.end(),
                     [&](size_t queue) { return HasWork(now, queue); });
}

// Of the CPUs of the queue's own node that would not have needed more than `most` in any second
// with it: the busiest, so that others stay empty.
std::optional<size_t> TightestFit(const Arrangement& now, size_t queue, double most,
                                  bool used_only) {
  std::optional<size_t> best;
  double best_peak = -1;
  for (size_t core = 0; core < now.cores().size(); ++core) {
    if (core == now.CoreOf(queue) || !now.cores()[core].in_set) continue;
    if (now.IsRemote(queue, core) || (used_only && !IsUsed(now, core))) continue;
    const double peak = now.With(core, queue).Peak();
    if (peak > most || peak <= best_peak) continue;
    best = core;
    best_peak = peak;
  }
  return best;
}

// Where each queue of a CPU that has something to do can go; nothing unless all can.
std::optional<std::vector<std::pair<size_t, size_t>>> WaysOut(const Draft& draft, size_t core) {
  Arrangement tried = draft.arrangement();
  std::vector<std::pair<size_t, size_t>> ways;
  for (size_t queue : draft.arrangement().cores()[core].queues) {
    if (!HasWork(tried, queue)) continue;
    const std::optional<size_t> to = TightestFit(tried, queue, kQuiet, true);
    if (!to || !draft.MayMoveQueue(queue)) return std::nullopt;
    tried.MoveQueue(queue, *to);
    ways.emplace_back(queue, *to);
  }
  if (ways.empty() || !draft.HasRoom(ways.size())) return std::nullopt;
  return ways;
}

// Empties the least busy CPU that can be emptied; whether there was one.
bool EmptyOne(Draft& draft) {
  const std::vector<Arrangement::Core>& cores = draft.arrangement().cores();
  std::vector<std::pair<double, size_t>> by_peak;
  for (size_t core = 0; core < cores.size(); ++core) {
    if (IsUsed(draft.arrangement(), core)) by_peak.emplace_back(cores[core].needed.Peak(), core);
  }
  std::sort(by_peak.begin(), by_peak.end());
  for (const auto& [peak, core] : by_peak) {
    const auto ways = WaysOut(draft, core);
    if (!ways) continue;
    for (const auto& [queue, to] : *ways) {
      draft.MoveQueue(
          queue, to, MoveAim::kCoalesce,
          absl::StrCat("no CPU was over ", Percent(kBusy), " in the last ", Minute::kSeconds,
                       " s, CPU ", cores[core].cpu, " never over ", Percent(peak)));
    }
    return true;
  }
  return false;
}

void ReturnHome(Draft& draft) {
  for (size_t queue = 0; queue < draft.scene().queues.size() && draft.HasRoom(); ++queue) {
    const Arrangement& now = draft.arrangement();
    if (!now.IsRemote(queue, now.CoreOf(queue)) || !draft.MayMoveQueue(queue)) continue;
    if (const auto home = TightestFit(now, queue, kRoomAtHome, false)) {
      draft.MoveQueue(queue, *home, MoveAim::kReturnHome,
                      absl::StrCat("CPU ", now.cores()[now.CoreOf(queue)].cpu,
                                   " is far from the NIC, and near it is room again"));
    }
  }
}

}  // namespace

void Coalesce(Draft& draft) {
  if (draft.scene().watched < Minute::kSeconds) return;  // nobody knows whether all was quiet
  const std::vector<Arrangement::Core>& cores = draft.arrangement().cores();
  const bool quiet = std::all_of(cores.begin(), cores.end(), [](const Arrangement::Core& core) {
    return core.needed.Peak() <= kBusy;
  });
  if (!quiet || !draft.QuietFor(kCalm) || !draft.QuietFor(kCoalesceAfterSpread, MoveAim::kSpread)) {
    return;
  }
  ReturnHome(draft);
  while (EmptyOne(draft)) {
  }
}

}  // namespace vmqd

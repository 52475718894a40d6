// The order of the passes, and the one that matters most: spread.
#include "daemon/vmq/balancer.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/vmq/draft.h"
#include "daemon/vmq/tuning.h"

namespace vmqd {
namespace {

bool TooBusy(const Arrangement::Core& core, double too_much) {
  for (size_t i = 0; i < kRecent; ++i) {
    if (core.needed.seconds[i] <= kBusy) return false;
  }
  return core.strain > too_much;
}

// The best of some moves. The first of equals, so that a plan does not depend on chance.
struct Best {
  double gain;  // at first the least that is worth a move
  std::optional<size_t> subject;
  size_t to = 0;

  void Consider(const Exchange& exchange, size_t other, size_t other_to) {
    if (exchange.burden > kMostBurden * exchange.relief || exchange.Gain() <= gain) return;
    *this = {exchange.Gain(), other, other_to};
  }
};

Best BestQueueMove(const Draft& draft, const Arrangement::Core& busy, double worth) {
  const std::vector<Arrangement::Core>& cores = draft.arrangement().cores();
  Best best{worth};
  for (size_t queue : busy.queues) {
    if (!draft.MayMoveQueue(queue)) continue;
    for (size_t to = 0; to < cores.size(); ++to) {
      if (!cores[to].in_set || !draft.IsSettled(to)) continue;
      best.Consider(draft.arrangement().TryQueue(queue, to), queue, to);
    }
  }
  return best;
}

// Nobody comes to a queue that a busy VM of greater weight has to itself.
bool MayJoin(const Draft& draft, size_t port, size_t queue) {
  const std::vector<size_t>& there = draft.arrangement().PortsOf(queue);
  if (there.size() != 1 || draft.scene().queues[queue].number == 0) return true;
  const PortView& owner = draft.scene().ports[there[0]];
  return owner.weight <= draft.scene().ports[port].weight || owner.demand.Peak() < kUsed;
}

Best BestPortMove(const Draft& draft, const Arrangement::Core& busy, double worth) {
  const Scene& scene = draft.scene();
  Best best{worth};
  for (size_t from : busy.queues) {
    for (size_t port : draft.arrangement().PortsOf(from)) {
      if (!draft.MayMovePort(port)) continue;
      for (size_t to = 0; to < scene.queues.size(); ++to) {
        if (scene.queues[to].uplink != scene.queues[from].uplink) continue;
        if (!draft.IsSettled(draft.arrangement().CoreOf(to)) || !MayJoin(draft, port, to)) continue;
        best.Consider(draft.arrangement().TryPort(port, to), port, to);
      }
    }
  }
  return best;
}

std::string Seen(const Arrangement::Core& core) {
  size_t seconds = 0;
  for (float share : core.needed.seconds) seconds += share > kBusy;
  return absl::StrCat("CPU ", core.cpu, " needed ", Percent(core.needed.Mean(kRecent)),
                      " and was over ", Percent(kBusy), " in ", seconds, " of the last ",
                      Minute::kSeconds, " s");
}

// Why nothing is done about a busy CPU.
void RemarkOn(Draft& draft, const Arrangement::Core& core) {
  const Scene& scene = draft.scene();
  double needed = 0;
  for (size_t queue : core.queues) needed += draft.arrangement().NeededBy(queue).Mean(kRecent);
  if (needed < kWantsQueue) return;  // it is busy with others, and hardly anybody here suffers
  for (size_t queue : core.queues) {
    for (size_t port : draft.arrangement().PortsOf(queue)) {
      const double share = scene.ports[port].demand.Mean(kRecent);
      if (share < kFullCpu) continue;
      draft.AddRemark(
          {scene.ports[port].name,
           absl::StrCat(Seen(core), "; ", scene.ports[port].name, " alone needs ", Percent(share),
                        " of a CPU: no placement cures that, more queue pairs would")});
      return;
    }
  }
  draft.AddRemark({absl::StrCat("CPU ", core.cpu),
                   absl::StrCat(Seen(core), "; no move that is allowed now is worth it")});
}

}  // namespace

// What comes before everything: the operator took CPUs out of the set.
void EnterSet(Draft& draft) {
  const Arrangement& now = draft.arrangement();
  for (size_t queue = 0; queue < draft.scene().queues.size() && draft.HasRoom(); ++queue) {
    const Arrangement::Core& from = now.cores()[now.CoreOf(queue)];
    if (from.in_set || !draft.MayMoveQueue(queue)) continue;
    size_t best = 0;  // cores of the set come first
    for (size_t core = 1; core < now.cores().size() && now.cores()[core].in_set; ++core) {
      if (now.With(core, queue).Peak() < now.With(best, queue).Peak()) best = core;
    }
    draft.MoveQueue(queue, best, MoveAim::kEnterSet,
                    absl::StrCat("CPU ", from.cpu, " is not in the processor set"));
  }
}

// The CPU with the most strain first; one that cannot be helped does not keep others waiting.
void Spread(Draft& draft) {
  const std::vector<Arrangement::Core>& cores = draft.arrangement().cores();
  const double too_much = kTooMuch * draft.Unrest();
  std::vector<bool> given_up(cores.size(), false);
  while (draft.HasRoom()) {
    const Arrangement::Core* busy = nullptr;
    for (const Arrangement::Core& core : cores) {
      const size_t index = &core - cores.data();
      if (given_up[index] || !draft.IsSettled(index) || !TooBusy(core, too_much)) continue;
      if (busy == nullptr || core.strain > busy->strain) busy = &core;
    }
    if (busy == nullptr) return;
    if (const Best best = BestQueueMove(draft, *busy, too_much); best.subject) {
      draft.MoveQueue(*best.subject, best.to, MoveAim::kSpread, Seen(*busy));
    } else if (const Best home = BestPortMove(draft, *busy, too_much); home.subject) {
      draft.MovePort(*home.subject, home.to, MoveAim::kSpread, Seen(*busy));
    } else {
      given_up[busy - cores.data()] = true;
      RemarkOn(draft, *busy);
    }
  }
}

// Each pass sees for itself whether it is time for it.
Plan MakePlan(const Scene& scene) {
  Draft draft(scene);
  EnterSet(draft);
  Spread(draft);
  DealQueues(draft);
  Coalesce(draft);
  return std::move(draft).Finish();
}

double GainedBy(const PastMove& move, const Scene& scene) {
  const Arrangement now(scene);
  double busier = 0;
  for (const Arrangement::Core& core : now.cores()) {
    if (core.cpu != move.from.cpu && core.cpu != move.to.cpu) continue;
    busier = std::max(busier, core.needed.Mean(kRecent));
  }
  return std::max(move.from.before, move.to.before) - busier;
}

}  // namespace vmqd

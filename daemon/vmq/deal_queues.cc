// Who has a queue of its own, when there are fewer queues than VMs: by weight, of those that are
// busy. One VM a plan, and only when no CPU gets more strain by it.
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

double MinuteMean(const PortView& port) { return port.demand.Mean(Minute::kSeconds); }
bool IsIdle(const PortView& port) { return port.demand.Peak() < kUsed; }

bool SharesWithBusy(const Draft& draft, size_t port) {
  const std::vector<size_t>& there = draft.arrangement().PortsOf(draft.arrangement().QueueOf(port));
  return std::any_of(there.begin(), there.end(), [&](size_t other) {
    return other != port && !IsIdle(draft.scene().ports[other]);
  });
}

// The busy VM that shares its queue: the greatest weight, then the most load.
std::optional<size_t> Claimant(const Draft& draft, size_t uplink) {
  const std::vector<PortView>& ports = draft.scene().ports;
  std::optional<size_t> best;
  for (size_t port = 0; port < ports.size(); ++port) {
    if (draft.scene().queues[draft.arrangement().QueueOf(port)].uplink != uplink) continue;
    if (!draft.MayMovePort(port) || MinuteMean(ports[port]) < kWantsQueue) continue;
    if (!SharesWithBusy(draft, port)) continue;
    const auto claim = [&](size_t p) { return std::pair(ports[p].weight, MinuteMean(ports[p])); };
    if (!best || claim(port) > claim(*best)) best = port;
  }
  return best;
}

// What it takes to give `queue` to `claimant`, the claimant's own move last; nothing when it cannot
// be done.
struct Deal {
  std::vector<std::pair<size_t, size_t>> moves;  // port, to queue
  uint32_t weight = 0;  // of the busy VM that makes room; 0 when all are idle
};

std::optional<Deal> Free(const Draft& draft, size_t queue, size_t claimant, size_t default_queue) {
  const std::vector<PortView>& ports = draft.scene().ports;
  const std::vector<size_t>& there = draft.arrangement().PortsOf(queue);
  Deal deal;
  for (size_t port : there) {
    if (!draft.MayMovePort(port)) return std::nullopt;
    if (IsIdle(ports[port])) {
      if (draft.scene().watched < Minute::kSeconds) return std::nullopt;  // it may have just begun
      deal.moves.emplace_back(port, default_queue);
    } else if (there.size() == 1 && ports[port].weight < ports[claimant].weight) {
      deal.moves.emplace_back(port, draft.arrangement().QueueOf(claimant));
      deal.weight = ports[port].weight;
    } else {
      return std::nullopt;
    }
  }
  deal.moves.emplace_back(claimant, queue);
  if (!draft.HasRoom(deal.moves.size())) return std::nullopt;
  Arrangement tried = draft.arrangement();
  for (const auto& [port, to] : deal.moves) tried.MovePort(port, to);
  if (tried.TotalStrain() > draft.arrangement().TotalStrain()) return std::nullopt;
  return deal;
}

void Carry(Draft& draft, const Deal& deal, size_t claimant) {
  const std::vector<PortView>& ports = draft.scene().ports;
  const std::string wants =
      absl::StrCat(ports[claimant].name, " (weight ", ports[claimant].weight, ") needed ",
                   Percent(MinuteMean(ports[claimant])), " of a CPU and shared its queue");
  for (const auto& [port, to] : deal.moves) {
    if (port == claimant) {
      draft.MovePort(port, to, MoveAim::kDealQueue, wants);
    } else if (IsIdle(ports[port])) {
      draft.MovePort(port, to, MoveAim::kGiveBack,
                     absl::StrCat(ports[port].name, " was idle for a minute; ", wants));
    } else {
      draft.MovePort(
          port, to, MoveAim::kGiveBack,
          absl::StrCat(ports[port].name, " has weight ", ports[port].weight, "; ", wants));
    }
  }
}

}  // namespace

void DealQueues(Draft& draft) {
  if (!draft.QuietFor(kSettle) || !draft.QuietFor(kCalm, MoveAim::kDealQueue)) return;
  const Scene& scene = draft.scene();
  for (size_t uplink = 0; uplink < scene.uplinks.size(); ++uplink) {
    const auto default_queue = std::find_if(
        scene.queues.begin(), scene.queues.end(),
        [&](const QueueView& queue) { return queue.uplink == uplink && queue.number == 0; });
    const std::optional<size_t> claimant = Claimant(draft, uplink);
    if (!claimant || default_queue == scene.queues.end()) continue;
    std::optional<Deal> best;
    for (size_t queue = 0; queue < scene.queues.size(); ++queue) {
      if (scene.queues[queue].uplink != uplink || scene.queues[queue].number == 0) continue;
      auto deal = Free(draft, queue, *claimant, default_queue - scene.queues.begin());
      if (deal && (!best || deal->weight < best->weight)) best = std::move(deal);
    }
    if (best) Carry(draft, *best, *claimant);
  }
}

}  // namespace vmqd

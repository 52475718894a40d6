// See plan_order.h.
#include "client/plan_order.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "client/claims.h"

namespace vmqd::cli {
namespace {

bool Goes(const Change& change) {
  return change.kind == ChangeKind::kDelete || change.kind == ChangeKind::kReplace;
}

class Orderer {
 public:
  Orderer(const SeenSwitch& seen, Plan& plan);
  void OrderPorts();
  void ListSteps();
  std::vector<Mistake> mistakes;

 private:
  bool BreakCircle(const std::vector<size_t>& pending);
  bool HasPortBeyond(const v1::Uplink& uplink, bool that_stays) const;
  void AddUplinkUpdates(bool early);
  void AddSteps(Step::Call call, bool of_uplinks, std::initializer_list<ChangeKind> kinds,
                const std::function<bool(const Change&)>& independent);
  const v1::Port& PortOf(size_t change) const {
    return std::get<v1::Port>(plan_.changes[change].wanted);
  }

  const SeenSwitch& seen_;
  Plan& plan_;
  Claims before_;                  // as it is now
  Claims claims_;                  // after the steps so far
  std::vector<size_t> order_;      // of the changes that create or update ports
  std::set<std::string> gone_;     // uplinks that are deleted, for good or for a moment
  std::set<std::string> leaving_;  // ports, likewise
  std::set<std::string> resized_;  // uplinks that get another number of queues
};

Orderer::Orderer(const SeenSwitch& seen, Plan& plan) : seen_(seen), plan_(plan) {
  for (const auto& [name, uplink] : seen.uplinks) before_.Take(uplink);
  for (const auto& [name, port] : seen.ports) before_.Take(port);
  claims_ = before_;
  for (const Change& change : plan.changes) {
    if (!Goes(change)) continue;
    if (const auto port = seen.ports.find(change.name); port != seen.ports.end()) {
      claims_.Release(port->second);
    }
    if (const auto uplink = seen.uplinks.find(change.name); uplink != seen.uplinks.end()) {
      claims_.Release(uplink->second);
      gone_.insert(change.name);
    }
  }
  // Uplinks come before ports.
  for (const Change& change : plan.changes) {
    if (change.kind == ChangeKind::kDelete) continue;
    if (const auto* uplink = std::get_if<v1::Uplink>(&change.wanted)) claims_.Take(*uplink);
  }
}

// Two ports that swap addresses wait for each other for ever: one of them gives its own up first,
// by being replaced. Says instead what is wrong when it is no circle.
bool Orderer::BreakCircle(const std::vector<size_t>& pending) {
  std::set<size_t> visited;
  size_t at = pending.front();
  while (visited.insert(at).second) {
    const Claims::Conflict conflict = claims_.Against(PortOf(at)).front();
    const auto next = std::find_if(pending.begin(), pending.end(), [&](size_t change) {
      return plan_.changes[change].name == conflict.owner;
    });
    if (next == pending.end()) {
      const bool kept =
          std::find(plan_.extra.begin(), plan_.extra.end(), conflict.owner) != plan_.extra.end();
      mistakes.push_back(
          {plan_.changes[at].name,
           absl::StrCat(conflict.claim, " is for ", conflict.owner,
                        kept ? ", which is not in the file; --prune would delete it" : " too")});
      return false;
    }
    at = *next;
  }
  Change& change = plan_.changes[at];
  change.kind = ChangeKind::kReplace;
  change.reason = "addresses are swapped, and no port can have one before the other gives it up";
  claims_.Release(seen_.ports.at(change.name));
  return true;
}

void Orderer::OrderPorts() {
  std::vector<size_t> pending;  // what is created, then what is updated
  for (const bool updates : {false, true}) {
    for (size_t i = 0; i < plan_.changes.size(); ++i) {
      const Change& change = plan_.changes[i];
      if (change.kind == ChangeKind::kDelete || !std::holds_alternative<v1::Port>(change.wanted)) {
        continue;
      }
      if ((change.kind == ChangeKind::kUpdate) == updates) pending.push_back(i);
    }
  }
  while (!pending.empty()) {
    const auto ready = std::find_if(pending.begin(), pending.end(), [&](size_t change) {
      return claims_.Against(PortOf(change)).empty();
    });
    if (ready == pending.end()) {
      if (!BreakCircle(pending)) return;
      continue;
    }
    const Change& change = plan_.changes[*ready];
    if (change.kind == ChangeKind::kUpdate) claims_.Release(seen_.ports.at(change.name));
    claims_.Take(PortOf(*ready));
    order_.push_back(*ready);
    pending.erase(ready);
  }
}

void Orderer::AddSteps(Step::Call call, bool of_uplinks, std::initializer_list<ChangeKind> kinds,
                       const std::function<bool(const Change&)>& independent) {
  for (size_t i = 0; i < plan_.changes.size(); ++i) {
    const Change& change = plan_.changes[i];
    if (change.name.starts_with("uplinks/") != of_uplinks) continue;
    if (std::find(kinds.begin(), kinds.end(), change.kind) == kinds.end()) continue;
    plan_.steps.push_back({call, i, independent(change)});
  }
}

// Ports on the switch that asked for a queue which the uplink would have no more.
bool Orderer::HasPortBeyond(const v1::Uplink& uplink, bool that_stays) const {
  return std::any_of(seen_.ports.begin(), seen_.ports.end(), [&](const auto& entry) {
    const auto& [name, port] = entry;
    const bool beyond = port.uplink() == uplink.name() && port.has_queue() &&
                        uplink.queues() != 0 && port.queue() >= uplink.queues();
    return beyond && !(that_stays && leaving_.contains(name));
  });
}

// An uplink gets its queues before the ports that are for them, and gives them up after the ports
// that have been on them.
void Orderer::AddUplinkUpdates(bool early) {
  for (size_t i = 0; i < plan_.changes.size(); ++i) {
    const Change& change = plan_.changes[i];
    const auto* uplink = std::get_if<v1::Uplink>(&change.wanted);
    if (change.kind != ChangeKind::kUpdate || uplink == nullptr) continue;
    const bool first =
        resized_.contains(change.name) && !HasPortBeyond(*uplink, /*that_stays=*/true);
    if (first != early) continue;
    plan_.steps.push_back({Step::Call::kUpdate, i, !HasPortBeyond(*uplink, /*that_stays=*/false)});
  }
}

void Orderer::ListSteps() {
  using Call = Step::Call;
  using enum ChangeKind;
  std::set<std::string> made;    // devices that come with a port of this plan
  std::set<std::string> in_use;  // uplinks that have ports
  for (const Change& change : plan_.changes) {
    const auto* uplink = std::get_if<v1::Uplink>(&change.wanted);
    if (Goes(change)) leaving_.insert(change.name);
    if (uplink == nullptr || change.kind != kUpdate) continue;
    if (uplink->queues() != seen_.uplinks.at(change.name).queues()) resized_.insert(change.name);
  }
  for (const size_t change : order_) {
    const v1::Port& port = PortOf(change);
    if (!port.peer_device().empty()) made.insert(port.peer_device());
  }
  for (const auto& [name, port] : seen_.ports) in_use.insert(port.uplink());
  const auto always = [](const Change&) { return true; };
  AddSteps(Call::kDelete, false, {kDelete, kReplace}, always);
  AddSteps(Call::kDelete, true, {kDelete, kReplace},
           [&](const Change& change) { return !in_use.contains(change.name); });
  AddSteps(Call::kCreate, true, {kCreate, kReplace}, [&](const Change& change) {
    const v1::Uplink& uplink = std::get<v1::Uplink>(change.wanted);
    return change.kind == kCreate && before_.Against(uplink).empty() &&
           !made.contains(uplink.device());
  });
  AddUplinkUpdates(/*early=*/true);
  for (const size_t i : order_) {
    const v1::Port& port = PortOf(i);
    const ChangeKind kind = plan_.changes[i].kind;
    const bool uplink_stays =
        seen_.uplinks.contains(port.uplink()) && !gone_.contains(port.uplink());
    const bool independent = kind != kReplace && uplink_stays && before_.Against(port).empty() &&
                             !made.contains(port.device()) &&
                             !(port.has_queue() && resized_.contains(port.uplink()));
    plan_.steps.push_back({kind == kUpdate ? Call::kUpdate : Call::kCreate, i, independent});
  }
  AddUplinkUpdates(/*early=*/false);
}

}  // namespace

std::vector<Mistake> OrderSteps(const SeenSwitch& seen, Plan& plan) {
  Orderer orderer(seen, plan);
  orderer.OrderPorts();
  if (orderer.mistakes.empty()) orderer.ListSteps();
  return orderer.mistakes;
}

}  // namespace vmqd::cli

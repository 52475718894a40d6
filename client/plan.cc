// See plan.h.
#include "client/plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/claims.h"
#include "client/plan_order.h"

namespace vmqd::cli {
namespace {

// What UpdateUplink and UpdatePort take; see vmqd.proto.
constexpr std::array<std::string_view, 13> kMutable = {
    "busy_poll", "wake_mode", "queues",  "balance_mode", "queue_cpus", "macs",          "vlan",
    "weight",    "queue",     "trusted", "disabled",     "mtu",        "coalescing_off"};

// The fields among `changes` that no update can change.
std::string Immutable(const std::vector<FieldChange>& changes) {
  std::vector<std::string> fields;
  for (const FieldChange& change : changes) {
    const bool is_mutable =
        std::find(kMutable.begin(), kMutable.end(), change.field) != kMutable.end();
    if (!is_mutable) fields.push_back(change.field);
  }
  if (fields.empty()) return "";
  return absl::StrCat(absl::StrJoin(fields, ", "), fields.size() == 1 ? " is" : " are",
                      " immutable");
}

bool MakesPair(const v1::Port& port) { return port.kind() == v1::VETH || port.kind() == v1::HOST; }

class Planner {
 public:
  Planner(const SwitchConfigFile& file, const v1::SwitchConfig& seen, bool prune);
  absl::StatusOr<Plan> Make();

 private:
  void PlanUplinks();
  void PlanPort(v1::Port wanted);
  void PlanOtherPorts();
  void FindUplink(v1::Port& port);
  void KeepWhatWasChosen(v1::Port& port);

  void Say(const std::string& name, const std::string& field, const std::string& what);
  Change& Add(ChangeKind kind, const std::string& name);
  bool Leaves(const std::string& uplink) const {
    return replaced_.contains(uplink) || deleted_.contains(uplink);
  }

  const SwitchConfigFile& file_;
  const bool prune_;
  SeenSwitch seen_;
  std::map<std::string, std::string> etags_;  // of what was seen
  std::map<std::string, std::string> paths_;  // of the file's ports: name to "ports[3]"
  std::set<std::string> uplinks_;             // that there will be
  std::set<std::string> replaced_, deleted_;  // uplinks
  Claims said_;                               // what the file gives to somebody in so many words
  std::vector<std::string> mistakes_;
  Plan plan_;
};

Planner::Planner(const SwitchConfigFile& file, const v1::SwitchConfig& seen, bool prune)
    : file_(file), prune_(prune) {
  for (const v1::Uplink& uplink : seen.uplinks()) {
    seen_.uplinks[uplink.name()] = Complete(uplink);
    etags_[uplink.name()] = uplink.etag();
  }
  for (const v1::Port& port : seen.ports()) {
    seen_.ports[port.name()] = Complete(port);
    etags_[port.name()] = port.etag();
  }
  for (int i = 0; i < file.config.ports_size(); ++i) {
    paths_[file.config.ports(i).name()] = absl::StrCat("ports[", i, "]");
  }
}

void Planner::Say(const std::string& name, const std::string& field, const std::string& what) {
  const auto path = paths_.find(name);
  const std::string where =
      path == paths_.end() ? name : file_.positions.At(absl::StrCat(path->second, field));
  mistakes_.push_back(absl::StrCat(where, ": ", what));
}

Change& Planner::Add(ChangeKind kind, const std::string& name) {
  Change& change = plan_.changes.emplace_back();
  change.kind = kind;
  change.name = name;
  change.etag = etags_[name];
  return change;
}

void Planner::PlanUplinks() {
  for (const v1::Uplink& wanted : file_.config.uplinks()) {
    uplinks_.insert(wanted.name());
    const auto seen = seen_.uplinks.find(wanted.name());
    if (seen == seen_.uplinks.end()) {
      Add(ChangeKind::kCreate, wanted.name()).wanted = wanted;
      continue;
    }
    std::vector<FieldChange> fields = DifferencesOf(seen->second, wanted);
    if (fields.empty()) continue;
    const std::string immutable = Immutable(fields);
    Change& change =
        Add(immutable.empty() ? ChangeKind::kUpdate : ChangeKind::kReplace, wanted.name());
    change.wanted = wanted;
    change.fields = std::move(fields);
    change.reason = immutable;
    if (!immutable.empty()) replaced_.insert(wanted.name());
  }
  for (const auto& [name, seen] : seen_.uplinks) {
    if (uplinks_.contains(name)) continue;
    if (prune_) {
      Add(ChangeKind::kDelete, name);
      deleted_.insert(name);
    } else {
      plan_.extra.push_back(name);
      uplinks_.insert(name);
    }
  }
}

// The uplink that a port is for where the file does not say it.
void Planner::FindUplink(v1::Port& port) {
  if (!port.uplink().empty()) {
    if (uplinks_.contains(port.uplink())) return;
    return Say(port.name(), ".uplink",
               absl::StrCat(port.uplink(), " is not in the file, ",
                            deleted_.contains(port.uplink()) ? "and --prune deletes it"
                                                             : "and not on the switch"));
  }
  const auto seen = seen_.ports.find(port.name());
  if (uplinks_.size() == 1) {
    port.set_uplink(*uplinks_.begin());
  } else if (seen != seen_.ports.end() && uplinks_.contains(seen->second.uplink())) {
    port.set_uplink(seen->second.uplink());
  } else {
    Say(port.name(), "",
        uplinks_.empty() ? "there is no uplink for it, neither in the file nor on the switch"
                         : absl::StrCat("uplink is needed where there are several: ",
                                        absl::StrJoin(uplinks_, ", ")));
  }
}

// What vmqd chose once stays, unless the file says that somebody else is to have it.
void Planner::KeepWhatWasChosen(v1::Port& port) {
  const auto seen = seen_.ports.find(port.name());
  if (seen == seen_.ports.end() || !MakesPair(port) || port.kind() != seen->second.kind()) return;
  v1::Port device;
  device.set_name(port.name());
  v1::Port macs = device;
  device.set_device(seen->second.device());
  macs.set_uplink(port.uplink());
  macs.set_vlan(port.vlan());
  *macs.mutable_macs() = seen->second.macs();
  if (port.device().empty() && said_.Against(device).empty()) port.set_device(device.device());
  if (port.macs().empty() && said_.Against(macs).empty()) *port.mutable_macs() = macs.macs();
}

void Planner::PlanPort(v1::Port wanted) {
  KeepWhatWasChosen(wanted);
  const auto seen = seen_.ports.find(wanted.name());
  if (seen == seen_.ports.end()) {
    Add(ChangeKind::kCreate, wanted.name()).wanted = std::move(wanted);
    return;
  }
  const std::string& uplink = seen->second.uplink();
  std::vector<FieldChange> fields = DifferencesOf(seen->second, wanted);
  std::string reason = Immutable(fields);
  if (reason.empty() && Leaves(uplink)) reason = absl::StrCat(uplink, " is replaced");
  if (reason.empty() && wanted.macs().empty() && MakesPair(wanted)) {
    reason = "its address is for another port, and vmqd chooses one only for a new port";
  }
  if (fields.empty() && reason.empty()) return;
  Change& change = Add(reason.empty() ? ChangeKind::kUpdate : ChangeKind::kReplace, wanted.name());
  change.wanted = std::move(wanted);
  change.fields = std::move(fields);
  change.reason = std::move(reason);
}

// What the file does not name.
void Planner::PlanOtherPorts() {
  for (const auto& [name, seen] : seen_.ports) {
    if (paths_.contains(name)) continue;
    if (prune_) {
      Add(ChangeKind::kDelete, name);
      continue;
    }
    plan_.extra.push_back(name);
    if (!Leaves(seen.uplink())) continue;
    // Kept, but its uplink goes for a moment: it comes back as it was.
    Change& change = Add(ChangeKind::kReplace, name);
    change.wanted = seen;
    change.reason = absl::StrCat(seen.uplink(), " is replaced");
  }
}

absl::StatusOr<Plan> Planner::Make() {
  PlanUplinks();
  v1::SwitchConfig config = file_.config;
  for (const v1::Uplink& uplink : config.uplinks()) said_.Take(uplink);
  for (v1::Port& port : *config.mutable_ports()) {
    FindUplink(port);
    said_.Take(port);
  }
  for (const v1::Port& port : config.ports()) PlanPort(port);
  PlanOtherPorts();
  if (mistakes_.empty()) {
    for (const Mistake& mistake : OrderSteps(seen_, plan_)) Say(mistake.name, "", mistake.what);
  }
  if (!mistakes_.empty()) return absl::InvalidArgumentError(absl::StrJoin(mistakes_, "\n"));
  return std::move(plan_);
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const SwitchConfigFile& file, const v1::SwitchConfig& seen,
                              bool prune) {
  return Planner(file, seen, prune).Make();
}

}  // namespace vmqd::cli

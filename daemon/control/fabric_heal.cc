// What happens to devices without anybody asking vmqd: they go and come back, change their link,
// MTU or queues, lose their program. What runs is compared with what the kernel says; what lost its
// ground is closed and waits; what waits is opened when it can be.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/control/fabric.h"

namespace vmqd {
namespace {

// Between two attempts to attach to a device that refuses.
constexpr std::chrono::seconds kLongestPause{16};

std::string Sentence(const absl::Status& status) { return std::string(status.message()); }

const std::string& WhereOf(const UplinkConfig& config) { return config.device; }
const std::string& WhereOf(const PortConfig& config) {
  return HasDevice(config.kind) ? config.device : config.socket;
}

}  // namespace

template <typename Item>
void Fabric::Waits(Item& item, const absl::Status& why) {
  const std::string text = Sentence(why);
  if (item.trouble == text) return;  // once is enough
  item.trouble = text;
  observer_.Happened(Severity::kWarning, NameOf(item), "WAITING",
                     absl::StrCat(NameOf(item), " waits: ", text));
  observer_.Changed(NameOf(item));
}

template <typename Item>
void Fabric::Runs(Item& item) {
  item.trouble.clear();
  observer_.Happened(Severity::kInfo, NameOf(item), "RUNNING",
                     absl::StrCat(NameOf(item), " runs on ", WhereOf(item.config)));
  observer_.Changed(NameOf(item));
}

void Fabric::Suspend(Port& port, Severity severity, std::string_view reason,
                     const std::string& message) {
  ClosePort(port, /*keep_device=*/true);
  port.trouble = message;
  observer_.Happened(severity, NameOf(port), reason, message);
  observer_.Changed(NameOf(port));
}

void Fabric::Halt(Uplink& uplink, const std::string& why) {
  std::vector<Port*> its;
  for (auto& [id, port] : ports_) {
    if (port.runtime != nullptr && &port.runtime->uplink() == uplink.runtime.get()) {
      its.push_back(&port);
    }
  }
  ClosePorts(its);
  for (Port* port : its) {
    port->trouble = absl::StrCat(NameOf(uplink), " does not run");
    observer_.Changed(NameOf(*port));
  }
  CloseUplink(uplink, UplinkRuntime::ProgramThen::kLeave);  // the host does not get its VMs' frames
  UpdateWakeModes();
  uplink.trouble = why;
  observer_.Changed(NameOf(uplink));
}

void Fabric::Suspend(Uplink& uplink, Severity severity, std::string_view reason,
                     const std::string& message) {
  Halt(uplink, message);
  observer_.Happened(severity, NameOf(uplink), reason, message);
}

// --- taking up what waits ---

void Fabric::Expect(const UplinkConfig& config) {
  uplinks_.emplace(config.id, Uplink{.config = config, .trouble = "it has not been opened yet"});
}

void Fabric::Expect(const PortConfig& config) {
  ports_.emplace(config.id, Port{.config = config, .trouble = "it has not been opened yet"});
}

void Fabric::Resume() { Start(ResumeUplinks()); }

// One that was halted.
absl::Status Fabric::Reopen(Uplink& uplink) {
  uplink.not_before = {};
  if (absl::Status status = OpenUplink(uplink); !status.ok()) return status;
  Start({&uplink});
  if (uplink.runtime != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(uplink.trouble);
}

void Fabric::Start(const std::vector<Uplink*>& opened) {
  ResumePorts();
  // The programs last: from here on frames come, and everybody they can be for is there.
  for (Uplink* uplink : opened) {
    if (absl::Status status = uplink->runtime->Attach(); !status.ok()) {
      // To open it all for nothing every second would cost more than to wait.
      uplink->pause = std::min(2 * uplink->pause, kLongestPause);
      uplink->not_before = std::chrono::steady_clock::now() + uplink->pause;
      Suspend(*uplink, Severity::kAlarm, "ATTACH_FAILED", Sentence(status));
      continue;
    }
    uplink->pause = std::chrono::seconds(1);
    uplink->runtime->LookAtBusyPoll();
    Runs(*uplink);
    TellDropped(*uplink);
    LookAt(*uplink);
  }
  if (!opened.empty()) UpdateWakeModes();  // attaching told where the NAPI threads are
}

// What a program that was left counted in the meantime; how many frames of VMs it dropped.
uint64_t Fabric::CountLeft(Uplink& uplink) {
  const auto left = std::exchange(uplink.left, std::nullopt);
  if (!left) return 0;
  const vmqd_uplink_counters now = left->program->Counters();
  uplink.kept_to_host += now.to_host - left->counted.to_host;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    const uint64_t drops = now.drops[i] - left->counted.drops[i];
    uplink.kept.in_pkts += drops;
    uplink.kept.in_drops[i] += drops;
  }
  return now.drops[VMQD_DROP_NO_SOCKET] - left->counted.drops[VMQD_DROP_NO_SOCKET];
}

void Fabric::TellDropped(Uplink& uplink) {
  const bool left = uplink.left.has_value();
  uint64_t dropped = CountLeft(uplink);
  if (const auto& earlier = uplink.runtime->TakenOver(); earlier && !left) {
    dropped =
        earlier->drops[VMQD_DROP_NO_SOCKET];  // that daemon has taken its own counters with it
  }
  if (dropped == 0) return;
  observer_.Happened(
      Severity::kWarning, NameOf(uplink), "DROPPED_WHILE_AWAY",
      absl::StrCat(dropped, " frames of VMs came to ", uplink.config.device, " while ",
                   left ? "it was opened again" : "no vmqd ran", ", and were dropped"));
}

std::vector<Fabric::Uplink*> Fabric::ResumeUplinks() {
  std::vector<Uplink*> opened;
  for (auto& [id, uplink] : uplinks_) {
    if (uplink.runtime != nullptr) continue;
    if (std::chrono::steady_clock::now() < uplink.not_before) continue;
    if (absl::Status status = OpenUplink(uplink); !status.ok()) {
      Waits(uplink, status);
      continue;
    }
    opened.push_back(&uplink);
  }
  return opened;
}

// First all sockets, then one change of the topology for each uplink, then all filters.
void Fabric::ResumePorts() {
  std::vector<Port*> opened;
  std::set<UplinkRuntime*> changed;
  for (auto& [id, port] : ports_) {
    const auto uplink = uplinks_.find(port.config.uplink);
    if (port.runtime != nullptr || uplink->second.runtime == nullptr) continue;
    if (absl::Status status = OpenPort(port); !status.ok()) {
      HoldOrLetGo(port, /*hold=*/true);
      Waits(port, status);
      continue;
    }
    opened.push_back(&port);
    changed.insert(uplink->second.runtime.get());
  }
  for (UplinkRuntime* uplink : changed) Publish(*uplink);
  for (Port* port : opened) {
    if (absl::Status status = Connect(*port); !status.ok()) {
      Suspend(*port, Severity::kAlarm, "CONNECT_FAILED", Sentence(status));
      continue;
    }
    if (port->runtime != nullptr) Runs(*port);  // it may have lost its device in this moment
  }
}

// --- looking ---

// An event only says where to look: by the time it is handled the device may be in another state.
// Except when it was removed: it may be back, under the same index, but its sockets are dead.
void Fabric::OnLink(const LinkMonitor::Event& event) {
  bool waits = false;
  for (auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) {
      waits = true;
    } else if (event.overrun || uplink.runtime->link().ifindex == event.ifindex) {
      LookAt(uplink, event.removed);
    }
  }
  for (auto& [id, port] : ports_) {
    if (port.runtime == nullptr) {
      waits = true;
    } else if (HasDevice(port.config.kind) &&
               (event.overrun || port.runtime->link().ifindex == event.ifindex)) {
      LookAt(port, event.removed);
    }
  }
  if (waits && (event.overrun || !event.removed)) Resume();
}

void Fabric::LookAt(Uplink& uplink, bool removed) {
  UplinkRuntime& runtime = *uplink.runtime;
  const Link before = runtime.link();
  const absl::StatusOr<Link> link = FindLink(before.ifindex);
  if (removed || absl::IsNotFound(link.status())) {
    Suspend(uplink, Severity::kAlarm, "DEVICE_GONE",
            absl::StrCat("device ", before.name,
                         " is gone: deleted, or moved to another network namespace"));
    return;
  }
  if (!link.ok()) return;  // the next look will tell
  const bool was_up = runtime.link_up().load();
  runtime.OnLink(link->up, link->carrier, link->mtu);
  if (link->mtu != before.mtu) {
    observer_.Happened(
        Severity::kInfo, NameOf(uplink), "MTU_CHANGED",
        absl::StrCat("the MTU of ", before.name, " went from ", before.mtu, " to ", link->mtu));
    if (runtime.NeedsLargerBuffers()) {
      Suspend(uplink, Severity::kWarning, "MTU_CHANGED",
              absl::StrCat("the MTU of ", before.name, " is ", link->mtu,
                           " now: opened again with larger buffers"));
      Resume();
      return;
    }
    PassOnMtu(runtime);
  }
  const bool is_up = runtime.link_up().load();
  if (is_up != was_up) {
    observer_.Happened(is_up ? Severity::kInfo : Severity::kAlarm, NameOf(uplink),
                       is_up ? "LINK_UP" : "LINK_DOWN",
                       absl::StrCat(NameOf(uplink), ": link ", is_up ? "up" : "down"));
  }
  if (is_up != was_up || link->mtu != before.mtu) observer_.Changed(NameOf(uplink));
  if (is_up && !was_up) LookAtSteering(uplink, /*closely=*/true);
}

// A reset, and with many drivers that is what a link going down and up is, leaves no rule in a NIC.
void Fabric::LookAtSteering(Uplink& uplink, bool closely) {
  const std::string found = uplink.runtime->CheckSteering(closely);
  if (found.empty()) return;
  observer_.Happened(Severity::kWarning, NameOf(uplink), "RULES_LOST", found);
  observer_.Changed(NameOf(uplink));
}

// Ports without an MTU of their own have the uplink's.
void Fabric::PassOnMtu(UplinkRuntime& uplink) {
  for (auto& [id, port] : ports_) {
    if (port.runtime == nullptr || &port.runtime->uplink() != &uplink) continue;
    if (absl::Status status = port.runtime->FollowUplinkMtu(); !status.ok()) {
      observer_.Happened(Severity::kWarning, NameOf(port), "MTU_CHANGED", Sentence(status));
    }
    observer_.Changed(NameOf(port));
  }
  Publish(uplink);
}

void Fabric::LookAt(Port& port, bool removed) {
  PortRuntime& runtime = *port.runtime;
  if (!HasDevice(port.config.kind)) return LookAtVhost(port);
  const Link before = runtime.link();
  const absl::StatusOr<Link> link = FindLink(before.ifindex);
  if (removed || absl::IsNotFound(link.status())) {
    Suspend(port, Severity::kWarning, "DEVICE_GONE",
            absl::StrCat("device ", before.name,
                         " is gone: deleted, or moved to another network namespace"));
    return;
  }
  if (!link.ok()) return;
  if (port.config.kind == PortKind::kNetdev && link->queues != before.queues) {
    Suspend(port, Severity::kWarning, "QUEUES_CHANGED",
            absl::StrCat(before.name, " has ", link->queues, " queues now, ", before.queues,
                         " were served: opened again"));
    return;  // by the next tick
  }
  const bool was_up = runtime.link_up().load();
  runtime.OnLink(link->up, link->carrier);
  const bool is_up = runtime.link_up().load();
  if (is_up == was_up) return;
  observer_.Happened(Severity::kInfo, NameOf(port), is_up ? "LINK_UP" : "LINK_DOWN",
                     absl::StrCat(NameOf(port), ": link ", is_up ? "up" : "down"));
  observer_.Changed(NameOf(port));
}

void Fabric::LookAtVhost(Port& port) {
  const auto change = port.runtime->LookAtVhost();
  if (!change) return;
  const std::string name = NameOf(port);
  if (change->connection) {
    observer_.Happened(
        Severity::kInfo, name, change->now.connected ? "VMM_CONNECTED" : "VMM_DISCONNECTED",
        absl::StrCat(name,
                     change->now.connected ? ": a VMM has connected to " : ": the VMM has left ",
                     port.config.socket));
  }
  if (change->link) {
    const bool up = port.runtime->link_up().load();
    observer_.Happened(Severity::kInfo, name, up ? "LINK_UP" : "LINK_DOWN",
                       absl::StrCat(name, ": link ", up ? "up" : "down"));
  }
  if (change->fault) {
    observer_.Happened(Severity::kWarning, name, "FAULTED",
                       absl::StrCat(name, ": ", change->now.last_fault));
  }
  observer_.Changed(name);
}

// A program that somebody detached is attached again; one that somebody put in its place is left
// alone, and the place is taken again when it is free.
template <typename Item>
void Fabric::LookAtProgramOf(Item& item) {
  const std::string before = item.trouble;
  const Attachment::State state = item.runtime->LookAtProgram();
  if (state.running == Attachment::Running::kDeviceGone) return;  // LookAt sees to that
  if (state.running == Attachment::Running::kOurs) {
    item.trouble.clear();
  } else if (state.running == Attachment::Running::kReplaced) {
    item.trouble = absl::StrCat("somebody replaced the XDP program on ", item.config.device,
                                " by program id ", state.program_id,
                                "; detach it there (bpftool net show), and vmqd attaches its own");
  } else {
    absl::Status attached = item.runtime->AttachAgain();
    UpdateWakeModes();     // a new attachment may have brought new NAPI threads
    if (before.empty()) {  // else what was in its place has gone, or it is just tried again
      observer_.Happened(
          Severity::kAlarm, NameOf(item), "PROGRAM_DETACHED",
          absl::StrCat("somebody detached the XDP program from ", item.config.device, "; ",
                       attached.ok() ? "it is attached again" : Sentence(attached)));
    }
    item.trouble = attached.ok() ? "" : Sentence(attached);
  }
  if (item.trouble == before) return;
  if (!item.trouble.empty()) {
    observer_.Happened(Severity::kAlarm, NameOf(item), "PROGRAM_REPLACED", item.trouble);
  } else {
    observer_.Happened(Severity::kInfo, NameOf(item), "PROGRAM_ATTACHED",
                       absl::StrCat("vmqd's XDP program is on ", item.config.device, " again"));
  }
  observer_.Changed(NameOf(item));
}

// A device that goes and comes back may do so between two looks, but its sockets are dead then.
void Fabric::LookAtSockets(Uplink& uplink) {
  const std::vector<QueueRuntime>& queues = uplink.runtime->queues();
  const bool all = std::all_of(queues.begin(), queues.end(),
                               [](const QueueRuntime& queue) { return queue.socket->Bound(); });
  if (all) return;
  Suspend(uplink, Severity::kAlarm, "DEVICE_GONE",
          absl::StrCat("device ", uplink.runtime->link().name,
                       " was gone for a moment, and its sockets with it: opened again"));
}

void Fabric::LookAtQueues(Uplink& uplink) {
  UplinkRuntime& runtime = *uplink.runtime;
  const auto link = FindLink(runtime.link().ifindex);
  if (!link.ok()) return;
  const uint32_t serves = static_cast<uint32_t>(runtime.queues().size());
  const uint32_t wanted =
      uplink.config.queues != 0 ? serves : std::min<uint32_t>(link->queues, VMQD_MAX_QUEUES);
  if (wanted == serves && link->queues >= serves) return;
  Suspend(uplink, Severity::kWarning, "QUEUES_CHANGED",
          absl::StrCat(runtime.link().name, " has ", link->queues, " queues now, ", serves,
                       " were served: opened again"));
  Resume();
}

void Fabric::Tick(double seconds) {
  bool waits = false;
  for (auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) {
      waits = true;
      continue;
    }
    uplink.runtime->Sample(seconds);
    LookAt(uplink);  // an event may have been lost
    if (uplink.runtime != nullptr) LookAtSockets(uplink);
    if (uplink.runtime != nullptr) LookAtProgramOf(uplink);
    if (uplink.runtime != nullptr) LookAtQueues(uplink);
    if (uplink.runtime != nullptr) LookAtSteering(uplink, /*closely=*/false);
    if (uplink.runtime != nullptr && uplink.runtime->LookAtBusyPoll()) {
      observer_.Changed(NameOf(uplink));
    }
    waits = waits || uplink.runtime == nullptr;
  }
  for (auto& [id, port] : ports_) {
    if (port.runtime == nullptr) {
      waits = true;
      continue;
    }
    port.runtime->Sample(seconds);
    if (port.config.kind == PortKind::kNetdev || !HasDevice(port.config.kind)) LookAt(port);
    if (port.runtime != nullptr) LookAtProgramOf(port);
  }
  if (waits) Resume();
  const Time now = std::chrono::steady_clock::now();
  SampleLoads(now);
  KeepBalance(now);
}

bool Fabric::WorkersAdvance() {
  bool all = true;
  std::map<const Worker*, uint64_t> now;
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    for (const QueueRuntime& queue : uplink.runtime->queues()) {
      const Worker* worker = queue.worker.get();
      const uint64_t turns = worker->lane().counters.turns.Get();
      const auto before = turns_.find(worker);
      if (before != turns_.end() && before->second == turns) all = false;
      now[worker] = turns;
      queue.worker->doorbell().Ring();
    }
  }
  turns_ = std::move(now);
  return all;
}

}  // namespace vmqd

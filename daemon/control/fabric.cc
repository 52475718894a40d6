// Opening and closing. What happens by itself is in fabric_heal.cc, reading in fabric_status.cc.
#include "daemon/control/fabric.h"

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/control/checks.h"
#include "daemon/control/error.h"
#include "daemon/control/topology_builder.h"
#include "daemon/control/uplink_queues.h"
#include "daemon/net/ethernet.h"
#include "daemon/xdp/affinity.h"

namespace vmqd {

std::string NameOf(const Fabric::Uplink& uplink) {
  return absl::StrCat("uplinks/", uplink.config.id);
}
std::string NameOf(const Fabric::Port& port) { return absl::StrCat("ports/", port.config.id); }

Fabric::Fabric(Options options, FabricObserver& observer)
    : options_(std::move(options)), observer_(observer) {
  UseProcessors(options_.processors);
}

absl::StatusOr<std::unique_ptr<Fabric>> Fabric::Create(Options options, FabricObserver& observer) {
  std::unique_ptr<Fabric> fabric(new Fabric(std::move(options), observer));
  auto program = PortProgram::Load();
  if (!program.ok()) return program.status();
  fabric->program_ = *std::move(program);
  return fabric;
}

Fabric::~Fabric() {
  std::vector<Port*> all;
  for (auto& [id, port] : ports_) all.push_back(&port);
  ClosePorts(all);
  ports_.clear();
  uplinks_.clear();
}

// As ClosePort, for many at once, whose devices stay: each close waits for the kernel several
// times, and those of different queues can wait side by side. (Those of one queue share a umem,
// which libxdp does not lock.)
void Fabric::ClosePorts(const std::vector<Port*>& ports) {
  struct Leaving {
    Port* port;
    std::unique_ptr<PortRuntime> runtime;
  };
  std::map<std::pair<UplinkRuntime*, uint32_t>, std::vector<Leaving>> by_queue;
  std::set<UplinkRuntime*> uplinks;
  std::vector<PortPlace> freed;
  bool several = false;
  for (Port* port : ports) {
    if (port->runtime == nullptr) continue;
    port->runtime->Disconnect(/*hold=*/true);
    UplinkRuntime* uplink = &port->runtime->uplink();
    uplinks.insert(uplink);
    freed.push_back(port->runtime->place());
    several = several || freed.back().pairs > 1 ||
              port->runtime->memory_queue() != freed.back().placement.queue;
  }
  for (Port* port : ports) {
    if (port->runtime == nullptr) continue;
    // A port with several pairs, or one that was moved, has sockets on several queues.
    const uint32_t queue = several ? 0 : port->runtime->place().placement.queue;
    by_queue[{&port->runtime->uplink(), queue}].push_back({port, std::move(port->runtime)});
  }
  for (UplinkRuntime* uplink : uplinks) Publish(*uplink);
  std::vector<std::thread> closers;
  for (auto& [queue, leaving] : by_queue) {
    closers.emplace_back([&leaving] {
      for (Leaving& item : leaving) {
        item.port->kept += item.runtime->Close();
        item.runtime.reset();
      }
    });
  }
  for (std::thread& closer : closers) closer.join();
  for (const PortPlace& place : freed) GivePlace(place);
}

void Fabric::GivePlace(const PortPlace& place) {
  slots_.Give(place.slot, place.pairs);
  if (place.vm_slot != place.slot) slots_.Give(place.vm_slot, 1);
  sockets_.Give(place.first_socket, place.sockets);
}

// --- uplinks ---

// All but the program: maps and sockets come first.
absl::Status Fabric::OpenUplink(Uplink& uplink) {
  const UplinkConfig& config = uplink.config;
  auto link = FindLink(config.device);
  if (!link.ok()) {
    return absl::IsNotFound(link.status())
               ? absl::NotFoundError(
                     absl::StrCat("there is no network device '", config.device, "'"))
               : link.status();
  }
  DeviceSettings settings(options_.site.ledger);
  const auto queues = ArrangeQueues(config, *link, options_.site.ledger, settings);
  if (!queues.ok()) {
    if (uplink.left) settings.LeaveForProgram();
    return queues.status();
  }
  link = FindLink(link->ifindex);  // with the queues, and the carrier, that it has now
  if (!link.ok()) return link.status();
  auto runtime = UplinkRuntime::Open(config, *link, DealCpus(config, *queues, link->numa_node),
                                     options_.site, std::move(settings), uplink.left.has_value());
  if (!runtime.ok()) return runtime.status();
  uplink.runtime = *std::move(runtime);
  return absl::OkStatus();
}

void Fabric::CloseUplink(Uplink& uplink, UplinkRuntime::ProgramThen then) {
  uplink.kept += uplink.runtime->Close(then);
  uplink.kept_misplaced += uplink.runtime->Misplaced();
  uplink.kept_to_host += uplink.runtime->to_host_at_close();
  if (auto left = uplink.runtime->TakeLeftProgram()) uplink.left = *std::move(left);
  uplink.kept_replicated += uplink.runtime->Replicated();
  for (const QueueRuntime& queue : uplink.runtime->queues()) turns_.erase(queue.worker.get());
  uplink.runtime.reset();
}

absl::Status Fabric::AddUplink(const UplinkConfig& config) {
  Uplink added{.config = config};
  if (absl::Status status = OpenUplink(added); !status.ok()) return status;
  if (absl::Status status = added.runtime->Attach(); !status.ok()) return status;
  Uplink& uplink = uplinks_.emplace(config.id, std::move(added)).first->second;
  UpdateWakeModes();
  uplink.runtime->LookAtBusyPoll();
  LookAt(uplink);  // its state may have changed between the first look and now
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Fabric::QueuesFor(const UplinkConfig& config) const {
  const auto link = FindLink(config.device);
  if (!link.ok()) return link.status();
  return vmqd::QueuesFor(config, *link, options_.site.ledger);
}

absl::Status Fabric::UpdateUplink(const UplinkConfig& config) {
  Uplink& uplink = uplinks_.find(config.id)->second;
  uplink.not_before = {};  // where it waits, for other queues perhaps
  if (uplink.runtime != nullptr && config.queues != uplink.config.queues) {
    const auto queues = QueuesFor(config);
    if (!queues.ok()) return queues.status();
    if (*queues != uplink.runtime->queues().size()) {
      if (absl::Status status = SetQueues(uplink, config); !status.ok()) return status;
    }
  }
  if (uplink.runtime != nullptr) {
    if (absl::Status status = ObeyPins(uplink, config); !status.ok()) return status;
  }
  uplink.config = config;
  if (uplink.runtime != nullptr) {
    uplink.runtime->SetWishes(config);
    uplink.runtime->LookAtBusyPoll();
  }
  UpdateWakeModes();
  return absl::OkStatus();
}

// The kernel takes no queue away that has a socket: so the uplink is closed, behind its program,
// and opened again with the others.
absl::Status Fabric::SetQueues(Uplink& uplink, const UplinkConfig& config) {
  const auto began = std::chrono::steady_clock::now();
  const size_t before = uplink.runtime->queues().size();
  Halt(uplink, "it is given other queues");
  const UplinkConfig former = std::exchange(uplink.config, config);
  if (absl::Status status = Reopen(uplink); !status.ok()) {
    uplink.config = former;
    Reopen(uplink).IgnoreError();  // else it waits, and is tried every second
    return status;
  }
  const std::chrono::duration<double, std::milli> gap = std::chrono::steady_clock::now() - began;
  observer_.Happened(
      Severity::kInfo, NameOf(uplink), "QUEUES_SET",
      absl::StrFormat("%s has %d queues now, %d before; its frames were not taken for %.0f ms",
                      NameOf(uplink), uplink.runtime->queues().size(), before, gap.count()));
  return absl::OkStatus();
}

void Fabric::RemoveUplink(std::string_view id) {
  const auto found = uplinks_.find(id);
  if (found->second.runtime != nullptr) {
    CloseUplink(found->second, UplinkRuntime::ProgramThen::kDetach);
  } else if (const std::string pin = options_.site.PinOf("uplink", found->first); !pin.empty()) {
    // The next sweep would try again.
    RemovePin(pin).IgnoreError();
  }
  CountLeft(found->second);
  retired_ += found->second.kept;
  retired_replicated_ += found->second.kept_replicated;
  uplinks_.erase(found);
  UpdateWakeModes();
}

// A worker that shares its CPU with another must not spin.
void Fabric::UpdateWakeModes() {
  std::map<int, int> workers_on_cpu = WorkersOnCpus();
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink.runtime == nullptr) continue;
    const std::vector<QueueRuntime>& queues = uplink.runtime->queues();
    for (uint32_t i = 0; i < queues.size(); ++i) {
      uplink.runtime->SetWakeMode(i, workers_on_cpu[queues[i].worker->cpu()] > 1);
    }
  }
}

// --- ports ---

Placement Fabric::PlaceOn(const UplinkRuntime& uplink, const PortConfig& config) {
  std::vector<uint32_t> ports_at_home;
  for (const QueueRuntime& queue : uplink.queues()) ports_at_home.push_back(queue.ports);
  return Place({config.weight, config.queue}, ports_at_home);
}

absl::Status Fabric::OpenPort(Port& port) {
  PortConfig config = port.config;
  if (!HasDevice(config.kind)) {
    if (absl::Status status = CheckVhost(); !status.ok()) return status;
  }
  UplinkRuntime& uplink = *uplinks_.find(config.uplink)->second.runtime;
  if (config.queue && *config.queue >= uplink.queues().size()) {
    return absl::FailedPreconditionError(absl::StrCat("queue ", *config.queue, " of uplinks/",
                                                      config.uplink, " is not there any more"));
  }
  if (config.device.empty() && HasDevice(config.kind)) config.device = FreeKeptEnd();
  // Every pair has a queue, and so a worker, of its own.
  const uint32_t pairs =
      std::min(config.queue_pairs, static_cast<uint32_t>(uplink.queues().size()));
  // A netdev may have several receive queues, each with a socket of its own.
  uint32_t sockets = 1;
  if (config.kind == PortKind::kNetdev) {
    if (auto link = FindLink(config.device); link.ok()) sockets = link->queues;
  }
  const std::optional<uint32_t> slot = slots_.Take(pairs);
  const std::optional<uint32_t> first_socket = sockets_.Take(sockets);
  if (!slot || !first_socket) {
    if (slot) slots_.Give(*slot, pairs);
    return Refuse(absl::StatusCode::kResourceExhausted, "TOO_MANY_PORTS", "",
                  absl::StrCat("the switch has room for ", static_cast<int>(VMQD_MAX_PORTS),
                               " ports; delete some"));
  }
  const PortPlace place{.serial = next_serial_++,
                        .slot = *slot,
                        .vm_slot = *slot,
                        .pairs = pairs,
                        .first_socket = *first_socket,
                        .sockets = sockets,
                        .placement = PlaceOn(uplink, config)};
  auto runtime = PortRuntime::Open(config, place, uplink, *program_, options_.site);
  if (runtime.ok()) {
    port.runtime = *std::move(runtime);
    port.config = port.runtime->config();
    return absl::OkStatus();
  }
  GivePlace(place);
  return runtime.status();
}

absl::Status Fabric::CheckVhost() const {
  if (options_.site.vhost != nullptr) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition, "NO_VHOST_USER", "port.kind",
                absl::StrCat("this vmqd serves no vhost-user ports: ", options_.site.vhost_reason));
}

// A name for the kept end of a pair: one that is neither a device nor meant for one that waits.
std::string Fabric::FreeKeptEnd() const {
  std::set<std::string> taken;
  for (const auto& [id, port] : ports_) taken.insert(port.config.device);
  std::string name;
  for (uint32_t n = 0; n <= VMQD_MAX_PORTS; ++n) {
    name = absl::StrCat("vmqdp", n);
    if (!taken.contains(name) && !FindLink(name).ok()) break;
  }
  return name;  // one that is taken after all is refused when it is made
}

absl::Status Fabric::AddPort(const PortConfig& config) {
  Port& port = ports_.emplace(config.id, Port{.config = config}).first->second;
  absl::Status status = OpenPort(port);
  if (status.ok()) status = CheckFilters(*this, port.config);  // a peer's own address came in
  if (status.ok()) {
    Publish(port.runtime->uplink());
    status = Connect(port);
  }
  if (status.ok()) return status;
  if (port.runtime != nullptr) ClosePort(port, /*keep_device=*/false);
  retired_ += port.kept;
  ports_.erase(config.id);
  return status;
}

// After the workers know of it, so that somebody serves the sockets when frames begin to come.
absl::Status Fabric::Connect(Port& port) {
  absl::Status status = port.runtime->Connect();
  if (status.ok()) LookAt(port);
  return status;
}

void Fabric::Publish(UplinkRuntime& uplink) {
  PublishMove(uplink, nullptr, nullptr);
  Steer(uplink);  // workers know the ports: frames may come by any queue
}

// With the move of a port, or one that came before and whose socket may be opened.
void Fabric::PublishMove(UplinkRuntime& uplink, std::unique_ptr<PortMove> move,
                         const PortRuntime* opened) {
  TopologyBuilder builder(uplink.NextSequence(), uplink.queues().size());
  builder.SetUplink(uplink.link().mtu + kEthHeaderLen, uplink.link_up());
  for (auto& [id, port] : ports_) {
    if (port.runtime != nullptr && &port.runtime->uplink() == &uplink) {
      builder.Add(port.runtime->Entry());
    }
  }
  if (move != nullptr) builder.SetMove(std::move(move));
  if (opened != nullptr) {
    builder.SetOpened(opened->place().placement.queue, *opened->turn_state());
  }
  uplink.Publish(std::move(builder).Build());
}

void Fabric::Steer(UplinkRuntime& uplink) {
  NicRules rules;
  for (auto& [id, port] : ports_) {
    if (port.runtime == nullptr || &port.runtime->uplink() != &uplink) continue;
    for (const NicFilter& filter : port.runtime->NicFilters()) {
      rules[filter] = port.runtime->HomeQueues();
    }
  }
  uplink.Steer(std::move(rules));
}

// Filters, then topology, then what the port holds: nobody is left who could use what goes.
void Fabric::ClosePort(Port& port, bool keep_device) {
  std::unique_ptr<PortRuntime> runtime = std::move(port.runtime);
  runtime->Disconnect(/*hold=*/keep_device);
  Publish(runtime->uplink());
  port.kept += runtime->Close();
  const PortPlace place = runtime->place();
  if (!keep_device) runtime->DeleteDevice();
  runtime.reset();
  GivePlace(place);
}

// Where a running port is to be from now on, with its new wishes: nowhere else, unless they say so.
Placement Fabric::PlaceAgain(const Port& port, const PortConfig& wanted) const {
  const Placement& now = port.runtime->place().placement;
  const bool out_of_default = port.config.weight == 0 && wanted.weight > 0;
  if (wanted.weight > 0 && !wanted.queue && !out_of_default) return now;
  if (port.runtime->place().pairs > 1 && wanted.queue == port.config.queue) return now;
  return PlaceOn(port.runtime->uplink(), wanted);
}

absl::Status Fabric::UpdatePort(const PortConfig& config) {
  Port& port = ports_.find(config.id)->second;
  if (port.runtime != nullptr) {
    const Placement before = port.runtime->place().placement;
    if (absl::Status status = MovePort(port, PlaceAgain(port, config)); !status.ok()) return status;
    if (absl::Status status = port.runtime->Reconfigure(config); !status.ok()) {
      MovePort(port, before).IgnoreError();  // it was there a moment ago
      return status;
    }
    port.config = config;
    Publish(port.runtime->uplink());
    return absl::OkStatus();
  }
  HoldOrLetGo(port, /*hold=*/false);
  port.config = config;
  HoldOrLetGo(port, /*hold=*/true);
  return absl::OkStatus();
}

// Null when there is none on the device, or it is an earlier daemon's.
UplinkProgram* Fabric::ProgramOf(Uplink& uplink) {
  if (uplink.runtime != nullptr) return &uplink.runtime->program();
  return uplink.left ? uplink.left->program.get() : nullptr;
}

// The frames of a port that waits are nobody's, but not the host's either.
void Fabric::HoldOrLetGo(const Port& port, bool hold) {
  UplinkProgram* program = ProgramOf(uplinks_.find(port.config.uplink)->second);
  if (program == nullptr) return;
  if (hold) {
    program->Hold(port.config.macs, port.config.vlan);
  } else {
    program->LetGo(port.config.macs, port.config.vlan);
  }
}

void Fabric::RemovePort(std::string_view id) {
  const auto found = ports_.find(id);
  if (found->second.runtime != nullptr) {
    ClosePort(found->second, /*keep_device=*/false);
  } else {
    HoldOrLetGo(found->second, /*hold=*/false);
    DeleteMadeDevice(found->second.config, options_.site);
  }
  retired_ += found->second.kept;
  ports_.erase(found);
}

}  // namespace vmqd

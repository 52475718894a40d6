#include "daemon/control/switch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <set>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/control/error.h"
#include "daemon/control/port_runtime.h"
#include "daemon/control/slots.h"
#include "daemon/control/topology_builder.h"
#include "daemon/control/uplink_runtime.h"
#include "daemon/datapath/mutex.h"
#include "daemon/net/ethernet.h"
#include "daemon/vmq/placement.h"
#include "daemon/xdp/link.h"

namespace vmqd {
namespace {

constexpr std::chrono::seconds kSampleEvery{1};

using UplinkMap = std::map<std::string, std::unique_ptr<UplinkRuntime>, std::less<>>;
using PortMap = std::map<std::string, std::unique_ptr<PortRuntime>, std::less<>>;

absl::Status NotFound(absl::string_view collection, const std::string& id, absl::string_view hint,
                      std::string_view field = "name") {
  return Refuse(absl::StatusCode::kNotFound, "NOT_FOUND", field,
                absl::StrCat("there is no ", collection, "/", id, "; ", hint));
}

// Gives an error of the environment, which has no field, the field of the request it came from.
absl::Status AtField(const absl::Status& status, std::string_view reason, std::string_view field) {
  if (RefusalOf(status).reason != "UNKNOWN") return status;
  return Refuse(status.code(), reason, field, std::string(status.message()));
}

const absl::Status& StatusIn(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusIn(const absl::StatusOr<T>& result) {
  return result.status();
}

// One line for every change that was asked for, done or refused.
template <typename Result>
Result Logged(absl::string_view change, std::string_view id, Result result) {
  const absl::Status& status = StatusIn(result);
  if (status.ok()) {
    spdlog::info("{} {}: done", std::string(change), id);
  } else {
    spdlog::warn("{} {}: refused: {}", std::string(change), id, std::string(status.message()));
  }
  return result;
}

void LogLink(absl::string_view collection, const std::string& id, const std::atomic<bool>& up,
             bool was_up) {
  if (up.load() == was_up) return;
  spdlog::info("{}/{}: link {}", std::string(collection), id, was_up ? "down" : "up");
}

}  // namespace

class Switch::Impl {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)), started_(std::chrono::steady_clock::now()) {}
  ~Impl();
  absl::Status Start();

  absl::StatusOr<UplinkStatus> AddUplink(const UplinkConfig& config) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status DeleteUplink(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<UplinkStatus> GetUplink(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<UplinkStatus> ListUplinks() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<PortStatus> AddPort(const PortConfig& config) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<PortStatus> UpdatePort(std::string_view id, const PortPatch& patch)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status DeletePort(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<PortStatus> GetPort(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<PortStatus> ListPorts() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<QueueStatus>> ListQueues(const std::optional<std::string>& uplink)
      ABSL_LOCKS_EXCLUDED(mutex_);
  SwitchStatus Show() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<Link> CheckUplink(const UplinkConfig& config)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<UplinkRuntime*> UplinkOf(const PortConfig& config)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckPort(const PortConfig& config, const UplinkRuntime& uplink)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckDevice(const PortConfig& config) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckFilters(const PortConfig& config, const UplinkRuntime& uplink)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckMtu(const PortConfig& config, const UplinkRuntime& uplink)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Connect(PortRuntime& port, UplinkRuntime& uplink)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Publish(UplinkRuntime& uplink) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseAllPorts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(PortMap::iterator port) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateWakeModes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<int> DealCpus(uint32_t queues) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  QueueStatus StatusOfQueue(const UplinkRuntime& uplink, uint32_t queue)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnLink(const LinkMonitor::Event& event) ABSL_LOCKS_EXCLUDED(mutex_);
  void LookAt(int ifindex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SampleLoop() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const std::chrono::steady_clock::time_point started_;
  std::unique_ptr<PortProgram> program_;
  Mutex mutex_;
  std::condition_variable_any stop_;  // with stopping_
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  UplinkMap uplinks_ ABSL_GUARDED_BY(mutex_);
  PortMap ports_ ABSL_GUARDED_BY(mutex_);  // after uplinks_: ports go first
  Slots slots_ ABSL_GUARDED_BY(mutex_){VMQD_MAX_PORTS};
  Slots sockets_ ABSL_GUARDED_BY(mutex_){4 * VMQD_MAX_PORTS};
  uint64_t next_serial_ ABSL_GUARDED_BY(mutex_) = 1;
  Counters retired_ ABSL_GUARDED_BY(mutex_);  // of ports and uplinks that are gone
  uint64_t retired_replicated_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<LinkMonitor> monitor_;
  std::thread sampler_;
};

absl::Status Switch::Impl::Start() {
  auto program = PortProgram::Load();
  if (!program.ok()) return program.status();
  program_ = *std::move(program);
  auto monitor = LinkMonitor::Start([this](const LinkMonitor::Event& event) { OnLink(event); });
  if (!monitor.ok()) return monitor.status();
  monitor_ = *std::move(monitor);
  sampler_ = std::thread([this] { SampleLoop(); });
  return absl::OkStatus();
}

Switch::Impl::~Impl() {
  monitor_.reset();
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (sampler_.joinable()) sampler_.join();
  MutexLock lock(mutex_);
  CloseAllPorts();
  uplinks_.clear();
}

// As Remove, for all ports at once: each close waits for the kernel several times, and those of
// different queues can wait side by side. (Those of one queue share a umem, which libxdp does not
// lock.)
void Switch::Impl::CloseAllPorts() {
  std::map<std::pair<UplinkRuntime*, uint32_t>, std::vector<std::unique_ptr<PortRuntime>>> by_queue;
  for (auto& [id, port] : ports_) {
    port->Disconnect();
    UplinkRuntime* uplink = &port->uplink();
    by_queue[{uplink, port->place().placement.queue}].push_back(std::move(port));
  }
  ports_.clear();
  for (const auto& [id, uplink] : uplinks_) Publish(*uplink);
  std::vector<std::thread> closers;
  for (auto& [queue, ports] : by_queue) closers.emplace_back([&ports] { ports.clear(); });
  for (std::thread& closer : closers) closer.join();
}

// --- uplinks ---

absl::StatusOr<Link> Switch::Impl::CheckUplink(const UplinkConfig& config) {
  if (uplinks_.contains(config.id)) {
    return Refuse(absl::StatusCode::kAlreadyExists, "UPLINK_EXISTS", "uplink_id",
                  absl::StrCat("uplinks/", config.id, " exists already"));
  }
  auto link = FindLink(config.device);
  if (!link.ok()) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "NO_SUCH_DEVICE", "uplink.device",
                  absl::StrCat("there is no network device '", config.device,
                               "' in vmqd's network namespace; 'ip link' lists them"));
  }
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink->link().ifindex != link->ifindex) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_IN_USE", "uplink.device",
                  absl::StrCat(config.device, " is uplinks/", id, " already"));
  }
  for (const auto& [id, port] : ports_) {
    if (port->link().ifindex != link->ifindex) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_IN_USE", "uplink.device",
                  absl::StrCat(config.device, " is the device of ports/", id));
  }
  if (config.queues > link->queues) {
    return Refuse(
        absl::StatusCode::kFailedPrecondition, "QUEUE_OUT_OF_RANGE", "uplink.queues",
        absl::StrCat(config.queues, " queues asked for, ", config.device, " has ", link->queues,
                     "; ethtool -L ", config.device, " combined ", config.queues));
  }
  return link;
}

std::vector<int> Switch::Impl::DealCpus(uint32_t queues) {
  size_t dealt = 0;
  for (const auto& [id, uplink] : uplinks_) dealt += uplink->queues().size();
  std::vector<int> cpus;
  for (uint32_t i = 0; i < queues; ++i) cpus.push_back(options_.processors.CpuFor(dealt + i));
  return cpus;
}

absl::StatusOr<UplinkStatus> Switch::Impl::AddUplink(const UplinkConfig& config) {
  MutexLock lock(mutex_);
  auto link = CheckUplink(config);
  if (!link.ok()) return link.status();
  const uint32_t queues =
      config.queues != 0 ? config.queues : std::min<uint32_t>(link->queues, VMQD_MAX_QUEUES);
  auto uplink = UplinkRuntime::Open(config, *link, DealCpus(queues));
  if (!uplink.ok()) return AtField(uplink.status(), "DEVICE", "uplink.device");
  const UplinkRuntime& added = *uplinks_.emplace(config.id, *std::move(uplink)).first->second;
  UpdateWakeModes();
  LookAt(added.link().ifindex);  // its state may have changed between the first look and now
  return added.Status();
}

// A worker that shares its CPU with another must not spin.
void Switch::Impl::UpdateWakeModes() {
  std::map<int, int> workers_on_cpu;
  for (const auto& [id, uplink] : uplinks_) {
    for (const QueueRuntime& queue : uplink->queues()) ++workers_on_cpu[queue.worker->cpu()];
  }
  for (const auto& [id, uplink] : uplinks_) {
    for (uint32_t i = 0; i < uplink->queues().size(); ++i) {
      uplink->SetWakeMode(i, workers_on_cpu[uplink->queues()[i].worker->cpu()] > 1);
    }
  }
}

absl::Status Switch::Impl::DeleteUplink(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = uplinks_.find(id);
  if (found == uplinks_.end())
    return NotFound("uplinks", std::string(id), "'vmqd-cli uplink list' lists them");
  std::vector<std::string> users;
  for (const auto& [port_id, port] : ports_) {
    if (&port->uplink() == found->second.get()) users.push_back(port_id);
  }
  if (!users.empty()) {
    const size_t shown = std::min<size_t>(users.size(), 5);
    return Refuse(absl::StatusCode::kFailedPrecondition, "UPLINK_IN_USE", "name",
                  absl::StrCat("uplinks/", found->first, " has ", users.size(), " ports (",
                               absl::StrJoin(users.begin(),
                                             users.begin() + static_cast<ptrdiff_t>(shown), ", "),
                               shown < users.size() ? ", ..." : "", "); delete them first"));
  }
  retired_ += found->second->Close();
  retired_replicated_ += found->second->Replicated();
  uplinks_.erase(found);
  UpdateWakeModes();
  return absl::OkStatus();
}

absl::StatusOr<UplinkStatus> Switch::Impl::GetUplink(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = uplinks_.find(id);
  if (found == uplinks_.end())
    return NotFound("uplinks", std::string(id), "'vmqd-cli uplink list' lists them");
  return found->second->Status();
}

std::vector<UplinkStatus> Switch::Impl::ListUplinks() {
  MutexLock lock(mutex_);
  std::vector<UplinkStatus> list;
  for (const auto& [id, uplink] : uplinks_) list.push_back(uplink->Status());
  return list;
}

// --- ports ---

absl::StatusOr<UplinkRuntime*> Switch::Impl::UplinkOf(const PortConfig& config) {
  if (!config.uplink.empty()) {
    const auto found = uplinks_.find(config.uplink);
    if (found != uplinks_.end()) return found->second.get();
    return Refuse(
        absl::StatusCode::kFailedPrecondition, "NO_SUCH_UPLINK", "port.uplink",
        absl::StrCat("there is no uplinks/", config.uplink, "; 'vmqd-cli uplink list' lists them"));
  }
  if (uplinks_.size() == 1) return uplinks_.begin()->second.get();
  return Refuse(absl::StatusCode::kFailedPrecondition, "NO_SUCH_UPLINK", "port.uplink",
                uplinks_.empty()
                    ? "the switch has no uplink; add one first: vmqd-cli uplink add DEVICE"
                    : "the switch has several uplinks; say which one");
}

absl::Status Switch::Impl::CheckDevice(const PortConfig& config) {
  if (config.kind != PortKind::kNetdev) return absl::OkStatus();
  auto link = FindLink(config.device);
  if (!link.ok()) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "NO_SUCH_DEVICE", "port.device",
                  absl::StrCat("there is no network device '", config.device,
                               "' in vmqd's network namespace; 'ip link' lists them"));
  }
  for (const auto& [id, port] : ports_) {
    if (port->link().ifindex != link->ifindex) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_IN_USE", "port.device",
                  absl::StrCat(config.device, " is the device of ports/", id, " already"));
  }
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink->link().ifindex != link->ifindex) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_IN_USE", "port.device",
                  absl::StrCat(config.device, " is uplinks/", id));
  }
  return AtField(CheckNoProgram(link->ifindex, link->name), "FOREIGN_XDP_PROGRAM", "port.device");
}

absl::Status Switch::Impl::CheckFilters(const PortConfig& config, const UplinkRuntime& uplink) {
  for (size_t i = 0; i < config.macs.size(); ++i) {
    const MacAddress& mac = config.macs[i];
    const std::string field = absl::StrCat("port.macs[", i, "]");
    if (mac == uplink.link().mac) {
      return Refuse(absl::StatusCode::kAlreadyExists, "MAC_IN_USE", field,
                    absl::StrCat(mac.ToString(), " is the address of ", uplink.link().name,
                                 " itself, which the host keeps"));
    }
    for (const auto& [id, port] : ports_) {
      if (id == config.id || &port->uplink() != &uplink || port->config().vlan != config.vlan) {
        continue;
      }
      if (std::find(port->macs().begin(), port->macs().end(), mac) == port->macs().end()) continue;
      return Refuse(absl::StatusCode::kAlreadyExists, "MAC_IN_USE", field,
                    absl::StrCat(mac.ToString(), " on VLAN ", config.vlan, " is ports/", id,
                                 "'s; use another address, or take it from that port first"));
    }
  }
  return absl::OkStatus();
}

absl::Status Switch::Impl::CheckMtu(const PortConfig& config, const UplinkRuntime& uplink) {
  const uint32_t most = uplink.queues()[0].area->max_frame_len() - kEthHeaderLen - kVlanTagLen;
  if (config.mtu <= most) return absl::OkStatus();
  return Refuse(
      absl::StatusCode::kInvalidArgument, "MTU_OUT_OF_RANGE", "port.mtu",
      absl::StrCat(config.mtu, " is more than ", most, ", the most that one buffer of uplinks/",
                   uplink.config().id, " holds"));
}

absl::Status Switch::Impl::CheckPort(const PortConfig& config, const UplinkRuntime& uplink) {
  if (config.queue && *config.queue >= uplink.queues().size()) {
    return Refuse(absl::StatusCode::kInvalidArgument, "QUEUE_OUT_OF_RANGE", "port.queue",
                  absl::StrCat("queue ", *config.queue, " asked for; uplinks/", uplink.config().id,
                               " has queues 0 to ", uplink.queues().size() - 1));
  }
  if (absl::Status status = CheckMtu(config, uplink); !status.ok()) return status;
  if (absl::Status status = CheckFilters(config, uplink); !status.ok()) return status;
  return CheckDevice(config);
}

absl::StatusOr<PortStatus> Switch::Impl::AddPort(const PortConfig& config) {
  MutexLock lock(mutex_);
  if (ports_.contains(config.id)) {
    return Refuse(absl::StatusCode::kAlreadyExists, "PORT_EXISTS", "port_id",
                  absl::StrCat("ports/", config.id, " exists already"));
  }
  auto uplink = UplinkOf(config);
  if (!uplink.ok()) return uplink.status();
  if (absl::Status status = CheckPort(config, **uplink); !status.ok()) return status;

  std::vector<uint32_t> ports_at_home;
  for (const QueueRuntime& queue : (*uplink)->queues()) ports_at_home.push_back(queue.ports);
  // A netdev may have several receive queues, each with a socket of its own.
  uint32_t sockets = 1;
  if (config.kind == PortKind::kNetdev) {
    if (auto link = FindLink(config.device); link.ok()) sockets = link->queues;
  }
  const std::optional<uint32_t> slot = slots_.Take(1);
  const std::optional<uint32_t> first_socket = sockets_.Take(sockets);
  if (!slot || !first_socket) {
    if (slot) slots_.Give(*slot, 1);
    return Refuse(absl::StatusCode::kResourceExhausted, "TOO_MANY_PORTS", "",
                  absl::StrCat("the switch has room for ", static_cast<int>(VMQD_MAX_PORTS),
                               " ports; delete some"));
  }
  const PortPlace place{next_serial_++, *slot, *first_socket,
                        Place({config.weight, config.queue}, ports_at_home)};
  auto port = PortRuntime::Open(config, place, **uplink, *program_);
  absl::Status status = port.status();
  if (status.ok()) status = CheckFilters((*port)->config(), **uplink);
  if (status.ok()) {
    const auto added = ports_.emplace(config.id, *std::move(port)).first;
    status = Connect(*added->second, **uplink);
    if (status.ok()) return added->second->Status();
    Remove(added);
    return AtField(status, "DEVICE", "port.device");
  }
  if (port.ok()) port->reset();
  slots_.Give(*slot, 1);
  sockets_.Give(*first_socket, sockets);
  return AtField(status, "DEVICE", "port.device");
}

// The workers first, so that somebody serves the sockets when frames begin to come.
absl::Status Switch::Impl::Connect(PortRuntime& port, UplinkRuntime& uplink) {
  Publish(uplink);
  absl::Status status = port.Connect();
  LookAt(port.link().ifindex);
  return status;
}

void Switch::Impl::Publish(UplinkRuntime& uplink) {
  TopologyBuilder builder(uplink.NextSequence(), uplink.queues().size());
  builder.SetUplink(uplink.link().mtu + kEthHeaderLen, uplink.link_up());
  for (const auto& [id, port] : ports_) {
    if (&port->uplink() == &uplink) builder.Add(port->Entry());
  }
  uplink.Publish(std::move(builder).Build());
}

// Filters, then topology, then what the port holds: nobody is left who could use what goes.
void Switch::Impl::Remove(PortMap::iterator found) {
  std::unique_ptr<PortRuntime> port = std::move(found->second);
  ports_.erase(found);
  port->Disconnect();
  Publish(port->uplink());
  retired_ += port->Close();
  const PortPlace place = port->place();
  const uint32_t sockets = port->socket_count();
  port.reset();
  slots_.Give(place.slot, 1);
  sockets_.Give(place.first_socket, sockets);
}

absl::StatusOr<PortStatus> Switch::Impl::UpdatePort(std::string_view id, const PortPatch& patch) {
  MutexLock lock(mutex_);
  const auto found = ports_.find(id);
  if (found == ports_.end())
    return NotFound("ports", std::string(id), "'vmqd-cli port list' lists them", "port.name");
  PortRuntime& port = *found->second;
  PortConfig wanted = port.config();
  if (patch.macs) wanted.macs = *patch.macs;
  if (patch.vlan) wanted.vlan = *patch.vlan;
  if (patch.weight) wanted.weight = *patch.weight;
  if (patch.trusted) wanted.trusted = *patch.trusted;
  if (patch.disabled) wanted.disabled = *patch.disabled;
  if (patch.mtu) wanted.mtu = *patch.mtu;
  if (absl::Status status = CheckMtu(wanted, port.uplink()); !status.ok()) return status;
  if (absl::Status status = CheckFilters(wanted, port.uplink()); !status.ok()) return status;
  if (absl::Status status = port.Reconfigure(wanted); !status.ok()) {
    return AtField(status, "DEVICE", "port");
  }
  Publish(port.uplink());
  return port.Status();
}

absl::Status Switch::Impl::DeletePort(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = ports_.find(id);
  if (found == ports_.end())
    return NotFound("ports", std::string(id), "'vmqd-cli port list' lists them");
  Remove(found);
  return absl::OkStatus();
}

absl::StatusOr<PortStatus> Switch::Impl::GetPort(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = ports_.find(id);
  if (found == ports_.end())
    return NotFound("ports", std::string(id), "'vmqd-cli port list' lists them");
  return found->second->Status();
}

std::vector<PortStatus> Switch::Impl::ListPorts() {
  MutexLock lock(mutex_);
  std::vector<PortStatus> list;
  for (const auto& [id, port] : ports_) list.push_back(port->Status());
  return list;
}

// --- queues and the whole ---

QueueStatus Switch::Impl::StatusOfQueue(const UplinkRuntime& uplink, uint32_t queue) {
  QueueStatus status = uplink.StatusOfQueue(queue);
  for (const auto& [id, port] : ports_) {
    if (&port->uplink() != &uplink || port->place().placement.queue != queue) continue;
    const PortStatus of_port = port->Status();
    for (const MacAddress& mac : port->macs()) {
      status.filters.push_back({id, mac, port->config().vlan});
    }
    status.drops += of_port.counters.InDiscards() + of_port.counters.OutDiscards();
    status.sockets.push_back(of_port.sockets.front());  // its VM socket is on this queue
    status.buffers_in_flight -= static_cast<int32_t>(port->BuffersHeld());
  }
  return status;
}

absl::StatusOr<std::vector<QueueStatus>> Switch::Impl::ListQueues(
    const std::optional<std::string>& wanted) {
  MutexLock lock(mutex_);
  if (wanted && !uplinks_.contains(*wanted)) {
    return NotFound("uplinks", *wanted, "'vmqd-cli uplink list' lists them", "parent");
  }
  std::vector<QueueStatus> list;
  for (const auto& [id, uplink] : uplinks_) {
    if (wanted && id != *wanted) continue;
    for (uint32_t queue = 0; queue < uplink->queues().size(); ++queue) {
      list.push_back(StatusOfQueue(*uplink, queue));
    }
  }
  return list;
}

SwitchStatus Switch::Impl::Show() {
  MutexLock lock(mutex_);
  SwitchStatus status;
  status.version = options_.version;
  status.processor_set = options_.processors.ToString();
  status.uplink_count = static_cast<uint32_t>(uplinks_.size());
  status.port_count = static_cast<uint32_t>(ports_.size());
  status.counters = retired_;
  status.replicated_pkts = retired_replicated_;
  for (const auto& [id, uplink] : uplinks_) {
    status.worker_count += static_cast<uint32_t>(uplink->queues().size());
    status.counters += uplink->Status().counters;
    status.replicated_pkts += uplink->Replicated();
  }
  for (const auto& [id, port] : ports_) status.counters += port->Status().counters;
  status.uptime_seconds = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_)
          .count());
  return status;
}

// --- what happens by itself ---

// An event only says where to look: by the time it is handled the device may be in another state.
void Switch::Impl::OnLink(const LinkMonitor::Event& event) {
  MutexLock lock(mutex_);
  std::set<int> devices;
  for (const auto& [id, uplink] : uplinks_) devices.insert(uplink->link().ifindex);
  for (const auto& [id, port] : ports_) devices.insert(port->link().ifindex);
  if (event.overrun) {
    for (int ifindex : devices) LookAt(ifindex);
  } else if (devices.contains(event.ifindex)) {
    LookAt(event.ifindex);
  }
}

void Switch::Impl::LookAt(int ifindex) {
  const absl::StatusOr<Link> link = FindLink(ifindex);
  if (!link.ok() && !absl::IsNotFound(link.status())) return;  // the next event will tell
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink->link().ifindex != ifindex) continue;
    const uint32_t mtu = uplink->link().mtu;
    const bool was_up = uplink->link_up().load();
    if (link.ok()) {
      uplink->OnLink(link->up, link->carrier, link->mtu);
    } else {
      uplink->OnRemoved();
    }
    if (uplink->link().mtu != mtu) Publish(*uplink);
    LogLink("uplinks", id, uplink->link_up(), was_up);
  }
  for (const auto& [id, port] : ports_) {
    if (port->link().ifindex != ifindex) continue;
    const bool was_up = port->link_up().load();
    if (link.ok()) {
      port->OnLink(link->up, link->carrier);
    } else {
      port->OnRemoved();
    }
    LogLink("ports", id, port->link_up(), was_up);
  }
}

void Switch::Impl::SampleLoop() {
  MutexLock lock(mutex_);
  auto last = std::chrono::steady_clock::now();
  while (!stopping_) {
    stop_.wait_for(mutex_, kSampleEvery);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last).count();
    if (seconds < 0.5) continue;  // woken to stop, or for nothing
    last = now;
    for (const auto& [id, uplink] : uplinks_) uplink->Sample(seconds);
    for (const auto& [id, port] : ports_) port->Sample(seconds);
  }
}

// --- the public face ---

Switch::Switch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Switch::~Switch() = default;

absl::StatusOr<std::unique_ptr<Switch>> Switch::Create(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Switch>(new Switch(std::move(impl)));
}

absl::StatusOr<UplinkStatus> Switch::AddUplink(const UplinkConfig& config) {
  return Logged("add uplink", config.id, impl_->AddUplink(config));
}
absl::Status Switch::DeleteUplink(std::string_view id) {
  return Logged("delete uplink", id, impl_->DeleteUplink(id));
}
absl::StatusOr<UplinkStatus> Switch::GetUplink(std::string_view id) const {
  return impl_->GetUplink(id);
}
std::vector<UplinkStatus> Switch::ListUplinks() const { return impl_->ListUplinks(); }

absl::StatusOr<PortStatus> Switch::AddPort(const PortConfig& config) {
  return Logged("add port", config.id, impl_->AddPort(config));
}
absl::StatusOr<PortStatus> Switch::UpdatePort(std::string_view id, const PortPatch& patch) {
  return Logged("update port", id, impl_->UpdatePort(id, patch));
}
absl::Status Switch::DeletePort(std::string_view id) {
  return Logged("delete port", id, impl_->DeletePort(id));
}
absl::StatusOr<PortStatus> Switch::GetPort(std::string_view id) const { return impl_->GetPort(id); }
std::vector<PortStatus> Switch::ListPorts() const { return impl_->ListPorts(); }

absl::StatusOr<QueueStatus> Switch::GetQueue(std::string_view uplink, uint32_t queue) const {
  auto queues = impl_->ListQueues(std::string(uplink));
  if (!queues.ok()) {
    return NotFound("uplinks", std::string(uplink), "'vmqd-cli uplink list' lists them");
  }
  if (queue < queues->size()) return (*queues)[queue];
  return Refuse(absl::StatusCode::kNotFound, "NOT_FOUND", "name",
                absl::StrCat("uplinks/", std::string(uplink), " has queues 0 to ",
                             queues->size() - 1, ", not ", queue));
}
absl::StatusOr<std::vector<QueueStatus>> Switch::ListQueues(
    const std::optional<std::string>& uplink) const {
  return impl_->ListQueues(uplink);
}

SwitchStatus Switch::Show() const { return impl_->Show(); }

}  // namespace vmqd

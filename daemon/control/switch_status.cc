// Calls that look.
#include "absl/strings/str_cat.h"
#include "daemon/control/checks.h"
#include "daemon/control/error.h"
#include "daemon/control/switch_impl.h"

namespace vmqd {

std::string EtagOf(uint64_t revision) { return absl::StrCat(absl::Hex(revision)); }

UplinkStatus Switch::Impl::StatusOf(const Fabric::Uplink& uplink) {
  UplinkStatus status = fabric_->StatusOf(uplink);
  const auto wanted = store_.state().uplinks.find(uplink.config.id);
  if (wanted != store_.state().uplinks.end()) status.etag = EtagOf(wanted->second.revision);
  return status;
}

PortStatus Switch::Impl::StatusOf(const Fabric::Port& port) {
  PortStatus status = fabric_->StatusOf(port);
  const auto wanted = store_.state().ports.find(port.config.id);
  if (wanted != store_.state().ports.end()) status.etag = EtagOf(wanted->second.revision);
  return status;
}

absl::StatusOr<UplinkStatus> Switch::Impl::GetUplink(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = fabric_->uplinks().find(id);
  if (found == fabric_->uplinks().end()) return NoSuchUplink(id, "name");
  return StatusOf(found->second);
}

std::vector<UplinkStatus> Switch::Impl::ListUplinks() {
  MutexLock lock(mutex_);
  std::vector<UplinkStatus> list;
  for (const auto& [id, uplink] : fabric_->uplinks()) list.push_back(StatusOf(uplink));
  return list;
}

absl::StatusOr<PortStatus> Switch::Impl::GetPort(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = fabric_->ports().find(id);
  if (found == fabric_->ports().end()) return NoSuchPort(id, "name");
  return StatusOf(found->second);
}

std::vector<PortStatus> Switch::Impl::ListPorts() {
  MutexLock lock(mutex_);
  std::vector<PortStatus> list;
  for (const auto& [id, port] : fabric_->ports()) list.push_back(StatusOf(port));
  return list;
}

absl::StatusOr<QueueStatus> Switch::Impl::GetQueue(const std::string& id, uint32_t queue) {
  MutexLock lock(mutex_);
  const auto found = fabric_->uplinks().find(id);
  if (found == fabric_->uplinks().end()) return NoSuchUplink(id, "name");
  const Fabric::Uplink& uplink = found->second;
  const size_t queues = uplink.runtime == nullptr ? 0 : uplink.runtime->queues().size();
  if (queue < queues) return fabric_->StatusOfQueue(uplink, queue);
  return Refuse(
      absl::StatusCode::kNotFound, "NOT_FOUND", "name",
      queues == 0 ? absl::StrCat("uplinks/", id, " does not run: ", uplink.trouble)
                  : absl::StrCat("uplinks/", id, " has queues 0 to ", queues - 1, ", not ", queue));
}

absl::StatusOr<std::vector<QueueStatus>> Switch::Impl::ListQueues(
    const std::optional<std::string>& wanted) {
  MutexLock lock(mutex_);
  if (wanted && !fabric_->uplinks().contains(*wanted)) return NoSuchUplink(*wanted, "parent");
  std::vector<QueueStatus> list;
  for (const auto& [id, uplink] : fabric_->uplinks()) {
    if ((wanted && id != *wanted) || uplink.runtime == nullptr) continue;
    for (uint32_t queue = 0; queue < uplink.runtime->queues().size(); ++queue) {
      list.push_back(fabric_->StatusOfQueue(uplink, queue));
    }
  }
  return list;
}

SwitchStatus Switch::Impl::Show() {
  MutexLock lock(mutex_);
  SwitchStatus status;
  status.version = options_.version;
  status.processor_set = fabric_->processors().ToString();
  status.uplink_count = static_cast<uint32_t>(fabric_->uplinks().size());
  status.port_count = static_cast<uint32_t>(fabric_->ports().size());
  status.worker_count = fabric_->WorkerCount();
  status.counters = fabric_->TotalCounters();
  status.replicated_pkts = fabric_->TotalReplicated();
  status.uptime_seconds = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_)
          .count());
  status.revision = revision_;
  status.state_revision = store_.state().revision;
  status.cpus = fabric_->StatusOfCpus();
  status.queue_moves = fabric_->balance().queue_moves();
  status.port_moves = fabric_->balance().port_moves();
  status.warnings = options_.warnings;
  if (!begin_trouble_.empty()) status.warnings.push_back(begin_trouble_);
  for (const auto& [id, uplink] : fabric_->uplinks()) {
    if (!uplink.trouble.empty()) status.warnings.push_back(NameOf(uplink) + ": " + uplink.trouble);
  }
  for (const auto& [id, port] : fabric_->ports()) {
    if (!port.trouble.empty()) status.warnings.push_back(NameOf(port) + ": " + port.trouble);
  }
  return status;
}

Switch::Snapshot Switch::Impl::Look() {
  MutexLock lock(mutex_);
  Snapshot snapshot{.revision = revision_};
  for (const auto& [id, uplink] : fabric_->uplinks()) snapshot.uplinks.push_back(StatusOf(uplink));
  for (const auto& [id, port] : fabric_->ports()) snapshot.ports.push_back(StatusOf(port));
  return snapshot;
}

bool Switch::Impl::WorkersAdvance() {
  MutexLock lock(mutex_);
  return fabric_->WorkersAdvance();
}

}  // namespace vmqd

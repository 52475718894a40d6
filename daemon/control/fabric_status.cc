// What Fabric reports.
#include "daemon/control/fabric.h"

namespace vmqd {

UplinkStatus Fabric::StatusOf(const Uplink& uplink) const {
  UplinkStatus status;
  if (uplink.runtime != nullptr) {
    status = uplink.runtime->Status();
    if (!uplink.trouble.empty()) status.oper = OperStatus::kFaulted;
  } else {
    status.steering = uplink.config.steering;
    status.wake_mode = uplink.config.wake_mode;
    status.xdp_mode = uplink.config.xdp_mode;
    status.oper = OperStatus::kWaiting;
  }
  if (!uplink.trouble.empty()) status.oper_reason = uplink.trouble;
  status.config = uplink.config;
  status.counters += uplink.kept;
  status.misplaced_pkts += uplink.kept_misplaced;
  status.to_host_pkts += uplink.kept_to_host;
  status.port_count = 0;
  for (const auto& [id, port] : ports_) {
    if (port.config.uplink == uplink.config.id) ++status.port_count;
  }
  return status;
}

PortStatus Fabric::StatusOf(const Port& port) const {
  PortStatus status;
  if (port.runtime != nullptr) {
    status = port.runtime->Status();
    if (!port.trouble.empty()) status.oper = OperStatus::kFaulted;
  } else {
    status.queue = port.config.queue.value_or(0);
    status.macs = port.config.macs;
    status.cpu = -1;
    status.oper = OperStatus::kWaiting;
  }
  if (!port.trouble.empty()) status.oper_reason = port.trouble;
  status.config = port.config;
  status.counters += port.kept;
  return status;
}

QueueStatus Fabric::StatusOfQueue(const Uplink& uplink, uint32_t queue) const {
  QueueStatus status = uplink.runtime->StatusOfQueue(queue);
  status.pinned = PinOf(uplink.config, queue).has_value();
  for (const auto& [id, port] : ports_) {
    if (port.runtime == nullptr || &port.runtime->uplink() != uplink.runtime.get()) continue;
    if (port.runtime->memory_queue() == queue) {
      status.buffers_in_flight -= static_cast<int32_t>(port.runtime->BuffersHeld());
    }
    if (port.runtime->place().placement.queue != queue) continue;
    const PortStatus of_port = port.runtime->Status();
    for (const MacAddress& mac : port.config.macs) {
      status.filters.push_back({id, mac, port.config.vlan});
    }
    status.drops += of_port.counters.InDiscards() + of_port.counters.OutDiscards();
    status.sockets.push_back(of_port.sockets.front());  // its VM socket is on this queue
  }
  return status;
}

Counters Fabric::TotalCounters() const {
  Counters total = retired_;
  for (const auto& [id, uplink] : uplinks_) total += StatusOf(uplink).counters;
  for (const auto& [id, port] : ports_) total += StatusOf(port).counters;
  return total;
}

uint64_t Fabric::TotalReplicated() const {
  uint64_t total = retired_replicated_;
  for (const auto& [id, uplink] : uplinks_) {
    total += uplink.kept_replicated;
    if (uplink.runtime != nullptr) total += uplink.runtime->Replicated();
  }
  return total;
}

uint32_t Fabric::WorkerCount() const {
  size_t workers = 0;
  for (const auto& [id, uplink] : uplinks_) {
    if (uplink.runtime != nullptr) workers += uplink.runtime->queues().size();
  }
  return static_cast<uint32_t>(workers);
}

}  // namespace vmqd

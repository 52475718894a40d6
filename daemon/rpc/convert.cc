// See convert.h. The enums are mapped by switches without default, so that the compiler names the
// place where a new value is missing.
#include "daemon/rpc/convert.h"

#include <chrono>

#include "daemon/rpc/name.h"

namespace vmqd::rpc {
namespace {

v1::XdpMode XdpModeOf(XdpMode mode) {
  switch (mode) {
    case XdpMode::kNative:
      return v1::NATIVE;
    case XdpMode::kGeneric:
      return v1::GENERIC;
    case XdpMode::kAuto:
      return v1::AUTO;
  }
  return v1::XDP_MODE_UNSPECIFIED;
}

v1::Steering SteeringOf(Steering steering) {
  switch (steering) {
    case Steering::kSoftware:
      return v1::SOFTWARE;
    case Steering::kExternal:
      return v1::EXTERNAL;
    case Steering::kHardware:
      return v1::HARDWARE;
  }
  return v1::STEERING_UNSPECIFIED;
}

v1::WakeMode WakeModeOf(WakeMode mode) {
  switch (mode) {
    case WakeMode::kAdaptive:
      return v1::ADAPTIVE;
    case WakeMode::kPoll:
      return v1::POLL;
    case WakeMode::kInterrupt:
      return v1::INTERRUPT;
  }
  return v1::WAKE_MODE_UNSPECIFIED;
}

v1::BalanceMode BalanceModeOf(BalanceMode mode) {
  switch (mode) {
    case BalanceMode::kDynamic:
      return v1::DYNAMIC;
    case BalanceMode::kManual:
      return v1::MANUAL;
    case BalanceMode::kStatic:
      return v1::STATIC;
  }
  return v1::BALANCE_MODE_UNSPECIFIED;
}

v1::PortKind PortKindOf(PortKind kind) {
  switch (kind) {
    case PortKind::kTap:
      return v1::TAP;
    case PortKind::kNetdev:
      return v1::NETDEV;
    case PortKind::kVeth:
      return v1::VETH;
    case PortKind::kHost:
      return v1::HOST;
    case PortKind::kVhostUser:
      return v1::VHOST_USER;
  }
  return v1::PORT_KIND_UNSPECIFIED;
}

v1::VhostRole VhostRoleOf(VhostRole role) {
  switch (role) {
    case VhostRole::kSwitchListens:
      return v1::SWITCH_LISTENS;
    case VhostRole::kVmmListens:
      return v1::VMM_LISTENS;
  }
  return v1::VHOST_ROLE_UNSPECIFIED;
}

v1::OperStatus OperStatusOf(OperStatus status) {
  switch (status) {
    case OperStatus::kUp:
      return v1::UP;
    case OperStatus::kDown:
      return v1::DOWN;
    case OperStatus::kFaulted:
      return v1::FAULTED;
    case OperStatus::kWaiting:
      return v1::WAITING;
  }
  return v1::OPER_STATUS_UNSPECIFIED;
}

v1::Severity SeverityOf(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return v1::INFO;
    case Severity::kWarning:
      return v1::WARNING;
    case Severity::kAlarm:
      return v1::ALARM;
  }
  return v1::SEVERITY_UNSPECIFIED;
}

void DropsToProto(const DropCounts& counts,
                  google::protobuf::RepeatedPtrField<v1::DropCount>* drops) {
  for (size_t reason = 0; reason < kDropReasonCount; ++reason) {
    if (counts[reason] == 0) continue;
    v1::DropCount* drop = drops->Add();
    drop->set_reason(std::string(DropReasonName(static_cast<DropReason>(reason))));
    drop->set_pkts(counts[reason]);
  }
}

void ToProto(const Counters& counters, v1::Counters* out) {
  out->set_in_pkts(counters.in_pkts);
  out->set_in_octets(counters.in_octets);
  out->set_in_forwarded_pkts(counters.in_forwarded_pkts);
  out->set_in_discards(counters.InDiscards());
  out->set_offered_pkts(counters.offered_pkts);
  out->set_out_pkts(counters.out_pkts);
  out->set_out_octets(counters.out_octets);
  out->set_out_discards(counters.OutDiscards());
  DropsToProto(counters.in_drops, out->mutable_in_drops());
  DropsToProto(counters.out_drops, out->mutable_out_drops());
}

void ToProto(const Rates& rates, v1::Rates* out) {
  out->set_in_pps(rates.in_pps);
  out->set_out_pps(rates.out_pps);
  out->set_in_bps(rates.in_bps);
  out->set_out_bps(rates.out_bps);
}

void ToProto(const Loads& loads, google::protobuf::RepeatedPtrField<v1::Load>* out) {
  for (size_t i = 0; i < loads.size(); ++i) {
    v1::Load* load = out->Add();
    load->set_seconds(static_cast<uint32_t>(kLoadWindows[i]));
    load->set_busy_percent(100 * loads[i].busy);
    load->set_pps(loads[i].frames_per_second);
    load->set_bps(8 * loads[i].bytes_per_second);
    load->set_lost_pps(loads[i].lost_per_second);
    load->set_wakeups_per_second(loads[i].wakeups_per_second);
    load->set_backlog(loads[i].backlog);
  }
}

void ToProto(const CpuForecast& forecast, v1::CpuForecast* out) {
  out->set_cpu(forecast.cpu);
  out->set_percent_before(100 * forecast.before);
  out->set_percent_after(100 * forecast.after);
}

void ToProto(const CpuStatus& status, v1::Cpu* out) {
  out->set_cpu(status.cpu);
  out->set_numa_node(status.numa_node);
  for (const CpuStatus::Queue& queue : status.queues) {
    out->add_queues(QueueName(queue.uplink, queue.queue));
  }
  ToProto(status.loads, out->mutable_loads());
  out->set_other_percent(status.other_percent);
}

void ToProto(const std::vector<SocketStatus>& sockets,
             google::protobuf::RepeatedPtrField<v1::SocketStatistics>* out) {
  for (const SocketStatus& socket : sockets) {
    v1::SocketStatistics* statistics = out->Add();
    statistics->set_role(socket.role);
    statistics->set_queue(socket.queue);
    statistics->set_rx_ring_size(socket.rx_ring_size);
    statistics->set_tx_ring_size(socket.tx_ring_size);
    statistics->set_zero_copy(socket.zero_copy);
    statistics->set_rx_dropped(socket.rx_dropped);
    statistics->set_rx_invalid_descs(socket.rx_invalid_descs);
    statistics->set_tx_invalid_descs(socket.tx_invalid_descs);
    statistics->set_rx_ring_full(socket.rx_ring_full);
    statistics->set_rx_fill_ring_empty_descs(socket.rx_fill_ring_empty_descs);
    statistics->set_tx_ring_empty_descs(socket.tx_ring_empty_descs);
    statistics->set_tx_kicks(socket.tx_kicks);
    statistics->set_tx_completions(socket.tx_completions);
  }
}

void ToProto(std::chrono::system_clock::time_point time, google::protobuf::Timestamp* out) {
  const auto since_epoch = time.time_since_epoch();
  // Rounded down, so that nanos are never negative, as Timestamp wants.
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  out->set_seconds(seconds.count());
  out->set_nanos(static_cast<int32_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch - seconds).count()));
}

// A time that was never set stays out.
constexpr std::chrono::system_clock::time_point kNever{};

void ToProto(const VhostPortStatus& status, v1::VhostStatus* out) {
  out->set_socket_path(status.socket_path);
  out->set_connected(status.connected);
  if (status.since != kNever) ToProto(status.since, out->mutable_since());
  for (const std::string& name : status.features) out->add_features(name);
  for (const std::string& name : status.protocol_features) out->add_protocol_features(name);
  for (const std::string& sentence : status.offloads) out->add_offloads(sentence);
  out->set_memory_regions(status.memory_regions);
  out->set_memory_bytes(status.memory_bytes);
  out->set_memory_sealed(status.memory_sealed);
  out->set_logging(status.logging);
  for (const VhostPortRing& from : status.rings) {
    v1::VhostRing* ring = out->add_rings();
    ring->set_index(from.index);
    ring->set_size(from.size);
    ring->set_running(from.running);
    ring->set_enabled(from.enabled);
  }
  out->set_last_fault(status.last_fault);
  if (status.last_fault_time != kNever) {
    ToProto(status.last_fault_time, out->mutable_last_fault_time());
  }
  out->set_connections(status.connections);
  out->set_faults(status.faults);
}

v1::FindingLevel LevelOf(FindingLevel level) {
  switch (level) {
    case FindingLevel::kOk:
      return v1::OK;
    case FindingLevel::kNote:
      return v1::NOTE;
    case FindingLevel::kProblem:
      return v1::PROBLEM;
  }
  return v1::FINDING_LEVEL_UNSPECIFIED;
}

}  // namespace

void ToProto(const UplinkConfig& config, v1::Uplink* uplink) {
  uplink->set_name(UplinkName(config.id));
  uplink->set_device(config.device);
  uplink->set_xdp_mode(XdpModeOf(config.xdp_mode));
  uplink->set_steering(SteeringOf(config.steering));
  uplink->set_wake_mode(WakeModeOf(config.wake_mode));
  uplink->set_busy_poll(config.busy_poll);
  uplink->set_queues(config.queues);
  uplink->set_buffers_per_queue(config.buffers_per_queue);
  uplink->set_balance_mode(BalanceModeOf(config.balance_mode));
  for (const auto& [queue, cpu] : config.queue_cpus) (*uplink->mutable_queue_cpus())[queue] = cpu;
}

void ToProto(const PortConfig& config, v1::Port* port) {
  port->set_name(PortName(config.id));
  if (!config.uplink.empty()) port->set_uplink(UplinkName(config.uplink));
  port->set_kind(PortKindOf(config.kind));
  port->set_device(config.device);
  port->set_peer_device(config.peer_device);
  for (const MacAddress& mac : config.macs) port->add_macs(mac.ToString());
  port->set_vlan(config.vlan);
  port->set_weight(config.weight);
  if (config.queue.has_value()) port->set_queue(*config.queue);
  port->set_trusted(config.trusted);
  port->set_disabled(config.disabled);
  port->set_mtu(config.mtu);
  if (config.kind != PortKind::kVhostUser) return;
  port->set_socket(config.socket);
  port->set_vhost_role(VhostRoleOf(config.vhost_role));
  port->set_queue_pairs(config.queue_pairs);
  port->set_coalescing_off(config.coalescing_off);
}

void ToProto(const UplinkStatus& status, v1::Uplink* uplink) {
  ToProto(status.config, uplink);
  uplink->set_oper_status(OperStatusOf(status.oper));
  uplink->set_oper_reason(status.oper_reason);
  uplink->set_effective_xdp_mode(XdpModeOf(status.xdp_mode));
  uplink->set_effective_xdp_mode_reason(status.xdp_mode_reason);
  uplink->set_effective_steering(SteeringOf(status.steering));
  uplink->set_effective_steering_reason(status.steering_reason);
  uplink->set_effective_wake_mode(WakeModeOf(status.wake_mode));
  uplink->set_effective_wake_mode_reason(status.wake_mode_reason);
  uplink->set_effective_queues(status.queues);
  uplink->set_zero_copy(status.zero_copy);
  uplink->set_zero_copy_reason(status.zero_copy_reason);
  uplink->set_mac(status.mac.ToString());
  uplink->set_mtu(status.mtu);
  uplink->set_max_frame_len(status.max_frame_len);
  uplink->set_numa_node(status.numa_node);
  uplink->set_port_count(status.port_count);
  ToProto(status.counters, uplink->mutable_counters());
  ToProto(status.rates, uplink->mutable_rates());
  uplink->set_to_host_pkts(status.to_host_pkts);
  uplink->set_misplaced_pkts(status.misplaced_pkts);
  for (const std::string& setting : status.changed_settings) uplink->add_changed_settings(setting);
  uplink->set_etag(status.etag);
  uplink->set_survives_crash(status.survives_crash);
  uplink->set_survives_crash_reason(status.survives_crash_reason);
  uplink->set_busy_poll_state(status.busy_poll_state);
}

void ToProto(const QueueStatus& status, v1::Queue* queue) {
  queue->set_name(QueueName(status.uplink, status.queue));
  queue->set_queue(status.queue);
  queue->set_cpu(status.cpu);
  queue->set_numa_node(status.numa_node);
  for (const QueueFilter& filter : status.filters) {
    v1::QueueFilter* out = queue->add_filters();
    out->set_port(PortName(filter.port));
    out->set_mac(filter.mac.ToString());
    out->set_vlan(filter.vlan);
  }
  queue->set_default_queue(status.default_queue);
  queue->set_dedicated(status.dedicated);
  queue->set_zero_copy(status.zero_copy);
  queue->set_wake_mode(WakeModeOf(status.wake_mode));
  queue->set_wake_mode_reason(status.wake_mode_reason);
  queue->set_napi(status.napi);
  queue->set_busy_percent(status.busy_percent);
  ToProto(status.rates, queue->mutable_rates());
  queue->set_in_pkts(status.in_pkts);
  queue->set_out_pkts(status.out_pkts);
  queue->set_drops(status.drops);
  queue->set_misplaced_pkts(status.misplaced_pkts);
  queue->set_wakeups(status.wakeups);
  queue->set_buffers(status.buffers);
  queue->set_buffers_free(status.buffers_free);
  queue->set_buffers_reserved(status.buffers_reserved);
  queue->set_buffers_in_flight(status.buffers_in_flight);
  ToProto(status.sockets, queue->mutable_sockets());
  ToProto(status.loads, queue->mutable_loads());
  queue->set_pinned(status.pinned);
}

void ToProto(const PortStatus& status, v1::Port* port) {
  ToProto(status.config, port);
  port->set_oper_status(OperStatusOf(status.oper));
  port->set_oper_reason(status.oper_reason);
  port->set_effective_queue(status.queue);
  port->set_effective_queue_reason(status.queue_reason);
  port->set_effective_mtu(status.mtu);
  for (const MacAddress& mac : status.macs) port->add_effective_macs(mac.ToString());
  port->set_cpu(status.cpu);
  ToProto(status.counters, port->mutable_counters());
  ToProto(status.rates, port->mutable_rates());
  ToProto(status.sockets, port->mutable_sockets());
  for (const std::string& setting : status.changed_settings) port->add_changed_settings(setting);
  port->set_etag(status.etag);
  port->set_effective_steering(SteeringOf(status.steering));
  port->set_effective_steering_reason(status.steering_reason);
  ToProto(status.loads, port->mutable_loads());
  if (status.config.kind != PortKind::kVhostUser) return;
  port->set_effective_queue_pairs(status.queue_pairs);
  port->set_effective_queue_pairs_reason(status.queue_pairs_reason);
  if (status.vhost.has_value()) ToProto(*status.vhost, port->mutable_vhost());
}

void ToProto(const SwitchStatus& status, v1::Switch* sw) {
  sw->set_version(status.version);
  sw->set_processor_set(status.processor_set);
  sw->set_uplink_count(status.uplink_count);
  sw->set_port_count(status.port_count);
  sw->set_worker_count(status.worker_count);
  ToProto(status.counters, sw->mutable_counters());
  sw->set_replicated_pkts(status.replicated_pkts);
  sw->set_uptime_seconds(status.uptime_seconds);
  sw->set_revision(status.revision);
  sw->set_state_revision(status.state_revision);
  for (const std::string& warning : status.warnings) sw->add_warnings(warning);
  for (const CpuStatus& cpu : status.cpus) ToProto(cpu, sw->add_cpus());
}

void ToProto(const RebalanceReport& report, v1::RebalanceResponse* out) {
  for (const MoveReport& from : report.moves) {
    v1::Move* move = out->add_moves();
    move->set_resource(from.resource);
    move->set_from_cpu(from.from_cpu);
    move->set_to_cpu(from.to_cpu);
    move->set_to_queue(from.to_queue);
    move->set_reason(from.reason);
    ToProto(from.from, move->mutable_from());
    ToProto(from.to, move->mutable_to());
  }
  for (const CpuForecast& forecast : report.forecast) ToProto(forecast, out->add_forecast());
  for (const std::string& remark : report.remarks) out->add_remarks(remark);
}

void ToProto(const Event& event, v1::Event* out) {
  out->set_revision(event.revision);
  ToProto(event.time, out->mutable_time());
  out->set_severity(SeverityOf(event.severity));
  out->set_resource(event.resource);
  out->set_reason(event.reason);
  out->set_message(event.message);
}

void ToProto(const Finding& finding, v1::Finding* out) {
  out->set_name(finding.name);
  out->set_level(LevelOf(finding.level));
  out->set_subject(finding.subject);
  out->set_seen(finding.seen);
  out->set_advice(finding.advice);
}

}  // namespace vmqd::rpc

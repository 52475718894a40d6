// What a port is for the workers, and what it reports: PortRuntime's reading half.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "daemon/control/port_runtime.h"
#include "daemon/control/status.h"
#include "daemon/net/ethernet.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

// Bytes a VM socket hands over in a round, per point of weight: 64 frames of 1500 at weight 100.
constexpr uint32_t kQuantumPerWeight = 1024;
constexpr uint32_t kLeastQuantum = 2048;

// What a guest leaves to us, or we to it, and where that is done.
std::vector<std::string> OffloadsOf(uint64_t features, bool coalesces) {
  const auto has = [features](uint32_t bit) { return HasFeature(features, bit); };
  std::vector<std::string> out;
  out.push_back(
      has(VIRTIO_NET_F_CSUM)
          ? "checksums the guest leaves out: passed on to guests that take them, computed "
            "by vmqd for everybody else"
          : "checksums: computed by the guest");
  if (has(VIRTIO_NET_F_HOST_TSO4) || has(VIRTIO_NET_F_HOST_TSO6) || has(VIRTIO_NET_F_HOST_USO)) {
    out.push_back(absl::StrCat(
        "large segments the guest sends (", has(VIRTIO_NET_F_HOST_TSO4) ? "TSO4 " : "",
        has(VIRTIO_NET_F_HOST_TSO6) ? "TSO6 " : "", has(VIRTIO_NET_F_HOST_USO) ? "USO " : "",
        "): passed on to guests that take them, cut by vmqd for everybody else"));
  }
  if (has(VIRTIO_NET_F_GUEST_TSO4) || has(VIRTIO_NET_F_GUEST_TSO6)) {
    out.push_back(absl::StrCat("large segments the guest receives: from other guests",
                               coalesces ? ", and coalesced by vmqd of what the uplink brings"
                                         : "; coalescing from the uplink is off"));
  }
  return out;
}

}  // namespace

uint32_t PortRuntime::BuffersHeld() const { return memory().area->CountOwnedBy(Owner()); }

PortEntry PortRuntime::Entry() {
  PortEntry entry;
  entry.serial = place_.serial;
  entry.slot = place_.slot;
  entry.home = place_.placement.queue;
  entry.pairs.resize(uplink_.queues().size());
  for (const Pair& pair : pairs_) {
    entry.pairs[pair.queue] = {pair.port, pair.vm_socket.get(), pair.state.get()};
  }
  if (left_ && !socket_left_) {
    entry.pairs[left_->queue] = {nullptr, left_->vm_socket.get(), left_->state.get()};
  }
  entry.coalesce = vhost_ != nullptr && !config_.coalescing_off;
  entry.vlan = static_cast<uint16_t>(config_.vlan);
  entry.max_len = EffectiveMtu() + kEthHeaderLen;
  entry.quantum = std::max(config_.weight * kQuantumPerWeight, kLeastQuantum);
  entry.batch = std::clamp(config_.weight * kBurst / kDefaultWeight, kBurst / 16, kBurst);
  entry.trusted = config_.trusted;
  entry.disabled = config_.disabled;
  for (const MacAddress& mac : config_.macs) entry.macs.push_back(mac.ToWord());
  for (const auto& counters : counters_) entry.counters.push_back(counters.get());
  entry.link_up = &link_up_;
  return entry;
}

// Offered by the XDP program, and lost before a worker saw it.
void PortRuntime::CountLost(const Pair& pair, Counters& counters) {
  const xdp_statistics socket = pair.vm_socket->Statistics();
  counters.offered_pkts += socket.rx_ring_full + socket.rx_dropped + pair.drained;
  counters.out_drops[VMQD_DROP_RX_RING_FULL] += socket.rx_ring_full;
  counters.out_drops[VMQD_DROP_RX_NO_BUFFER] += socket.rx_dropped;
  counters.out_drops[VMQD_DROP_PORT_GONE] += pair.drained;
}

Counters PortRuntime::CountersNow() const {
  Counters counters;
  for (const auto& by_worker : counters_) AddFrameCounters(*by_worker, counters);
  for (const Pair& pair : pairs_) {
    const PortArrivals arrivals = pair.port->Arrivals();
    counters.in_pkts += arrivals.pkts;
    for (size_t i = 0; i < kDropReasonCount; ++i) counters.in_drops[i] += arrivals.drops[i];
    CountLost(pair, counters);
  }
  counters += gone_;
  return counters;
}

// Why it moves no frames, when it does not.
void PortRuntime::DescribeLink(PortStatus& status) const {
  if (config_.disabled) {
    status.oper = OperStatus::kDown;
    status.oper_reason = "administratively down";
  } else if (vhost_ != nullptr) {
    const VhostStatus now = vhost_->Status();
    if (!now.fault.empty()) {
      status.oper = OperStatus::kFaulted;
      status.oper_reason = now.fault;
    } else if (!link_up_.load()) {
      status.oper = OperStatus::kDown;
      status.oper_reason = now.connected ? "the guest's driver has not started its queues"
                           : config_.vhost_role == VhostRole::kVmmListens
                               ? absl::StrCat("no VMM listens on ", vhost_->socket_path())
                               : absl::StrCat("no VMM has connected to ", vhost_->socket_path());
    }
  } else if (!link_.up || !link_.carrier) {
    status.oper = OperStatus::kDown;
    status.oper_reason = !link_.up ? absl::StrCat(link_.name, " is down")
                         : config_.kind == PortKind::kTap
                             ? absl::StrCat("no VMM has opened ", link_.name)
                             : absl::StrCat("the other end of ", link_.name, " is down");
  }
}

std::vector<NicFilter> PortRuntime::NicFilters() const {
  std::vector<NicFilter> filters;
  for (const MacAddress& mac : config_.macs) filters.push_back({mac, config_.vlan});
  return filters;
}

NicQueues PortRuntime::HomeQueues() const {
  std::set<uint32_t> queues;
  for (const Pair& pair : pairs_) queues.insert(pair.queue);
  return {queues.begin(), queues.end()};
}

VhostPortStatus PortRuntime::VhostNow() const {
  const VhostStatus now = vhost_->Status();
  VhostPortStatus status;
  status.socket_path = vhost_->socket_path();
  status.connected = now.connected;
  status.since = now.since;
  status.features = FeatureNames(now.features, VirtioFeatureName);
  status.protocol_features = FeatureNames(now.protocol_features, VhostProtocolFeatureName);
  if (now.features != 0) status.offloads = OffloadsOf(now.features, !config_.coalescing_off);
  status.memory_regions = now.memory_regions;
  status.memory_bytes = now.memory_bytes;
  status.memory_sealed = now.memory_sealed;
  status.logging = now.logging;
  for (const VhostRingStatus& ring : now.rings) {
    status.rings.push_back({ring.index, ring.size, ring.running, ring.enabled});
  }
  status.last_fault = now.last_fault;
  status.last_fault_time = now.last_fault_time;
  status.connections = now.connections;
  status.faults = now.faults;
  return status;
}

std::optional<PortRuntime::VhostChange> PortRuntime::LookAtVhost() {
  if (vhost_ == nullptr) return std::nullopt;
  vhost_->Look();
  VhostChange change{.now = vhost_->Status()};
  const bool link = link_up_.load();
  change.connection = change.now.connected != vhost_connected_;
  change.link = link != vhost_link_;
  change.fault = change.now.faults != vhost_faults_;
  vhost_connected_ = change.now.connected;
  vhost_link_ = link;
  vhost_faults_ = change.now.faults;
  if (!change.connection && !change.link && !change.fault) return std::nullopt;
  return change;
}

PortStatus PortRuntime::Status() const {
  PortStatus status;
  status.config = config_;
  DescribeLink(status);
  status.queue = place_.placement.queue;
  // Asked for since it was placed there: nothing is to be explained.
  if (config_.queue != status.queue) status.queue_reason = place_.placement.reason;
  status.mtu = EffectiveMtu();
  status.macs = config_.macs;
  status.cpu = home().worker->cpu();
  status.counters = CountersNow();
  status.rates = rates_;
  for (const Pair& pair : pairs_) {
    status.sockets.push_back(StatusOf(*pair.vm_socket, "vm"));
    for (const XskSocket* socket : pair.port->Sockets()) {
      status.sockets.push_back(StatusOf(*socket, "port"));
    }
  }
  status.queue_pairs = place_.pairs;
  if (place_.pairs < config_.queue_pairs) {
    status.queue_pairs_reason = absl::StrCat("uplinks/", config_.uplink, " has ", place_.pairs,
                                             " queues, each serves one pair");
  }
  status.loads = LoadsOf(load_);
  status.steering = uplink_.SteeringOf(NicFilters(), status.steering_reason);
  if (vhost_ != nullptr) status.vhost = VhostNow();
  return status;
}

void PortRuntime::OnLink(bool up, bool carrier) {
  link_.up = up;
  link_.carrier = carrier;
  link_up_.store(up && carrier);
}

void PortRuntime::Sample(double seconds) {
  RateSample now;
  for (const auto& counters : counters_) {
    now.in_pkts += counters->in_received.Get();
    now.out_pkts += counters->out_pkts.Get();
    now.in_octets += counters->in_octets.Get();
    now.out_octets += counters->out_octets.Get();
  }
  rates_ = RatesBetween(sample_, now, seconds);
  sample_ = now;
}

}  // namespace vmqd

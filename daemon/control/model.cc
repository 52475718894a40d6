// Arithmetic of the counters in model.h. Any thread.
#include "daemon/control/model.h"

#include <numeric>

namespace vmqd {

Counters& Counters::operator+=(const Counters& other) {
  in_pkts += other.in_pkts;
  in_octets += other.in_octets;
  in_forwarded_pkts += other.in_forwarded_pkts;
  offered_pkts += other.offered_pkts;
  out_pkts += other.out_pkts;
  out_octets += other.out_octets;
  for (size_t reason = 0; reason < kDropReasonCount; ++reason) {
    in_drops[reason] += other.in_drops[reason];
    out_drops[reason] += other.out_drops[reason];
  }
  return *this;
}

uint64_t Counters::InDiscards() const {
  return std::accumulate(in_drops.begin(), in_drops.end(), uint64_t{0});
}

uint64_t Counters::OutDiscards() const {
  return std::accumulate(out_drops.begin(), out_drops.end(), uint64_t{0});
}

UplinkConfig Patched(UplinkConfig config, const UplinkPatch& patch) {
  if (patch.wake_mode) config.wake_mode = *patch.wake_mode;
  if (patch.balance_mode) config.balance_mode = *patch.balance_mode;
  if (patch.queue_cpus) config.queue_cpus = *patch.queue_cpus;
  if (patch.queues) config.queues = *patch.queues;
  if (patch.busy_poll) config.busy_poll = *patch.busy_poll;
  return config;
}

PortConfig Patched(PortConfig config, const PortPatch& patch) {
  if (patch.macs) config.macs = *patch.macs;
  if (patch.vlan) config.vlan = *patch.vlan;
  if (patch.weight) config.weight = *patch.weight;
  if (patch.trusted) config.trusted = *patch.trusted;
  if (patch.disabled) config.disabled = *patch.disabled;
  if (patch.mtu) config.mtu = *patch.mtu;
  if (patch.coalescing_off) config.coalescing_off = *patch.coalescing_off;
  if (patch.queue) config.queue = *patch.queue;
  return config;
}

}  // namespace vmqd

// What an uplink and its queues report: UplinkRuntime's reading half.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/status.h"
#include "daemon/control/uplink_runtime.h"
#include "daemon/xdp/affinity.h"

namespace vmqd {

Rates RatesBetween(const RateSample& before, const RateSample& after, double seconds) {
  const auto rate = [seconds](uint64_t from, uint64_t to) {
    return to > from ? static_cast<double>(to - from) / seconds : 0.0;
  };
  return {rate(before.in_pkts, after.in_pkts), rate(before.out_pkts, after.out_pkts),
          8 * rate(before.in_octets, after.in_octets),
          8 * rate(before.out_octets, after.out_octets)};
}

void AddFrameCounters(const FrameCounters& counters, Counters& sum) {
  sum.in_octets += counters.in_octets.Get();
  sum.in_forwarded_pkts += counters.in_forwarded.Get();
  sum.offered_pkts += counters.offered.Get();
  sum.out_pkts += counters.out_pkts.Get();
  sum.out_octets += counters.out_octets.Get();
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    sum.in_drops[i] += counters.in_drops[i].Get();
    sum.out_drops[i] += counters.out_drops[i].Get();
  }
}

SocketStatus StatusOf(const XskSocket& socket, std::string role) {
  const xdp_statistics kernel = socket.Statistics();
  SocketStatus status;
  status.role = std::move(role);
  status.queue = socket.queue();
  status.rx_ring_size = socket.options().rx_size;
  status.tx_ring_size = socket.options().tx_size;
  status.zero_copy = socket.zero_copy();
  status.rx_dropped = kernel.rx_dropped;
  status.rx_invalid_descs = kernel.rx_invalid_descs;
  status.tx_invalid_descs = kernel.tx_invalid_descs;
  status.rx_ring_full = kernel.rx_ring_full;
  status.rx_fill_ring_empty_descs = kernel.rx_fill_ring_empty_descs;
  status.tx_ring_empty_descs = kernel.tx_ring_empty_descs;
  status.tx_kicks = socket.kicks();
  status.tx_completions = socket.completions();
  return status;
}

Counters UplinkRuntime::CountersWith(const vmqd_uplink_counters& kernel) const {
  Counters counters;
  for (const QueueRuntime& queue : queues_) {
    AddFrameCounters(queue.worker->lane().uplink_counters, counters);
    const xdp_statistics socket = queue.socket->Statistics();
    counters.in_drops[VMQD_DROP_RX_RING_FULL] += socket.rx_ring_full;
    counters.in_drops[VMQD_DROP_RX_NO_BUFFER] += socket.rx_dropped;
  }
  // Of what the kernel passed on for flooding, the packet socket's own count is what the switch
  // got: it is opened a moment before the program is attached.
  const PacketSocket::Statistics flood = flood_->ReadStatistics();
  counters.in_pkts = kernel.received - kernel.to_host - kernel.flooded + flood.received;
  counters.in_forwarded_pkts += kernel.to_vm;
  for (size_t i = 0; i < kDropReasonCount; ++i) counters.in_drops[i] += kernel.drops[i];
  counters.in_drops[VMQD_DROP_RX_BACKLOG] += flood.dropped;
  return counters;
}

UplinkStatus UplinkRuntime::Status() const {
  UplinkStatus status;
  status.config = config_;
  if (!link_.up || !link_.carrier) {
    status.oper = OperStatus::kDown;
    status.oper_reason =
        link_.up ? absl::StrCat(link_.name, " has no carrier")
                 : absl::StrCat(link_.name, " is down; ip link set ", link_.name, " up");
  }
  status.xdp_mode = xdp_mode_;
  status.xdp_mode_reason = xdp_mode_reason_;
  status.steering = EffectiveSteering(status.steering_reason);
  status.queues = static_cast<uint32_t>(queues_.size());
  status.zero_copy = std::all_of(queues_.begin(), queues_.end(), [](const QueueRuntime& queue) {
    return queue.socket->zero_copy();
  });
  if (!status.zero_copy) {
    status.zero_copy_reason =
        xdp_mode_ == XdpMode::kGeneric
            ? "generic XDP always copies"
            : absl::StrCat("the driver of ", link_.name, " offers no AF_XDP zero-copy");
  }
  status.wake_mode = queues_[0].wake_mode;
  for (const QueueRuntime& queue : queues_) {
    if (queue.wake_mode == config_.wake_mode) continue;
    status.wake_mode = queue.wake_mode;
    status.wake_mode_reason = queue.wake_mode_reason;
  }
  status.busy_poll_state = busy_polling_.state();
  status.mac = link_.mac;
  status.mtu = link_.mtu;
  status.max_frame_len = max_frame_len_;
  status.numa_node = link_.numa_node;
  status.misplaced_pkts = Misplaced();
  status.counters = CountersNow();
  status.rates = rates_;
  status.to_host_pkts = ToHost();
  status.changed_settings = settings_.changed();
  const Attachment* attachment = program_->attachment();
  if (site_.bpf_directory.empty()) {
    status.survives_crash_reason = site_.bpf_reason;
  } else if (attachment == nullptr) {
    status.survives_crash_reason = "no program is attached";
  } else if (!attachment->pin_status().ok()) {
    status.survives_crash_reason = std::string(attachment->pin_status().message());
  } else {
    status.survives_crash = true;
  }
  return status;
}

QueueStatus UplinkRuntime::StatusOfQueue(uint32_t index) const {
  const QueueRuntime& queue = queues_[index];
  const Lane& lane = queue.worker->lane();
  QueueStatus status;
  status.uplink = config_.id;
  status.queue = index;
  status.cpu = queue.worker->cpu();
  status.numa_node = NumaNodeOfCpu(status.cpu);
  status.default_queue = index == 0;
  status.dedicated = queue.ports == 1;
  status.zero_copy = queue.socket->zero_copy();
  status.wake_mode = queue.wake_mode;
  status.wake_mode_reason = queue.wake_mode_reason;
  status.napi = queue.napi_text;
  status.loads = LoadsOf(queue.load);
  status.busy_percent = 100 * status.loads[0].busy;
  status.rates = queue.rates;
  status.in_pkts = lane.counters.rx_pkts.Get();
  status.out_pkts = lane.counters.tx_pkts.Get();
  status.misplaced_pkts = lane.counters.misplaced.Get();
  status.wakeups = lane.counters.wakeups.Get();
  status.buffers = queue.area->buffers();
  status.buffers_free = static_cast<uint32_t>(lane.counters.buffers_free.Get());
  status.buffers_reserved = queue.reserved;
  // What is neither free nor in a ring. The Switch takes off what its ports hold.
  status.buffers_in_flight = static_cast<int32_t>(
      status.buffers - status.buffers_free - queue.area->CountOwnedBy(FrameArea::kUplinkRings) -
      queue.area->CountOwnedBy(FrameArea::kGranted));
  status.sockets.push_back(StatusOf(*queue.socket, "default"));
  status.sockets.push_back(StatusOf(*queue.anchor, "anchor"));
  Counters counters;
  AddFrameCounters(lane.uplink_counters, counters);
  status.drops = counters.InDiscards() + counters.OutDiscards() + status.sockets[0].rx_ring_full +
                 status.sockets[0].rx_dropped;
  return status;
}

uint64_t UplinkRuntime::Misplaced() const {
  uint64_t misplaced = 0;
  for (const QueueRuntime& queue : queues_) {
    misplaced += queue.worker->lane().counters.misplaced.Get();
  }
  return misplaced;
}

uint64_t UplinkRuntime::ToHost() const { return program_->Counters().to_host; }

uint64_t UplinkRuntime::Replicated() const {
  uint64_t replicated = 0;
  for (const QueueRuntime& queue : queues_) {
    replicated += queue.worker->lane().counters.replicated.Get();
  }
  return replicated;
}

void UplinkRuntime::Sample(double seconds) {
  RateSample sum;
  for (QueueRuntime& queue : queues_) {
    queue.worker->Unstick();
    const WorkerCounters& counters = queue.worker->lane().counters;
    const RateSample now{counters.rx_pkts.Get(), counters.tx_pkts.Get(), counters.rx_octets.Get(),
                         counters.tx_octets.Get()};
    queue.rates = RatesBetween(queue.sample, now, seconds);
    queue.sample = now;
    sum.in_pkts += now.in_pkts;
    sum.out_pkts += now.out_pkts;
    sum.in_octets += now.in_octets;
    sum.out_octets += now.out_octets;
  }
  rates_ = RatesBetween(sample_, sum, seconds);
  sample_ = sum;
}

Loads LoadsOf(const LoadWindows& load) {
  Loads loads;
  for (size_t i = 0; i < loads.size(); ++i) loads[i] = load.Over(kLoadWindows[i]);
  return loads;
}

void UplinkRuntime::SampleLoad(LoadWindows::Time now) {
  for (QueueRuntime& queue : queues_) {
    const WorkerCounters& counters = queue.worker->lane().counters;
    const xdp_statistics socket = queue.socket->Statistics();
    LoadReading& reading = queue.reading;
    // In a turn that was interrupted, somebody else had the CPU.
    reading.busy_ns +=
        std::min(queue.busy.Take(counters.busy_ns.Get()), std::exchange(queue.thread_ns, 0));
    reading.frames = counters.rx_pkts.Get() + counters.tx_pkts.Get();
    reading.bytes = counters.rx_octets.Get() + counters.tx_octets.Get();
    reading.lost += queue.lost.Take(socket.rx_ring_full + socket.rx_dropped) +
                    std::exchange(queue.lost_of_ports, 0);
    reading.wakeups = counters.wakeups.Get();
    reading.backlog = queue.socket->RxBacklog() + std::exchange(queue.backlog_of_ports, 0);
    queue.load.Sample(now, reading);
  }
}

}  // namespace vmqd

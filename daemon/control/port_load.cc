// What a port costs its worker: PortRuntime's measuring part.
#include "daemon/control/port_runtime.h"

namespace vmqd {

// Of the rings that the pair's worker empties. What is lost, or waits, because the VM does not read
// is not counted: more of the worker's time would not help.
PortRuntime::PairLoad PortRuntime::ReadLoad(Pair& pair, bool vm_is_full) {
  PairLoad load;
  const xdp_statistics socket = pair.vm_socket->Statistics();
  const uint64_t for_vm = pair.lost_for_vm.Take(socket.rx_ring_full + socket.rx_dropped);
  const bool vm_waits = pair.waits.Take(pair.state->waits.Get()) > 0 || vm_is_full;
  if (!vm_waits) {
    load.lost = for_vm;
    load.backlog = pair.vm_socket->RxBacklog();
  }
  const PortArrivals arrivals = pair.port->Arrivals();
  load.lost += pair.lost_from_vm.Take(arrivals.drops[VMQD_DROP_RX_RING_FULL] +
                                      arrivals.drops[VMQD_DROP_RX_NO_BUFFER] +
                                      arrivals.drops[VMQD_DROP_RX_BACKLOG]);
  for (const XskSocket* from_vm : pair.port->Sockets()) {
    if (from_vm->options().rx_size > 0) load.backlog += from_vm->RxBacklog();
  }
  return load;
}

PortSecond PortRuntime::ReadLoad() {
  PortSecond second;
  const uint32_t home = place_.placement.queue;
  moved_.resize(counters_.size());
  uint64_t full = 0;
  const uint64_t before = reading_.frames;
  for (size_t worker = 0; worker < counters_.size(); ++worker) {
    const FrameCounters& counters = *counters_[worker];
    const uint64_t moved =
        moved_[worker].Take(counters.in_received.Get() + counters.out_pkts.Get());
    reading_.frames += moved;
    if (worker == home) second.frames = static_cast<double>(moved);
    full += counters.out_drops[VMQD_DROP_PORT_FULL].Get();
  }
  reading_.bytes = sample_.in_octets + sample_.out_octets;
  reading_.backlog = 0;
  if (reading_.frames == before) return second;  // what is idle costs no system call
  const bool vm_is_full = vm_full_.Take(full) > 0;
  for (Pair& pair : pairs_) {
    const PairLoad load = ReadLoad(pair, vm_is_full);
    QueueOf(pair).lost_of_ports += load.lost;
    QueueOf(pair).backlog_of_ports += load.backlog;
    reading_.lost += load.lost;
    reading_.backlog += load.backlog;
    if (pair.queue != home) continue;
    second.lost = static_cast<double>(load.lost);
    second.backlog = load.backlog > 0;
  }
  return second;
}

void PortRuntime::SampleLoad(LoadWindows::Time now, double busy) {
  reading_.busy_ns += static_cast<uint64_t>(1e9 * busy);
  load_.Sample(now, reading_);
}

}  // namespace vmqd

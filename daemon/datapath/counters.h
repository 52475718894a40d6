// What workers count. Every counter has one writer, its worker; control threads read at any time.
// Blocks of different workers are cache lines apart, so that counting never shares a line.
#ifndef VMQD_DAEMON_DATAPATH_COUNTERS_H_
#define VMQD_DAEMON_DATAPATH_COUNTERS_H_

#include <array>
#include <cstdint>

#include "daemon/net/counter.h"
#include "daemon/net/drop_reason.h"

namespace vmqd {

// Frames of one port, or of the uplink, as one worker handled them. `in` is into the switch.
//   in_received  = in_forwarded + sum(in_drops)
//   offered      = out_pkts + sum(out_drops)
struct alignas(64) FrameCounters {
  Counter in_received;
  Counter in_octets;
  Counter in_forwarded;
  Counter offered;
  Counter out_pkts;
  Counter out_octets;
  std::array<Counter, kDropReasonCount> in_drops;
  std::array<Counter, kDropReasonCount> out_drops;

  void DropIn(DropReason reason, uint64_t n = 1) { in_drops[static_cast<size_t>(reason)].Add(n); }
  void DropOut(DropReason reason, uint64_t n = 1) { out_drops[static_cast<size_t>(reason)].Add(n); }
};

struct alignas(64) WorkerCounters {
  Counter rx_pkts;  // from the hardware queue, by any socket
  Counter rx_octets;
  Counter tx_pkts;  // to the hardware queue
  Counter tx_octets;
  Counter misplaced;   // VM frames that came here although their home is elsewhere
  Counter replicated;  // copies of floods beyond the first
  Counter turns;
  Counter wakeups;
  Counter busy_ns;  // time spent in turns that moved a frame
  Counter buffers_free;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_COUNTERS_H_

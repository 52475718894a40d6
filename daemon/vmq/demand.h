// Demand: the share of a CPU that a port, or a queue beside its ports, needed in each second of the
// last minute. It belongs to the port and goes with it from queue to queue, so that the last minute
// can be replayed with another placement. Values and pure functions.
#ifndef VMQD_DAEMON_VMQ_DEMAND_H_
#define VMQD_DAEMON_VMQ_DEMAND_H_

#include <array>
#include <cstddef>
#include <span>

namespace vmqd {

// Shares of one CPU, 1.0 is all of it; [0] is the second that has just passed. Finite, not
// negative.
struct Minute {
  static constexpr size_t kSeconds = 60;
  std::array<float, kSeconds> seconds{};

  void Push(double share);  // a second has passed
  void Add(const Minute& other, double factor = 1);
  double Mean(size_t over) const;  // of the last seconds, 1 to kSeconds
  double Peak() const;
};

// A CPU is full in a second when the busy shares of all its workers come to this. What more they
// had needed is not seen then, and is estimated below.
inline constexpr double kFullCpu = 0.95;
// A frame costs so much more where the worker is not on the NUMA node of its NIC. Demands are noted
// as if it were.
inline constexpr double kRemoteCost = 1.25;

// One second of a queue's worker: as LoadWindows::Over(1) has it.
struct QueueSecond {
  double busy = 0;
  double frames = 0;
  bool cpu_full = false;
  bool remote = false;  // the worker's CPU is on another NUMA node than the NIC
};

// One second of a port at home on that queue.
struct PortSecond {
  double frames = 0;     // of the port, moved by this worker
  double lost = 0;       // in the rings that this worker empties, and not because the VM's are full
  bool backlog = false;  // frames lie there now
};

// The demand of each port, written to `demand` (one entry per port), and of the queue beside them,
// returned. Busy time is split by frames. On a full CPU, a port that lost frames is taken to have
// needed what those would have cost as well; one that only has a backlog (its sender waits, so that
// nothing is lost) half as much again, up to a CPU: enough to see that it needs more, too little to
// drive others away on a guess. The seconds after a move show the truth.
double SplitDemand(const QueueSecond& queue, std::span<const PortSecond> ports,
                   std::span<double> demand);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_DEMAND_H_

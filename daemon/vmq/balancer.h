// The balancer: from what was seen (Scene) to what should be moved (Plan). A pure function.
//
// It judges a placement by replaying the last minute with it: for each second, what the ports
// needed is added up on the CPUs where the placement has them. A CPU's *strain* is the sum over
// these seconds of (what was needed beyond 70 % of the CPU) squared, each second counting 5 % less
// than the one after it. So much overload weighs more than little, long more than short, recent
// more than old, and VMs that are busy together more than VMs that are busy by turns.
//
//   spread       A CPU is *too busy* when it needed over 70 % in each of the last 2 s and has more
//                than a little strain: 2 s at 98 % do, or 5 s at 90 %. The most strained one comes
//                first. Of all moves of a queue from it to another CPU, the one that takes most
//                strain off both together is made, if it is worth it: it takes off at least that
//                little, and the other CPU gets at most 30 % of what this one is relieved of.
//                If no queue's move is worth it, the same with moves of a port to another queue.
//   deal queues  When nothing was moved for 3 s: a busy VM that shares its queue gets one whose
//                VMs were idle all the minute (they go back to the default queue), or that of a
//                busy VM of less weight, unless strain comes of it. The greatest weight first.
//   coalesce     When no CPU needed over 70 % in any second of a minute, all of which was seen:
//                queues far from their NIC return to its NUMA node, and the least busy CPU is
//                emptied, if others can take its queues and still not have needed over 40 % in any
//                second.
//
// What keeps it from oscillating: the whole minute counts, not the last second; a move must not
// pass the trouble on; 70 is far from 40 %; both CPUs of a move are left alone for 3 s, and what
// was moved for 10 s, twice as long each further time; the more was moved in ten minutes, the more
// strain it takes to move more; and CPUs are not coalesced within 5 min of a spread.
//
// Never moved: pinned queues and ports, ports of weight 0, all of a static uplink, and all of a
// manual one unless asked. Hyper-threads of a core are one CPU here: the first of them in the set.
//
// Control calls it once a second, carries the moves out in order, notes them in the history, and a
// while later says what they gained. Remarks repeat as long as what they say holds.
#ifndef VMQD_DAEMON_VMQ_BALANCER_H_
#define VMQD_DAEMON_VMQ_BALANCER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "daemon/vmq/scene.h"

namespace vmqd {

struct Move {
  enum class Kind {
    kQueueToCpu,   // loses and reorders nothing, so it is tried first
    kPortToQueue,  // re-home
  };
  Kind kind = Kind::kQueueToCpu;
  MoveAim aim = MoveAim::kSpread;
  size_t subject = 0;    // index into Scene::queues or Scene::ports
  size_t to_queue = 0;   // kPortToQueue: index into Scene::queues
  CpuForecast from, to;  // what this move changes; kQueueToCpu: to.cpu is where the worker goes
  std::string why;       // what was seen, what is done, what that should gain
};

// What cannot be cured, and why.
struct Remark {
  std::string about;  // "ports/vm1" or "CPU 3": the same from second to second, unlike the text
  std::string text;
};

struct Plan {
  std::vector<Move> moves;  // to be carried out in this order
  std::vector<Remark> remarks;
  std::vector<CpuForecast> forecast;  // every CPU that has, or will have, a worker
  double strain_before = 0;           // of all CPUs
  double strain_after = 0;
};

inline constexpr size_t kMovesPerPlan = 4;
inline constexpr size_t kMovesPerAskedPlan = 16;

// Indices in `scene` are valid. Each queue and port is moved at most once in a plan.
Plan MakePlan(const Scene& scene);

// What a move has gained so far: by how much of a CPU the busier of its two CPUs is less busy than
// before it. To be compared with what it was to gain: max(from.before, to.before) -
// max(from.after, to.after).
double GainedBy(const PastMove& move, const Scene& scene);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_BALANCER_H_

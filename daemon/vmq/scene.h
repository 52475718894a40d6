// Scene: all that the balancer knows: who needed what in the last minute, who runs where, what may
// be moved, and what was moved lately. Control fills it in once a second. A value.
#ifndef VMQD_DAEMON_VMQ_SCENE_H_
#define VMQD_DAEMON_VMQ_SCENE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/vmq/demand.h"

namespace vmqd {

enum class BalanceMode {
  kDynamic,
  kManual,  // moves only when asked
  kStatic,  // never moves
};

// A CPU of the processor set.
struct CpuView {
  int cpu = 0;
  int node = -1;     // NUMA node; -1: unknown, which is near to all
  int core = -1;     // same number: hyper-threads of one core; -1: alone
  double other = 0;  // its share that is taken by others than workers
};

struct UplinkView {
  int node = -1;  // of the NIC
  BalanceMode mode = BalanceMode::kDynamic;
};

struct QueueView {
  std::string name;   // "uplinks/eth0/queues/3"
  size_t uplink = 0;  // index into Scene::uplinks
  uint32_t number = 0;
  int cpu = 0;          // of its worker; outside the processor set when that was changed
  bool pinned = false;  // its CPU is the operator's wish
  Minute own;           // demand beside that of its ports
};

// A port, or whatever of a port moves as one: an entry of its indirection table.
struct PortView {
  std::string name;  // "ports/vm1"
  size_t queue = 0;  // its home, index into Scene::queues
  uint32_t weight = 100;
  bool pinned = false;  // its queue is the operator's wish, or it cannot be moved
  Minute demand;
};

struct CpuForecast {
  int cpu = 0;
  double before = 0;  // share needed over the last kRecent seconds; above 1: more than it has
  double after = 0;
};

// Why something is moved.
enum class MoveAim {
  kEnterSet,    // its CPU is not in the processor set any more
  kSpread,      // a CPU is too busy
  kDealQueue,   // a VM gets a queue of its own, by weight
  kGiveBack,    // a VM that is idle, or of less weight, gives its queue up
  kReturnHome,  // to the NUMA node of the NIC
  kCoalesce,    // all is quiet: fewer CPUs
};

// A move that was carried out.
struct PastMove {
  std::string name;  // of the queue or port
  MoveAim aim = MoveAim::kSpread;
  std::chrono::steady_clock::time_point time;
  CpuForecast from, to;  // as the plan said
};

struct Scene {
  std::chrono::steady_clock::time_point now;
  bool asked = false;         // the operator wants a plan: nothing waits for its time
  std::vector<CpuView> cpus;  // at least one
  std::vector<UplinkView> uplinks;
  std::vector<QueueView> queues;
  std::vector<PortView> ports;
  std::vector<PastMove> history;      // of the last hour, in any order
  size_t watched = Minute::kSeconds;  // seconds of the last minute in which all of this was seen
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_SCENE_H_

// Balance: what the balancer remembers from second to second: what ports and queues needed in the
// last minute, what was moved, what could not be moved, what was told. It completes the scene that
// Fabric sees at a moment, and says when there is something to tell. No I/O; called under the
// Switch's mutex.
#ifndef VMQD_DAEMON_CONTROL_BALANCE_H_
#define VMQD_DAEMON_CONTROL_BALANCE_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/vmq/balancer.h"
#include "daemon/vmq/demand.h"
#include "daemon/vmq/scene.h"

namespace vmqd {

class Balance {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A second as it was seen, in the order of the scene's queues and ports. Of queues only busy and
  // frames: the rest is told by the scene.
  struct Second {
    std::vector<QueueSecond> queues;
    std::vector<PortSecond> ports;
  };
  // A second has passed. Of `scene` everything but minutes and history is filled in; `other` of its
  // CPUs is that of the second.
  void Note(const Scene& scene, Second second);

  // With minutes, history and pins, and `other` as it was lately.
  Scene Complete(Scene scene) const;

  // A move was carried out, or failed: then what was to be moved is left alone for kFailedRest.
  static constexpr std::chrono::seconds kFailedRest{600};
  void Moved(const Scene& scene, const Move& move);
  void Failed(const Scene& scene, const Move& move);

  struct Told {
    std::string resource;  // as the API names it; empty: the switch
    std::string message;
  };
  // What the moves of kSettle ago have gained; each is told once.
  std::vector<Told> Gains(const Scene& complete);
  // Remarks that did not hold in the minute before.
  std::vector<Told> NewRemarks(const Plan& plan, Time now);

  uint64_t queue_moves() const { return queue_moves_; }
  uint64_t port_moves() const { return port_moves_; }

 private:
  struct Untold {
    PastMove move;
    std::string what;  // "moved to CPU 1"
  };

  std::map<std::string, Minute> minutes_;  // by name of queue or port
  std::map<int, Minute> others_;           // by CPU
  size_t watched_ = 0;                     // seconds, of all that is there
  std::vector<PastMove> history_;
  std::vector<Untold> untold_;
  std::map<std::string, Time> failed_;    // by name
  std::map<std::string, Time> remarked_;  // when what a remark is about was seen last
  uint64_t queue_moves_ = 0;
  uint64_t port_moves_ = 0;
};

// "uplinks/eth0/queues/3" or "ports/vm1".
const std::string& NameOf(const Scene& scene, const Move& move);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_BALANCE_H_

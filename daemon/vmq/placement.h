// Static placement, as in the first generation of VMQ: ports are dealt to queues round-robin, a
// queue each while queues last, shared after that. A pure function.
#ifndef VMQD_DAEMON_VMQ_PLACEMENT_H_
#define VMQD_DAEMON_VMQ_PLACEMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vmqd {

struct PlacementWish {
  uint32_t weight = 100;
  std::optional<uint32_t> queue;  // already checked to exist
};

struct Placement {
  uint32_t queue = 0;
  std::string reason;  // why this one, when the port asked for none or for another
};

// `ports_at_home[q]` is how many ports call queue q home, one entry per queue, at least one.
// Queue 0 is the default queue: it takes weight-0 ports, and every port when it is the only queue.
// The others are dealt: the one with the fewest ports, the lowest number among equals.
Placement Place(const PlacementWish& wish, const std::vector<uint32_t>& ports_at_home);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_PLACEMENT_H_

// Which queue a new port calls home. Called by control under its mutex; decides nothing about ports
// that are already placed.
#include "daemon/vmq/placement.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

Placement OnDefaultQueue(const PlacementWish& wish) {
  if (wish.queue == 0u) return {.queue = 0};
  if (wish.queue) {
    return {.queue = 0,
            .reason = absl::StrCat("a port of weight 0 lives on the default queue, not on queue ",
                                   *wish.queue, " that it asked for")};
  }
  return {.queue = 0, .reason = "a port of weight 0 lives on the default queue"};
}

}  // namespace

Placement Place(const PlacementWish& wish, const std::vector<uint32_t>& ports_at_home) {
  if (wish.weight == 0) return OnDefaultQueue(wish);
  if (wish.queue) return {.queue = *wish.queue};
  if (ports_at_home.size() == 1) {
    return {.queue = 0, .reason = "the default queue is the only queue of the uplink"};
  }
  const auto fewest = std::min_element(ports_at_home.begin() + 1, ports_at_home.end());
  const auto queue = static_cast<uint32_t>(fewest - ports_at_home.begin());
  if (*fewest == 0) return {.queue = queue, .reason = "dealt round-robin: a queue of its own"};
  return {.queue = queue,
          .reason = absl::StrCat("dealt round-robin: every queue is taken, this one is shared by ",
                                 *fewest + 1, " ports")};
}

}  // namespace vmqd

// Merge: puts segments of one TCP stream, as the uplink brings them, together for a VM that takes
// large ones (net/coalesce.h has the rules). Nothing is copied: the frame that goes on refers to
// the payloads where they are.
#ifndef VMQD_DAEMON_DATAPATH_MERGE_H_
#define VMQD_DAEMON_DATAPATH_MERGE_H_

#include <cstdint>

#include "daemon/datapath/lane.h"

namespace vmqd {

// `count` <= kBurst frames for `entry`'s VM; returns how many they are then. Valid until the next
// call: tails are the lane's.
uint32_t MergeSegments(Lane& lane, const PortEntry& entry, Frame* frames, uint32_t count);

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_MERGE_H_

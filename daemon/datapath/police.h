// Police: the checks on what a VM sends, before anything looks at where it goes.
#ifndef VMQD_DAEMON_DATAPATH_POLICE_H_
#define VMQD_DAEMON_DATAPATH_POLICE_H_

#include <cstdint>

#include "daemon/datapath/counters.h"
#include "daemon/datapath/topology.h"
#include "daemon/xdp/frame_pool.h"

namespace vmqd {

// Checks `count` frames from `port` and takes a priority tag (VLAN id 0) off. Frames that fail are
// counted under their reason and given back; the others move up in `frames`. Returns how many.
uint32_t Police(const PortEntry& port, FramePool& pool, FrameCounters& counters, Frame* frames,
                uint32_t count);

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_POLICE_H_

// Forward: decides where frames go, by (VLAN, destination MAC), and hands them to deliver. One
// look-up for each run of equal destinations.
#ifndef VMQD_DAEMON_DATAPATH_FORWARD_H_
#define VMQD_DAEMON_DATAPATH_FORWARD_H_

#include <cstdint>

#include "daemon/datapath/lane.h"

namespace vmqd {

// Frames that passed the police, from the port with index `source`. Takes them over.
void ForwardFromPort(Lane& lane, uint32_t source, Frame* frames, uint32_t count);

// Frames as they came from the wire through the queue's default socket: for ports at home
// elsewhere. Takes them over.
void ForwardFromUplink(Lane& lane, Frame* frames, uint32_t count);

// A broadcast or multicast frame from the wire, tag taken off. Takes it over.
void ForwardFlood(Lane& lane, uint16_t vlan, Frame frame);

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_FORWARD_H_

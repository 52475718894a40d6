// Deliver: the last stage. Puts frames into the port they are for, onto the wire, or into the hands
// of the worker that can; counts each of them as offered and then as delivered or dropped.
//
// Every function takes over the frames it is given. Frames are untagged; the VLAN is a parameter,
// or the port's own.
#ifndef VMQD_DAEMON_DATAPATH_DELIVER_H_
#define VMQD_DAEMON_DATAPATH_DELIVER_H_

#include <cstdint>

#include "daemon/datapath/lane.h"

namespace vmqd {

// To the port with index `port` of the lane's topology, wherever it is at home.
void DeliverToPort(Lane& lane, uint32_t port, Frame* frames, uint32_t count);

// To the wire, through the lane's own queue.
void DeliverToUplink(Lane& lane, uint16_t vlan, Frame* frames, uint32_t count);

// To every port of `vlan` but `source`, and to the uplink unless the frame came from there
// (`source` is kNoPort then). Returns false, the frame still the caller's, when there is nobody.
bool Flood(Lane& lane, uint16_t vlan, uint32_t source, Frame frame);

// To the ports of `vlan` at home on this lane but the one with serial `source`: the second half of
// a flood that another worker began.
void FloodHome(Lane& lane, uint16_t vlan, uint64_t source, Frame frame);

// Sends what this turn queued: transmit calls, hand-overs, wake-ups.
void Flush(Lane& lane);

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_DELIVER_H_

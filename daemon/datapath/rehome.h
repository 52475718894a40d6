// Rehome: a port comes to another worker, while frames flow in all directions, and none is lost or
// overtakes another of its flow. Worker threads.
//
// The topology in which the port is at home elsewhere is the signal (Topology::move). Workers pick
// it up one after another, each between two turns:
//
//   1. Every worker says that from now on it hands over by the new topology. The worker the port
//      leaves, and the one it comes to, go on by the old one until all others have said so; what
//      is handed to them by the new one waits: each item carries the era it is of.
//   2. Then these two say so, and deliver what was handed over by the old one.
//   3. The worker it leaves sends what it has queued, and waits until its hand-overs are delivered.
//      Then nothing of it is on its way any more. It passes the port on; the other one goes ahead.
//
// Frames from the wire come to another socket only after that. They pass one another nowhere:
//
//   - on the queue it leaves, what lies in the old socket is handed over first, then what comes to
//     the default socket (ReceiveFromUplink);
//   - on the queue it comes to, what lies in the default socket, then what comes to the new socket,
//     which stays closed for kClosedNs after its first frame: so long the kernel may take to
//     publish what it put into another socket before, and a NIC to empty the queue it steered
//     frames to before. Where the NIC's rules change, it stays closed until the worker the port
//     left has handed over all that lay in its sockets then, but its ring must not overflow.
//     Control opens it (Topology::opened) when it knows that nothing can come that way any more,
//     which takes a grace period of RCU: longer than the ring can hold frames.
#ifndef VMQD_DAEMON_DATAPATH_REHOME_H_
#define VMQD_DAEMON_DATAPATH_REHOME_H_

#include <atomic>
#include <cstdint>

#include "daemon/datapath/lane.h"

namespace vmqd {

// The receive ring of a VM's socket holds as much at a million frames a second, with room to spare.
inline constexpr int64_t kClosedNs = 300'000;

// Step 1: whether the lane may leave its topology for `fresh`. If not, it has another turn.
bool MayPickUp(const Lane& lane, const Topology& fresh);

// Steps 2 and 3, or the opening, on picking up `fresh`; the lane still has the topology before it.
// Ends early, at whatever step, when `stop` is set.
void PassOver(Lane& lane, const Topology& fresh, const std::atomic<bool>& stop);

// The worker the port leaves begins a turn, and passes on since when its sockets were empty: what
// lay in them before is handed over with the end of a turn. Returns the time.
int64_t BeginLeavingTurn(const Lane& lane);

// Whether the closed VM socket of a port, in which a frame lies, may be served from now on. When it
// may, all that came before is delivered.
bool MayOpen(Lane& lane, const PortPair& pair);

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_REHOME_H_

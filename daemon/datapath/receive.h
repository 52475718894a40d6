// Receive: the first stage. Takes frames from each place they come from and sends them down the
// others. Each function does one bounded piece of work and returns how many frames it took.
#ifndef VMQD_DAEMON_DATAPATH_RECEIVE_H_
#define VMQD_DAEMON_DATAPATH_RECEIVE_H_

#include <cstdint>

#include "daemon/datapath/lane.h"

namespace vmqd {

// One round of deficit round robin over the sockets of the VMs at home here, and a burst from the
// default socket. A port without room is passed over: its frames wait in its own ring, and when
// that is full the kernel drops them before they cost anything.
uint32_t ReceiveFromUplink(Lane& lane);

// The switch's copies of broadcast and multicast; only the worker of queue 0 gets them.
uint32_t ReceiveFloods(Lane& lane);

// A burst, by weight, from every port at home here.
uint32_t ReceiveFromPorts(Lane& lane);

// What other workers handed over; then lends them buffers for more.
uint32_t ReceiveHandovers(Lane& lane);

// The same for all that was handed over before the era `era` began; see rehome.h.
uint32_t ReceiveHandoversBefore(Lane& lane, uint8_t era);
// All that is in the default socket, or in the hand-over rings, when it is called.
void ReceiveAllOfDefault(Lane& lane);
void ReceiveAllHandovers(Lane& lane);

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_RECEIVE_H_

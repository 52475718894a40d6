// Adding up what workers and the kernel counted. Control threads.
#ifndef VMQD_DAEMON_CONTROL_STATUS_H_
#define VMQD_DAEMON_CONTROL_STATUS_H_

#include <string>

#include "daemon/control/model.h"
#include "daemon/datapath/counters.h"
#include "daemon/xdp/socket.h"

namespace vmqd {

// All but in_pkts, which the kernel counts.
void AddFrameCounters(const FrameCounters& counters, Counters& sum);

SocketStatus StatusOf(const XskSocket& socket, std::string role);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_STATUS_H_

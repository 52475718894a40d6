// What the kernel's netdev family says about receive queues, beyond QueueNapis of link.h. Used by
// link.cc; control threads.
#ifndef VMQD_DAEMON_XDP_NAPI_H_
#define VMQD_DAEMON_XDP_NAPI_H_

#include <cstdint>

namespace vmqd {

// Receive queues in use, or 0 where the kernel does not say: before Linux 6.7, or the device is
// down.
uint32_t CountReceiveQueues(int ifindex);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NAPI_H_

// The ethtool ioctl (SIOCETHTOOL) for one device of the calling thread's network namespace. Used by
// link.cc and link_features.cc; control threads.
#ifndef VMQD_DAEMON_XDP_ETHTOOL_H_
#define VMQD_DAEMON_XDP_ETHTOOL_H_

#include <cstdint>
#include <string_view>

namespace vmqd {

// `command` is one of the ethtool_* structures, its cmd set. A name no device can have is ENODEV.
// 0 or the errno.
int EthtoolCall(std::string_view device, void* command);

// Receive channels in use, combined ones included; 0 where the driver does not say.
uint32_t EthtoolReceiveChannels(std::string_view device);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_ETHTOOL_H_

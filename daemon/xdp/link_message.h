// Rtnetlink requests about one device, and the words in which errors name a device. Shared by
// link.cc and link_create.cc; control threads.
#ifndef VMQD_DAEMON_XDP_LINK_MESSAGE_H_
#define VMQD_DAEMON_XDP_LINK_MESSAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {

// An RTM_* request that begins with an ifinfomsg; ifindex 0 where the kernel is to choose or a name
// attribute follows. Never null.
NetlinkMessage NewLinkMessage(uint16_t type, int flags, int ifindex);

// Sends `message` on a socket of its own.
KernelAnswer SendRoute(nl_msg* message);

// "device va (index 7)"; "device with index 7" when it has no name here.
std::string DescribeDevice(int ifindex);

// kInvalidArgument unless `name` is one that a new device may have: 1 to 15 bytes, none of them a
// slash, colon, percent sign (the kernel would number it) or white space, not "." or "..".
absl::Status CheckNewDeviceName(const std::string& name);

// Stops the kernel from giving the device link-local IPv6 addresses of its own. Nothing happens on
// a kernel, or a device, without IPv6.
absl::Status DisableIpv6AddressGeneration(int ifindex);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_LINK_MESSAGE_H_

// Looking devices up and setting them, over rtnetlink. Control threads; the contract is in link.h.
//
// Two facts are not in rtnetlink. The receive queue count comes from the netdev family (Linux 6.7,
// device up), else from ethtool's channels, else from sysfs (a tap, on an older kernel or down).
// The NUMA node comes from sysfs.
#include "daemon/xdp/link.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/device_sysfs.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/link_parse.h"
#include "daemon/xdp/napi.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

// The rest of what a Link tells. Sysfs is looked at only where it knows more: reaching the right
// one can mean mounting it.
Link Complete(Link link) {
  const bool physical = link.kind.empty();
  link.queues = CountReceiveQueues(link.ifindex);
  if (link.queues == 0) link.queues = EthtoolReceiveChannels(link.name);
  if (link.queues > 0 && !physical) return link;
  const DeviceSysfs sysfs(link);
  if (link.queues == 0) link.queues = std::max(1U, sysfs.ReceiveQueues());
  if (physical) link.numa_node = sysfs.NumaNode();
  return link;
}

// Sends RTM_NEWLINK for an existing device, with the attributes that `put` adds.
KernelAnswer Change(int ifindex, const std::function<void(nl_msg*)>& put) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, 0, ifindex);
  put(message.get());
  return SendRoute(message.get());
}

}  // namespace

absl::StatusOr<Link> FindLink(std::string_view name) {
  auto found = LookUpLink(name);
  if (!found.ok()) return found.status();
  return Complete(std::move(found->link));
}

absl::StatusOr<Link> FindLink(int ifindex) {
  auto found = LookUpLink(ifindex);
  if (!found.ok()) return found.status();
  return Complete(std::move(found->link));
}

absl::Status DeleteLink(int ifindex) {
  const std::string attempted = absl::StrCat("deleting ", DescribeDevice(ifindex));
  NetlinkMessage message = NewLinkMessage(RTM_DELLINK, 0, ifindex);
  return KernelRefusal(SendRoute(message.get()), attempted);
}

absl::Status SetLinkUp(int ifindex) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, 0, ifindex);
  auto* header = static_cast<ifinfomsg*>(nlmsg_data(nlmsg_hdr(message.get())));
  header->ifi_flags = IFF_UP;
  header->ifi_change = IFF_UP;
  return KernelRefusal(SendRoute(message.get()),
                       absl::StrCat("setting ", DescribeDevice(ifindex), " up"));
}

absl::Status SetLinkMac(int ifindex, const MacAddress& mac) {
  const std::string attempted =
      absl::StrCat("setting the MAC address of ", DescribeDevice(ifindex), " to ", mac.ToString());
  if (mac.IsZero() || mac.IsMulticast()) {
    return absl::InvalidArgumentError(
        absl::StrCat(attempted, ": a device needs a unicast address that is not all zero"));
  }
  const KernelAnswer answer = Change(ifindex, [&](nl_msg* message) {
    nla_put(message, IFLA_ADDRESS, static_cast<int>(mac.bytes.size()), mac.bytes.data());
  });
  return KernelRefusal(answer, attempted,
                       answer.error == EBUSY ? "this driver wants the device down for that" : "");
}

absl::Status SetLinkMtu(int ifindex, uint32_t mtu) {
  const KernelAnswer answer =
      Change(ifindex, [&](nl_msg* message) { nla_put_u32(message, IFLA_MTU, mtu); });
  if (answer.ok()) return absl::OkStatus();
  const std::string attempted =
      absl::StrCat("setting the MTU of ", DescribeDevice(ifindex), " to ", mtu);
  std::string cure;
  if (auto link = FindLink(ifindex); link.ok()) {
    cure = absl::StrCat("it stays at ", link->mtu);
    if (link->max_mtu != 0) absl::StrAppend(&cure, ", the device takes at most ", link->max_mtu);
  }
  return KernelRefusal(answer, attempted, cure);
}

}  // namespace vmqd

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
#include <optional>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/device_sysfs.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/napi.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

constexpr unsigned kLowerUp = 1 << 16;  // IFF_LOWER_UP; <linux/if.h> clashes with <net/if.h>

std::string LinkKind(nlattr* link_info) {
  if (link_info == nullptr) return "";
  nlattr* kind =
      nla_find(static_cast<nlattr*>(nla_data(link_info)), nla_len(link_info), IFLA_INFO_KIND);
  return kind == nullptr ? "" : nla_get_string(kind);
}

std::optional<Link> ParseLink(nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWLINK) return std::nullopt;
  nlattr* attributes[IFLA_MAX + 1];
  if (nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) {
    return std::nullopt;
  }
  const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(header));
  Link link{.ifindex = info->ifi_index};
  link.up = info->ifi_flags & IFF_UP;
  link.carrier = info->ifi_flags & kLowerUp;
  if (nlattr* name = attributes[IFLA_IFNAME]) link.name = nla_get_string(name);
  if (nlattr* mtu = attributes[IFLA_MTU]) link.mtu = nla_get_u32(mtu);
  if (nlattr* mtu = attributes[IFLA_MAX_MTU]) link.max_mtu = nla_get_u32(mtu);
  nlattr* address = attributes[IFLA_ADDRESS];
  if (address != nullptr && nla_len(address) == static_cast<int>(link.mac.bytes.size())) {
    link.mac = MacAddress::FromWire(static_cast<const uint8_t*>(nla_data(address)));
  }
  link.kind = LinkKind(attributes[IFLA_LINKINFO]);
  return link;
}

uint32_t QueueCountOf(const Link& link, const DeviceSysfs& sysfs) {
  if (const uint32_t queues = CountReceiveQueues(link.ifindex); queues > 0) return queues;
  if (const uint32_t channels = EthtoolReceiveChannels(link.name); channels > 0) return channels;
  return std::max(1U, sysfs.ReceiveQueues());
}

absl::StatusOr<Link> Find(nl_msg* request, const std::string& described) {
  auto socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return socket.status();
  nla_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  std::optional<Link> link;
  const KernelAnswer answer =
      socket->Transact(request, [&](nlmsghdr* header) { link = ParseLink(header); });
  const std::string attempted = absl::StrCat("looking up ", described);
  if (!answer.ok()) return KernelRefusal(answer, attempted);
  if (!link) return absl::InternalError(absl::StrCat(attempted, ": the kernel sent no answer"));
  const DeviceSysfs sysfs(*link);
  link->queues = QueueCountOf(*link, sysfs);
  link->numa_node = sysfs.NumaNode();
  return *std::move(link);
}

// Sends RTM_NEWLINK for an existing device, with the attributes that `put` adds.
KernelAnswer Change(int ifindex, const std::function<void(nl_msg*)>& put) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, 0, ifindex);
  put(message.get());
  return SendRoute(message.get());
}

}  // namespace

absl::StatusOr<Link> FindLink(std::string_view device) {
  const std::string name(device);
  if (name.empty() || name.size() >= IF_NAMESIZE) {
    return absl::InvalidArgumentError(absl::StrCat(
        "looking up device \"", name, "\": a device name has 1 to ", IF_NAMESIZE - 1, " bytes"));
  }
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, 0, 0);
  nla_put_string(request.get(), IFLA_IFNAME, name.c_str());
  return Find(request.get(), absl::StrCat("device ", name));
}

absl::StatusOr<Link> FindLink(int ifindex) {
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, 0, ifindex);
  return Find(request.get(), absl::StrCat("device with index ", ifindex));
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

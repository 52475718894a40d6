// The nest IFLA_XDP of rtnetlink; the contract is in the header.
#include "daemon/xdp/xdp_query.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

uint32_t NumberOrZero(nlattr* attribute) {
  return attribute == nullptr ? 0 : nla_get_u32(attribute);
}

XdpPrograms Parse(nlmsghdr* header) {
  XdpPrograms programs;
  nlattr* nest = nlmsg_find_attr(header, sizeof(ifinfomsg), IFLA_XDP);
  nlattr* parts[IFLA_XDP_MAX + 1];
  if (nest == nullptr || nla_parse_nested(parts, IFLA_XDP_MAX, nest, nullptr) < 0) return programs;
  programs.native = NumberOrZero(parts[IFLA_XDP_DRV_PROG_ID]);
  programs.generic = NumberOrZero(parts[IFLA_XDP_SKB_PROG_ID]);
  programs.offloaded = NumberOrZero(parts[IFLA_XDP_HW_PROG_ID]);
  return programs;
}

}  // namespace

absl::StatusOr<XdpPrograms> QueryXdp(int ifindex) {
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, 0, ifindex);
  nla_put_u32(request.get(), IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  auto socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return socket.status();
  XdpPrograms programs;
  const KernelAnswer answer =
      socket->Transact(request.get(), [&](nlmsghdr* header) { programs = Parse(header); });
  if (answer.ok()) return programs;
  return KernelRefusal(answer,
                       absl::StrCat("looking for XDP programs on device with index ", ifindex));
}

}  // namespace vmqd

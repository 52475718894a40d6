// Rtnetlink requests about one device; the contract is in the header.
#include "daemon/xdp/link_message.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace vmqd {

NetlinkMessage NewLinkMessage(uint16_t type, int flags, int ifindex) {
  NetlinkMessage message(nlmsg_alloc_simple(type, flags));
  const ifinfomsg header{.ifi_family = AF_UNSPEC, .ifi_index = ifindex};
  if (message == nullptr || nlmsg_append(message.get(), const_cast<ifinfomsg*>(&header),
                                         sizeof(header), NLMSG_ALIGNTO) < 0) {
    std::abort();  // a page of memory
  }
  return message;
}

KernelAnswer SendRoute(nl_msg* message) {
  auto socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return {.error = EIO, .text = std::string(socket.status().message())};
  return socket->Transact(message);
}

std::string DescribeDevice(int ifindex) {
  char name[IF_NAMESIZE];
  if (if_indextoname(static_cast<unsigned>(ifindex), name) == nullptr) {
    return absl::StrCat("device with index ", ifindex);
  }
  return absl::StrCat("device ", name, " (index ", ifindex, ")");
}

absl::Status CheckNewDeviceName(const std::string& name) {
  bool valid = !name.empty() && name.size() < IF_NAMESIZE && name != "." && name != "..";
  for (const char c : name) {
    if (c == '/' || c == ':' || c == '%' || c == '\0' || absl::ascii_isspace(c)) valid = false;
  }
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("device name \"", name, "\" cannot be used: a name has 1 to ", IF_NAMESIZE - 1,
                   " bytes and no slash, colon, percent sign or white space"));
}

absl::Status DisableIpv6AddressGeneration(int ifindex) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, 0, ifindex);
  nlattr* families = nla_nest_start(message.get(), IFLA_AF_SPEC);
  nlattr* inet6 = nla_nest_start(message.get(), AF_INET6);
  nla_put_u8(message.get(), IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  nla_nest_end(message.get(), inet6);
  nla_nest_end(message.get(), families);
  const KernelAnswer answer = SendRoute(message.get());
  if (answer.error == EAFNOSUPPORT) return absl::OkStatus();
  return KernelRefusal(
      answer, absl::StrCat("switching IPv6 address generation off on ", DescribeDevice(ifindex)));
}

}  // namespace vmqd

// Parsing RTM_NEWLINK, and the marks of devices; the contract is in the header.
#include "daemon/xdp/link_parse.h"

#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

constexpr unsigned kLowerUp = 1 << 16;  // IFF_LOWER_UP; <linux/if.h> clashes with <net/if.h>

bool IsSet(nlattr* attribute) { return attribute != nullptr && nla_get_u8(attribute) != 0; }

void ParseTun(nlattr* data, LinkDetails& details) {
  nlattr* parts[IFLA_TUN_MAX + 1];
  if (data == nullptr || nla_parse_nested(parts, IFLA_TUN_MAX, data, nullptr) < 0) return;
  nlattr* type = parts[IFLA_TUN_TYPE];
  details.tap = type != nullptr && nla_get_u8(type) == IFF_TAP;
  details.vnet_header = IsSet(parts[IFLA_TUN_VNET_HDR]);
  details.packet_information = IsSet(parts[IFLA_TUN_PI]);
  details.multi_queue = IsSet(parts[IFLA_TUN_MULTI_QUEUE]);
}

void ParseInfo(nlattr* info, LinkDetails& details) {
  nlattr* parts[IFLA_INFO_MAX + 1];
  if (info == nullptr || nla_parse_nested(parts, IFLA_INFO_MAX, info, nullptr) < 0) return;
  if (nlattr* kind = parts[IFLA_INFO_KIND]) details.link.kind = nla_get_string(kind);
  if (details.link.kind == "tun") ParseTun(parts[IFLA_INFO_DATA], details);
}

// Asks for one device, or dumps all.
KernelAnswer Ask(nl_msg* request, const std::function<void(LinkDetails)>& on_link) {
  auto socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return {.error = EIO, .text = std::string(socket.status().message())};
  nla_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return socket->Transact(request, [&](nlmsghdr* header) {
    if (auto details = ParseLink(header)) on_link(*std::move(details));
  });
}

absl::StatusOr<LinkDetails> LookUp(nl_msg* request, const std::string& described) {
  std::optional<LinkDetails> found;
  const KernelAnswer answer =
      Ask(request, [&](LinkDetails details) { found = std::move(details); });
  const std::string attempted = absl::StrCat("looking up ", described);
  if (!answer.ok()) return KernelRefusal(answer, attempted);
  if (!found) return absl::InternalError(absl::StrCat(attempted, ": the kernel sent no answer"));
  return *std::move(found);
}

}  // namespace

std::optional<LinkDetails> ParseLink(nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWLINK) return std::nullopt;
  nlattr* attributes[IFLA_MAX + 1];
  if (nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) {
    return std::nullopt;
  }
  const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(header));
  LinkDetails details{.link = {.ifindex = info->ifi_index}};
  Link& link = details.link;
  link.up = info->ifi_flags & IFF_UP;
  link.carrier = info->ifi_flags & kLowerUp;
  if (nlattr* name = attributes[IFLA_IFNAME]) link.name = nla_get_string(name);
  if (nlattr* alias = attributes[IFLA_IFALIAS]) link.alias = nla_get_string(alias);
  if (nlattr* mtu = attributes[IFLA_MTU]) link.mtu = nla_get_u32(mtu);
  if (nlattr* mtu = attributes[IFLA_MAX_MTU]) link.max_mtu = nla_get_u32(mtu);
  nlattr* address = attributes[IFLA_ADDRESS];
  if (address != nullptr && nla_len(address) == static_cast<int>(link.mac.bytes.size())) {
    link.mac = MacAddress::FromWire(static_cast<const uint8_t*>(nla_data(address)));
  }
  if (nlattr* group = attributes[IFLA_GROUP]) details.group = nla_get_u32(group);
  nlattr* peer = attributes[IFLA_LINK];
  if (peer != nullptr && attributes[IFLA_LINK_NETNSID] == nullptr) {
    details.peer = static_cast<int>(nla_get_u32(peer));
  }
  ParseInfo(attributes[IFLA_LINKINFO], details);
  return details;
}

absl::StatusOr<LinkDetails> LookUpLink(std::string_view device) {
  const std::string name(device);
  if (name.empty() || name.size() >= IF_NAMESIZE) {
    return absl::InvalidArgumentError(absl::StrCat(
        "looking up device \"", name, "\": a device name has 1 to ", IF_NAMESIZE - 1, " bytes"));
  }
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, 0, 0);
  nla_put_string(request.get(), IFLA_IFNAME, name.c_str());
  return LookUp(request.get(), absl::StrCat("device ", name));
}

absl::StatusOr<LinkDetails> LookUpLink(int ifindex) {
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, 0, ifindex);
  return LookUp(request.get(), absl::StrCat("device with index ", ifindex));
}

absl::Status ForEachLink(const std::function<void(LinkDetails)>& on_link) {
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, NLM_F_DUMP, 0);
  return KernelRefusal(Ask(request.get(), on_link), "listing the devices");
}

uint32_t GroupOfMark(std::string_view mark) {
  const size_t first = mark.find(' ');
  const size_t second = first == mark.npos ? mark.npos : mark.find(' ', first + 1);
  if (second == mark.npos) return 0;
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : mark.substr(0, second + 1)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  }
  return (hash & 0x3fffffff) | 0x40000000;  // positive, and far from the numbers people use
}

absl::Status SetMark(int ifindex, std::string_view mark) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, 0, ifindex);
  nla_put_string(message.get(), IFLA_IFALIAS, std::string(mark).c_str());
  nla_put_u32(message.get(), IFLA_GROUP, 0);
  return KernelRefusal(SendRoute(message.get()),
                       absl::StrCat("marking ", DescribeDevice(ifindex), " as vmqd's"));
}

bool IsUnfinished(const LinkDetails& details, std::string_view mark) {
  const uint32_t group = GroupOfMark(mark);
  return group != 0 && details.group == group && details.link.alias.empty();
}

}  // namespace vmqd

// What rtnetlink says about a device, beyond the public Link. Shared by link.cc, link_create.cc and
// link_adopt.cc; control threads.
#ifndef VMQD_DAEMON_XDP_LINK_PARSE_H_
#define VMQD_DAEMON_XDP_LINK_PARSE_H_

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/xdp/link.h"

namespace vmqd {

struct LinkDetails {
  Link link;           // without queues and numa_node
  uint32_t group = 0;  // IFLA_GROUP
  int peer = 0;        // of a veth: the other end's index, 0 when it is in another namespace
  // Of kind "tun"; false for others.
  bool tap = false;
  bool vnet_header = false;
  bool packet_information = false;
  bool multi_queue = false;
};

// nullopt when `header` is not about a device of this namespace.
std::optional<LinkDetails> ParseLink(nlmsghdr* header);

absl::StatusOr<LinkDetails> LookUpLink(std::string_view name);
absl::StatusOr<LinkDetails> LookUpLink(int ifindex);
absl::Status ForEachLink(const std::function<void(LinkDetails)>& on_link);

// A mark is an alias, and an alias cannot be given with the request that makes a device; a group
// can. Until a new device has its mark it is in the group of its daemon: a number made of the
// mark's first two words, "vmqd <state_id> ".
uint32_t GroupOfMark(std::string_view mark);
// Gives the device its mark and takes it out of the group.
absl::Status SetMark(int ifindex, std::string_view mark);
// Still in the group: its maker died over it.
bool IsUnfinished(const LinkDetails& details, std::string_view mark);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_LINK_PARSE_H_

// Making devices: veth pairs and taps. Control threads; the contract is in link.h. A device that
// could not be finished is removed again: a caller sees a complete one or none.
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/link_finish.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/link_parse.h"

namespace vmqd {
namespace {

void PutEnd(nl_msg* message, const std::string& name, uint32_t mtu) {
  nla_put_string(message, IFLA_IFNAME, name.c_str());
  nla_put_u32(message, IFLA_MTU, mtu);
  nla_put_u32(message, IFLA_NUM_RX_QUEUES, 1);
  nla_put_u32(message, IFLA_NUM_TX_QUEUES, 1);
}

KernelAnswer AddVeth(const std::string& name, const std::string& peer, uint32_t mtu,
                     std::string_view mark) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
  nl_msg* m = message.get();
  PutEnd(m, name, mtu);
  nla_put_u32(m, IFLA_GROUP, GroupOfMark(mark));
  nlattr* info = nla_nest_start(m, IFLA_LINKINFO);
  nla_put_string(m, IFLA_INFO_KIND, "veth");
  nlattr* data = nla_nest_start(m, IFLA_INFO_DATA);
  nlattr* other = nla_nest_start(m, VETH_INFO_PEER);
  ifinfomsg header{};
  nlmsg_append(m, &header, sizeof(header), NLMSG_ALIGNTO);
  PutEnd(m, peer, mtu);
  nla_nest_end(m, other);
  nla_nest_end(m, data);
  nla_nest_end(m, info);
  return SendRoute(m);
}

absl::Status NameTaken(const std::string& attempted, const std::string& name) {
  return absl::AlreadyExistsError(
      absl::StrCat(attempted, ": there is a device ", name,
                   " already; choose another name, or remove it with `ip link del ", name, "`"));
}

absl::Status SetUpTap(const std::string& name, uint32_t mtu, std::string_view mark) {
  auto found = LookUpLink(name);
  if (!found.ok()) return found.status();
  if (!mark.empty()) {
    if (absl::Status status = SetMark(found->link.ifindex, mark); !status.ok()) return status;
  }
  return FinishTap(found->link.ifindex, mtu);
}

}  // namespace

absl::Status CreateVeth(std::string_view near_name, std::string_view far_name, uint32_t mtu,
                        std::string_view mark) {
  const std::string name(near_name);
  const std::string peer(far_name);
  for (const std::string& end : {name, peer}) {
    if (absl::Status status = CheckNewDeviceName(end); !status.ok()) return status;
  }
  const std::string attempted =
      absl::StrCat("creating the veth pair ", name, " and ", peer, " with MTU ", mtu);
  if (name == peer) {
    return absl::InvalidArgumentError(absl::StrCat(attempted, ": the ends need different names"));
  }
  const KernelAnswer answer = AddVeth(name, peer, mtu, mark);
  if (answer.error == EEXIST) return NameTaken(attempted, LookUpLink(name).ok() ? name : peer);
  if (!answer.ok()) {
    return KernelRefusal(answer, attempted,
                         answer.error == EOPNOTSUPP ? "`modprobe veth` loads the driver" : "");
  }
  auto near = LookUpLink(name);
  if (!near.ok()) return near.status();
  absl::Status status = FinishVeth(*near, mark);
  if (!status.ok()) DeleteLink(near->link.ifindex).IgnoreError();
  return status;
}

absl::Status CreateTap(std::string_view device, uint32_t mtu, std::string_view mark) {
  const std::string name(device);
  if (absl::Status status = CheckNewDeviceName(name); !status.ok()) return status;
  const std::string attempted = absl::StrCat("creating tap ", name);
  TapDescriptor tap;
  // TUNSETIFF would attach to an existing tap; IFF_TUN_EXCL makes that EBUSY.
  const int error = tap.Attach(name, IFF_TUN_EXCL);
  if (error == EBUSY) return NameTaken(attempted, name);
  if (error != 0) {
    return KernelRefusal({.error = error}, attempted, "`modprobe tun` loads the driver");
  }
  // Made persistent last: until then closing the descriptor removes the device.
  if (absl::Status status = SetUpTap(name, mtu, mark); !status.ok()) return status;
  if (const int refused = tap.MakePersistent(); refused != 0) {
    return KernelRefusal({.error = refused}, absl::StrCat(attempted, ": making it persistent"));
  }
  return absl::OkStatus();
}

}  // namespace vmqd

// Making devices: veth pairs and taps. Control threads; the contract is in link.h. A device that
// could not be finished is removed again: a caller sees a complete one or none.
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/link_message.h"

namespace vmqd {
namespace {

void PutEnd(nl_msg* message, const std::string& name, uint32_t mtu) {
  nla_put_string(message, IFLA_IFNAME, name.c_str());
  nla_put_u32(message, IFLA_MTU, mtu);
  nla_put_u32(message, IFLA_NUM_RX_QUEUES, 1);
  nla_put_u32(message, IFLA_NUM_TX_QUEUES, 1);
}

KernelAnswer AddVeth(const std::string& name, const std::string& peer, uint32_t mtu) {
  NetlinkMessage message = NewLinkMessage(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
  nl_msg* m = message.get();
  PutEnd(m, name, mtu);
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

// The end vmqd keeps must be silent before it comes up, hence the order.
absl::Status FinishVeth(int near, const std::string& peer) {
  if (absl::Status status = DisableIpv6AddressGeneration(near); !status.ok()) return status;
  auto far = FindLink(peer);
  if (!far.ok()) return far.status();
  if (absl::Status status = SetFeature(peer, "rx-gro", true); !status.ok()) return status;
  if (absl::Status status = SetLinkUp(near); !status.ok()) return status;
  return SetLinkUp(far->ifindex);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status SetUpTap(const std::string& name, uint32_t mtu) {
  auto link = FindLink(name);
  if (!link.ok()) return link.status();
  if (absl::Status status = DisableIpv6AddressGeneration(link->ifindex); !status.ok()) {
    return status;
  }
  if (absl::Status status = SetLinkMtu(link->ifindex, mtu); !status.ok()) return status;
  return SetLinkUp(link->ifindex);
}

}  // namespace

absl::Status CreateVeth(std::string_view near_name, std::string_view far_name, uint32_t mtu) {
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
  const KernelAnswer answer = AddVeth(name, peer, mtu);
  if (answer.error == EEXIST) return NameTaken(attempted, FindLink(name).ok() ? name : peer);
  if (!answer.ok()) {
    return KernelRefusal(answer, attempted,
                         answer.error == EOPNOTSUPP ? "`modprobe veth` loads the driver" : "");
  }
  auto near = FindLink(name);
  if (!near.ok()) return near.status();
  absl::Status status = FinishVeth(near->ifindex, peer);
  if (!status.ok()) DeleteLink(near->ifindex).IgnoreError();
  return status;
}

absl::Status CreateTap(std::string_view device, uint32_t mtu) {
  const std::string name(device);
  if (absl::Status status = CheckNewDeviceName(name); !status.ok()) return status;
  const std::string attempted = absl::StrCat("creating tap ", name);
  Descriptor tun(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (tun.get() < 0) {
    return KernelRefusal({.error = errno}, absl::StrCat(attempted, ": opening /dev/net/tun"),
                         "`modprobe tun` loads the driver");
  }
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  // TUNSETIFF would attach to an existing tap; IFF_TUN_EXCL makes that EBUSY.
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
  if (ioctl(tun.get(), TUNSETIFF, &request) < 0) {
    if (errno == EBUSY) return NameTaken(attempted, name);
    return KernelRefusal({.error = errno}, attempted);
  }
  // Made persistent last: until then closing the descriptor removes the device.
  if (absl::Status status = SetUpTap(name, mtu); !status.ok()) return status;
  if (ioctl(tun.get(), TUNSETPERSIST, 1) < 0) {
    return KernelRefusal({.error = errno}, absl::StrCat(attempted, ": making it persistent"));
  }
  return absl::OkStatus();
}

}  // namespace vmqd

// Network devices as rtnetlink and ethtool see them: look up, create, set, watch. Everything goes
// through sockets of the calling thread's network namespace. Sysfs is asked only for what nothing
// else tells (NUMA node, queues on old kernels), and believed only when its entry is this very
// device: a mounted sysfs may belong to another namespace.
//
// Errors: absl::Status whose message says what was attempted on which device, what the kernel said
// in words and, where known, what to try. kNotFound: no such device. Blocking; control threads
// only.
#ifndef VMQD_DAEMON_XDP_LINK_H_
#define VMQD_DAEMON_XDP_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/net/mac_address.h"

namespace vmqd {

struct Link {
  int ifindex = 0;
  std::string name;
  std::string kind;  // "veth", "tun", ...; empty for physical devices
  MacAddress mac;
  uint32_t mtu = 0;      // bytes of payload
  uint32_t max_mtu = 0;  // 0: not said
  bool up = false;       // IFF_UP
  bool carrier = false;  // IFF_LOWER_UP: frames can leave
  uint32_t queues = 1;   // receive queues in use (real_num_rx_queues)
  int numa_node = -1;    // -1: not known
  std::string alias;     // IFLA_IFALIAS; the mark of a device that vmqd made
};

absl::StatusOr<Link> FindLink(std::string_view name);
absl::StatusOr<Link> FindLink(int ifindex);

// A veth pair with one queue on each side, both ends up, IPv6 address generation off on `name` (the
// end vmqd keeps). kAlreadyExists when either name is taken. GRO is switched on at the peer, so
// that its NAPI runs and frames can be handed to it. `mark` is the alias of `name`, see below;
// empty: none.
absl::Status CreateVeth(std::string_view name, std::string_view peer, uint32_t mtu,
                        std::string_view mark = "");

// A persistent single-queue tap (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), up, IPv6 address generation
// off. kAlreadyExists when the name is taken. `mark` is its alias, see below; empty: none.
absl::Status CreateTap(std::string_view name, uint32_t mtu, std::string_view mark = "");

// Devices that vmqd makes are marked, "vmqd <state_id> <port id>", at most 255 bytes, so that a
// daemon that starts knows its own from all others: it takes over those it has a use for and
// deletes the rest. A device whose maker died before it had its alias counts as marked as well.

// Takes over a device that an earlier daemon made with Create* and exactly this mark, and finishes
// it: MTU, up, the rest of what Create* sets. kNotFound when there is none of that name;
// kAlreadyExists when it is of another kind or bears another mark, or none; it is left alone then.
// A tap that a VMM has open keeps the offloads the VMM chose. The peer of a veth, wherever it is by
// now, is its user's and left alone, except where the pair was never finished.
absl::Status AdoptTap(std::string_view name, uint32_t mtu, std::string_view mark);
absl::Status AdoptVeth(std::string_view name, uint32_t mtu, std::string_view mark);

// The devices of this namespace whose mark begins with `prefix`, "vmqd <state_id> ". Their `queues`
// and `numa_node` are not looked up; `alias` is empty where the maker died too early.
absl::StatusOr<std::vector<Link>> MarkedLinks(std::string_view prefix);

absl::Status DeleteLink(int ifindex);
absl::Status SetLinkUp(int ifindex);
absl::Status SetLinkMac(int ifindex, const MacAddress& mac);
absl::Status SetLinkMtu(int ifindex, uint32_t mtu);

// Offload features of a device, by ethtool's string-set names ("rx-vlan-hw-parse", "rx-lro").
struct Feature {
  bool known = false;  // the device lists it
  bool active = false;
  bool changeable = false;  // neither fixed nor never-changing
};
absl::StatusOr<Feature> GetFeature(std::string_view device, std::string_view feature);
absl::Status SetFeature(std::string_view device, std::string_view feature, bool on);

// A NAPI instance of a device (netdev generic netlink, Linux 6.8). Empty on kernels without it.
struct Napi {
  uint32_t id = 0;
  int thread = 0;  // pid of its kernel thread, 0 when it runs in softirq context
  int irq = -1;    // -1: none, or not said
};
// One entry per receive queue 0..queues-1, id 0 where nothing is known. Where the kernel does not
// link queues to NAPIs (veth), the n-th NAPI id is taken for queue n, if there are as many.
std::vector<Napi> QueueNapis(int ifindex, uint32_t queues);

// Calls back, on a thread of its own, for every change of a device: state, name, MTU, removal.
class LinkMonitor {
 public:
  struct Event {
    int ifindex = 0;
    bool removed = false;  // deleted, or moved to another namespace
    bool up = false;
    bool carrier = false;
    uint32_t mtu = 0;
    // Messages were lost (ENOBUFS): look at every device again. ifindex is 0 then.
    bool overrun = false;
  };
  static absl::StatusOr<std::unique_ptr<LinkMonitor>> Start(
      std::function<void(const Event&)> on_event);
  virtual ~LinkMonitor() = default;  // stops the thread
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_LINK_H_

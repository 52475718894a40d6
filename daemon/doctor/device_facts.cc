// Asking the kernel about one device; the contract is in the header.
#include "daemon/doctor/device_facts.h"

#include <bpf/bpf.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd::doctor {
namespace {

// Documentation/netlink/specs/netdev.yaml of the kernel.
constexpr uint8_t kCommandDevGet = 1;
constexpr int kDevIfindex = 1;
constexpr int kDevXdpFeatures = 3;

std::optional<uint64_t> XdpFeaturesOf(int ifindex) {
  auto socket = NetlinkSocket::Open(NETLINK_GENERIC);
  if (!socket.ok()) return std::nullopt;
  const int family = genl_ctrl_resolve(socket->get(), "netdev");
  if (family < 0) return std::nullopt;
  NetlinkMessage message(nlmsg_alloc());
  if (message == nullptr || genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0,
                                        kCommandDevGet, 1) == nullptr) {
    return std::nullopt;
  }
  nla_put_u32(message.get(), kDevIfindex, static_cast<uint32_t>(ifindex));
  std::optional<uint64_t> features;
  const KernelAnswer answer = socket->Transact(message.get(), [&](nlmsghdr* header) {
    nlattr* attributes[kDevXdpFeatures + 1];
    if (genlmsg_parse(header, 0, attributes, kDevXdpFeatures, nullptr) != 0) return;
    if (nlattr* value = attributes[kDevXdpFeatures]) features = nla_get_u64(value);
  });
  return answer.ok() ? features : std::nullopt;
}

// The program's name, where the caller may ask for it.
std::string ProgramName(uint32_t id) {
  const int fd = bpf_prog_get_fd_by_id(id);
  if (fd < 0) return "";
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  std::string name;
  if (bpf_obj_get_info_by_fd(fd, &info, &length) == 0) {
    name.assign(info.name, strnlen(info.name, sizeof(info.name)));
  }
  close(fd);
  return name;
}

std::vector<AttachedXdp> ParsePrograms(nlattr* nested) {
  nlattr* xdp[IFLA_XDP_MAX + 1];
  if (nla_parse_nested(xdp, IFLA_XDP_MAX, nested, nullptr) < 0) return {};
  std::vector<AttachedXdp> programs;
  const auto add = [&](const char* mode, int attribute) {
    if (xdp[attribute] == nullptr) return;
    const uint32_t id = nla_get_u32(xdp[attribute]);
    programs.push_back({mode, id, ProgramName(id)});
  };
  add("native", IFLA_XDP_DRV_PROG_ID);
  add("generic", IFLA_XDP_SKB_PROG_ID);
  add("offloaded", IFLA_XDP_HW_PROG_ID);
  return programs;
}

std::string KindOf(nlattr* link_info) {
  if (link_info == nullptr) return "";
  nlattr* kind =
      nla_find(static_cast<nlattr*>(nla_data(link_info)), nla_len(link_info), IFLA_INFO_KIND);
  return kind == nullptr ? "" : nla_get_string(kind);
}

// What rtnetlink tells that Link does not hold.
void LearnFromRoute(DeviceFacts& facts) {
  auto socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return;
  NetlinkMessage request = NewLinkMessage(RTM_GETLINK, 0, facts.link.ifindex);
  int master = 0;
  socket->Transact(request.get(), [&](nlmsghdr* header) {
    nlattr* attributes[IFLA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) {
      return;
    }
    const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(header));
    facts.loopback = info->ifi_flags & IFF_LOOPBACK;
    facts.ethernet = info->ifi_type == ARPHRD_ETHER;
    if (attributes[IFLA_MASTER]) master = static_cast<int>(nla_get_u32(attributes[IFLA_MASTER]));
    if (attributes[IFLA_XDP]) facts.programs = ParsePrograms(attributes[IFLA_XDP]);
  });
  if (master == 0) return;
  facts.master = absl::StrCat("index ", master);
  request = NewLinkMessage(RTM_GETLINK, 0, master);
  socket->Transact(request.get(), [&](nlmsghdr* header) {
    nlattr* attributes[IFLA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) {
      return;
    }
    if (attributes[IFLA_IFNAME]) facts.master = nla_get_string(attributes[IFLA_IFNAME]);
    facts.master_kind = KindOf(attributes[IFLA_LINKINFO]);
  });
}

void LearnDriver(DeviceFacts& facts) {
  ethtool_drvinfo info{.cmd = ETHTOOL_GDRVINFO};
  if (EthtoolCall(facts.link.name, &info) != 0) return;
  facts.driver.assign(info.driver, strnlen(info.driver, sizeof(info.driver)));
  facts.bus.assign(info.bus_info, strnlen(info.bus_info, sizeof(info.bus_info)));
}

void LearnChannels(DeviceFacts& facts) {
  ethtool_channels channels{.cmd = ETHTOOL_GCHANNELS};
  if (EthtoolCall(facts.link.name, &channels) != 0) return;
  facts.channels = Channels{channels.rx_count + channels.combined_count,
                            channels.max_rx + channels.max_combined};
}

void LearnRss(DeviceFacts& facts) {
  ethtool_rxfh_indir size{.cmd = ETHTOOL_GRXFHINDIR};
  if (EthtoolCall(facts.link.name, &size) != 0 || size.size == 0) return;
  std::vector<uint32_t> words(2 + size.size);
  auto* table = reinterpret_cast<ethtool_rxfh_indir*>(words.data());
  table->cmd = ETHTOOL_GRXFHINDIR;
  table->size = size.size;
  if (EthtoolCall(facts.link.name, table) != 0) return;
  facts.rss_queues = static_cast<uint32_t>(std::set(words.begin() + 2, words.end()).size());
}

void LearnRules(DeviceFacts& facts) {
  ethtool_rxnfc rules{.cmd = ETHTOOL_GRXCLSRLCNT};
  if (EthtoolCall(facts.link.name, &rules) == 0) facts.rules = rules.rule_cnt;
}

// Believed only when the mounted sysfs shows this very device, as in device_sysfs.h.
bool IsWireless(const Link& link) {
  const std::string directory = absl::StrCat("/sys/class/net/", link.name);
  int ifindex = 0;
  std::ifstream(directory + "/ifindex") >> ifindex;
  struct stat found {};
  return ifindex == link.ifindex && stat((directory + "/phy80211").c_str(), &found) == 0;
}

}  // namespace

absl::StatusOr<DeviceFacts> LearnDevice(const std::string& device) {
  auto link = FindLink(device);
  if (!link.ok()) return link.status();
  DeviceFacts facts;
  facts.link = *std::move(link);
  LearnFromRoute(facts);
  LearnDriver(facts);
  LearnChannels(facts);
  LearnRss(facts);
  LearnRules(facts);
  facts.wireless = IsWireless(facts.link);
  facts.xdp_features = XdpFeaturesOf(facts.link.ifindex);
  facts.napis = QueueNapis(facts.link.ifindex, facts.link.queues);
  return facts;
}

}  // namespace vmqd::doctor

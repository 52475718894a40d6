// Reading is the ioctl, as elsewhere; setting is netlink, because only there the kernel says which
// of its many reasons a refusal has.
#include "daemon/xdp/nic_channels.h"

#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

// A closed socket's queue is free within 15 to 20 ms; on a busy machine, later.
constexpr std::chrono::milliseconds kPatience{500};
constexpr std::chrono::milliseconds kRetry{5};

struct Kind {
  const char* name;
  uint32_t ChannelCounts::*count;
  int attribute;
};
constexpr Kind kKinds[] = {
    {"combined", &ChannelCounts::combined, ETHTOOL_A_CHANNELS_COMBINED_COUNT},
    {"rx", &ChannelCounts::receive, ETHTOOL_A_CHANNELS_RX_COUNT},
    {"tx", &ChannelCounts::transmit, ETHTOOL_A_CHANNELS_TX_COUNT},
};

KernelAnswer Send(const std::string& device, const ChannelCounts& counts,
                  const ChannelCounts& now) {
  auto socket = NetlinkSocket::Open(NETLINK_GENERIC);
  if (!socket.ok()) return {.error = EIO, .text = std::string(socket.status().message())};
  const int family = genl_ctrl_resolve(socket->get(), ETHTOOL_GENL_NAME);
  NetlinkMessage message(nlmsg_alloc());
  if (family < 0 || message == nullptr ||
      genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, NLM_F_ACK,
                  ETHTOOL_MSG_CHANNELS_SET, ETHTOOL_GENL_VERSION) == nullptr) {
    return {.error = EOPNOTSUPP};
  }
  nlattr* header = nla_nest_start(message.get(), ETHTOOL_A_CHANNELS_HEADER | NLA_F_NESTED);
  nla_put_string(message.get(), ETHTOOL_A_HEADER_DEV_NAME, device.c_str());
  nla_nest_end(message.get(), header);
  for (const Kind& kind : kKinds) {
    // A driver that has none of a kind refuses to be told so.
    if (counts.*kind.count == now.*kind.count) continue;
    nla_put_u32(message.get(), kind.attribute, counts.*kind.count);
  }
  return socket->Transact(message.get());
}

// Whether the kernel refused because of a socket that may be about to go.
bool MayPass(const KernelAnswer& answer) {
  return answer.error == EBUSY || answer.text.find("AF_XDP") != std::string::npos;
}

}  // namespace

ChannelCounts NicChannels::ForQueues(uint32_t queues) const {
  if (now.combined > 0 || most.receive == 0) return {.combined = queues};
  return {.receive = queues, .transmit = queues};
}

uint32_t NicChannels::MostQueues() const {
  return now.combined > 0 || most.receive == 0 ? most.combined
                                               : std::min(most.receive, most.transmit);
}

std::string FormatChannels(const ChannelCounts& counts) {
  std::vector<std::string> parts;
  for (const Kind& kind : kKinds) {
    if (counts.*kind.count > 0) parts.push_back(absl::StrCat(kind.name, " ", counts.*kind.count));
  }
  return absl::StrJoin(parts, " ");
}

absl::StatusOr<ChannelCounts> ParseChannels(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  ChannelCounts counts;
  bool good = words.size() % 2 == 0;
  for (size_t i = 0; good && i < words.size(); i += 2) {
    const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                    [&](const Kind& one) { return words[i] == one.name; });
    good = kind != std::end(kKinds) && absl::SimpleAtoi(words[i + 1], &(counts.*kind->count));
  }
  if (good && QueuesOf(counts) > 0) return counts;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" does not count channels"));
}

absl::StatusOr<NicChannels> ReadChannels(const std::string& device) {
  ethtool_channels found{.cmd = ETHTOOL_GCHANNELS};
  if (const int error = EthtoolCall(device, &found); error != 0) {
    return KernelRefusal({.error = error},
                         absl::StrCat("reading how many queues device ", device, " can have"));
  }
  return NicChannels{.now = {found.combined_count, found.rx_count, found.tx_count},
                     .most = {found.max_combined, found.max_rx, found.max_tx}};
}

absl::Status WriteChannels(const std::string& device, const ChannelCounts& counts) {
  const auto before = ReadChannels(device);
  if (!before.ok()) return before.status();
  if (before->now == counts) return absl::OkStatus();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  KernelAnswer answer = Send(device, counts, before->now);
  while (MayPass(answer) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kRetry);
    answer = Send(device, counts, before->now);
  }
  return KernelRefusal(answer,
                       absl::StrCat("giving device ", device, " queues: ", FormatChannels(counts)));
}

}  // namespace vmqd

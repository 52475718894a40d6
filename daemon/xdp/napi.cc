// Queues and NAPI instances over the netdev generic netlink family. Control threads; the contracts
// are in link.h and napi.h. A kernel without the family, or without a command of it, is an empty
// answer, never an error: everything here is advice on where to run.
#include "daemon/xdp/napi.h"

#include <linux/genetlink.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/xdp/link.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

// The kernel's interface as of Linux 6.8 (Documentation/netlink/specs/netdev.yaml), which the
// headers of older distributions lack.
constexpr char kFamilyName[] = "netdev";
constexpr uint8_t kFamilyVersion = 1;
constexpr uint8_t kCommandQueueGet = 10;
constexpr uint8_t kCommandNapiGet = 11;

constexpr int kQueueId = 1;
constexpr int kQueueIfindex = 2;
constexpr int kQueueType = 3;  // 0: receive
constexpr int kQueueNapiId = 4;
constexpr int kQueueMax = kQueueNapiId;

constexpr int kNapiIfindex = 1;
constexpr int kNapiId = 2;
constexpr int kNapiIrq = 3;
constexpr int kNapiPid = 4;
constexpr int kNapiMax = kNapiPid;

class NetdevFamily {
 public:
  static std::optional<NetdevFamily> Open() {
    auto socket = NetlinkSocket::Open(NETLINK_GENERIC);
    if (!socket.ok()) return std::nullopt;
    const int id = genl_ctrl_resolve(socket->get(), kFamilyName);
    if (id < 0) return std::nullopt;
    return NetdevFamily(*std::move(socket), id);
  }

  // Dumps what `command` says about one device; `on_object` gets the attributes 0..max of each.
  void Dump(uint8_t command, int ifindex_attribute, int ifindex, int max,
            const std::function<void(nlattr**)>& on_object) {
    NetlinkMessage message(nlmsg_alloc());
    if (message == nullptr || genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, id_, 0,
                                          NLM_F_DUMP, command, kFamilyVersion) == nullptr) {
      return;
    }
    nla_put_u32(message.get(), ifindex_attribute, static_cast<uint32_t>(ifindex));
    std::vector<nlattr*> attributes(static_cast<size_t>(max) + 1);
    socket_.Transact(message.get(), [&](nlmsghdr* header) {
      if (genlmsg_parse(header, 0, attributes.data(), max, nullptr) == 0) {
        on_object(attributes.data());
      }
    });
  }

 private:
  NetdevFamily(NetlinkSocket socket, int id) : socket_(std::move(socket)), id_(id) {}
  NetlinkSocket socket_;
  int id_;
};

uint32_t NumberOr(nlattr* attribute, uint32_t absent) {
  return attribute == nullptr ? absent : nla_get_u32(attribute);
}

// Receive queue -> NAPI id, 0 where the driver does not link the two.
std::map<uint32_t, uint32_t> ReceiveQueues(NetdevFamily& family, int ifindex) {
  std::map<uint32_t, uint32_t> queues;
  family.Dump(kCommandQueueGet, kQueueIfindex, ifindex, kQueueMax, [&](nlattr** attributes) {
    if (attributes[kQueueId] == nullptr || NumberOr(attributes[kQueueType], 1) != 0) return;
    queues[nla_get_u32(attributes[kQueueId])] = NumberOr(attributes[kQueueNapiId], 0);
  });
  return queues;
}

// By ascending id, the order in which drivers register them.
std::map<uint32_t, Napi> Napis(NetdevFamily& family, int ifindex) {
  std::map<uint32_t, Napi> napis;
  family.Dump(kCommandNapiGet, kNapiIfindex, ifindex, kNapiMax, [&](nlattr** attributes) {
    Napi napi{.id = NumberOr(attributes[kNapiId], 0)};
    napi.thread = static_cast<int>(NumberOr(attributes[kNapiPid], 0));
    napi.irq = static_cast<int>(NumberOr(attributes[kNapiIrq], static_cast<uint32_t>(-1)));
    if (napi.id != 0) napis[napi.id] = napi;
  });
  return napis;
}

}  // namespace

uint32_t CountReceiveQueues(int ifindex) {
  auto family = NetdevFamily::Open();
  return family ? static_cast<uint32_t>(ReceiveQueues(*family, ifindex).size()) : 0;
}

std::vector<Napi> QueueNapis(int ifindex, uint32_t queues) {
  std::vector<Napi> result(queues);
  auto family = NetdevFamily::Open();
  if (!family) return result;
  const std::map<uint32_t, Napi> napis = Napis(*family, ifindex);
  bool linked = false;
  for (const auto& [queue, id] : ReceiveQueues(*family, ifindex)) {
    const auto napi = napis.find(id);
    if (queue >= queues || napi == napis.end()) continue;
    result[queue] = napi->second;
    linked = true;
  }
  if (!linked && napis.size() == queues) {
    std::transform(napis.begin(), napis.end(), result.begin(),
                   [](const auto& entry) { return entry.second; });
  }
  return result;
}

}  // namespace vmqd

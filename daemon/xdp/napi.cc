// Queues and NAPI instances over the netdev generic netlink family. Control threads; the contracts
// are in link.h and napi.h. A kernel without the family, or without a command of it, is an empty
// answer, never an error: everything here is advice on where to run.
#include "daemon/xdp/napi.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "daemon/xdp/link.h"
#include "daemon/xdp/netdev_family.h"

namespace vmqd {
namespace {

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

// Dumps what `command` says about one device; `on_object` gets the attributes 0..max of each.
void Dump(NetdevFamily& family, uint8_t command, int ifindex_attribute, int ifindex, int max,
          const std::function<void(nlattr**)>& on_object) {
  family.Ask(
      command, NLM_F_DUMP,
      [&](nl_msg* message) {
        nla_put_u32(message, ifindex_attribute, static_cast<uint32_t>(ifindex));
      },
      max, on_object);
}

uint32_t NumberOr(nlattr* attribute, uint32_t absent) {
  return attribute == nullptr ? absent : nla_get_u32(attribute);
}

// Receive queue -> NAPI id, 0 where the driver does not link the two.
std::map<uint32_t, uint32_t> ReceiveQueues(NetdevFamily& family, int ifindex) {
  std::map<uint32_t, uint32_t> queues;
  Dump(family, NetdevFamily::kQueueGet, kQueueIfindex, ifindex, kQueueMax,
       [&](nlattr** attributes) {
         if (attributes[kQueueId] == nullptr || NumberOr(attributes[kQueueType], 1) != 0) return;
         queues[nla_get_u32(attributes[kQueueId])] = NumberOr(attributes[kQueueNapiId], 0);
       });
  return queues;
}

// By ascending id, the order in which drivers register them.
std::map<uint32_t, Napi> Napis(NetdevFamily& family, int ifindex) {
  std::map<uint32_t, Napi> napis;
  Dump(family, NetdevFamily::kNapiGet, kNapiIfindex, ifindex, kNapiMax, [&](nlattr** attributes) {
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

#include "daemon/xdp/nic_spread.h"

#include <linux/ethtool.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

using Command = CommandBuffer<ethtool_rxfh_indir, uint32_t>;

absl::Status Refused(int error, const char* what, const std::string& device) {
  return KernelRefusal({.error = error},
                       absl::StrCat(what, " the indirection table of device ", device));
}

absl::StatusOr<uint32_t> TableSize(const std::string& device) {
  ethtool_rxfh_indir size{.cmd = ETHTOOL_GRXFHINDIR};
  const int error = EthtoolCall(device, &size);
  if (error != 0) return Refused(error, "reading", device);
  if (size.size == 0) return Refused(EOPNOTSUPP, "reading", device);
  return size.size;
}

absl::StatusOr<std::vector<uint32_t>> ReadTable(const std::string& device) {
  auto size = TableSize(device);
  if (!size.ok()) return size.status();
  Command table(ETHTOOL_GRXFHINDIR, *size);
  table.get()->size = *size;
  const int error = EthtoolCall(device, table.get());
  if (error != 0) return Refused(error, "reading", device);
  return std::vector<uint32_t>(table.elements(), table.elements() + *size);
}

}  // namespace

std::vector<uint32_t> ShortestSpread(std::vector<uint32_t> table) {
  for (size_t length = 1; length < table.size(); ++length) {
    if (std::equal(table.begin() + static_cast<ptrdiff_t>(length), table.end(), table.begin())) {
      table.resize(length);
    }
  }
  return table;
}

std::vector<uint32_t> InitialSpread(const std::string& device) {
  std::vector<uint32_t> all(EthtoolReceiveChannels(device));
  std::iota(all.begin(), all.end(), 0U);
  return all;
}

absl::StatusOr<std::vector<uint32_t>> ReadSpread(const std::string& device) {
  auto table = ReadTable(device);
  if (!table.ok()) return table.status();
  return ShortestSpread(*std::move(table));
}

absl::Status WriteSpread(const std::string& device, const std::vector<uint32_t>& queues) {
  if (queues == InitialSpread(device)) {
    ethtool_rxfh_indir initial{.cmd = ETHTOOL_SRXFHINDIR};
    const std::vector<uint32_t> none;
    if (EthtoolCall(device, &initial) == 0 && ReadSpread(device).value_or(none) == queues) {
      return absl::OkStatus();
    }
  }
  auto size = TableSize(device);
  if (!size.ok()) return size.status();
  Command table(ETHTOOL_SRXFHINDIR, *size);
  table.get()->size = *size;
  for (uint32_t i = 0; i < *size; ++i) table.elements()[i] = queues[i % queues.size()];
  const int error = EthtoolCall(device, table.get());
  return error == 0 ? absl::OkStatus() : Refused(error, "changing", device);
}

}  // namespace vmqd

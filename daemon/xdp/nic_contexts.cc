#include "daemon/xdp/nic_contexts.h"

#include <linux/ethtool.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/netlink_socket.h"
#include "daemon/xdp/nic_quirks.h"
#include "daemon/xdp/nic_spread.h"

namespace vmqd {
namespace {

using Command = CommandBuffer<ethtool_rxfh, uint32_t>;

absl::Status Refused(int error, const char* what, const std::string& device) {
  return KernelRefusal({.error = error}, absl::StrCat(what, " RSS contexts of device ", device),
                       MeaningOf(error, kContextRefusals));
}

std::string Attempt(const char* what, const std::vector<uint32_t>& queues) {
  return absl::StrCat(what, " one over queues ", absl::StrJoin(queues, ","), " among the");
}

// Entries of a context's table, which are as many as those of the device's own.
absl::StatusOr<uint32_t> TableSize(const std::string& device) {
  ethtool_rxfh size{.cmd = ETHTOOL_GRSSH};
  const int error = EthtoolCall(device, &size);
  if (error != 0) return Refused(error, "reading the", device);
  if (size.indir_size == 0) return Refused(EOPNOTSUPP, "reading the", device);
  return size.indir_size;
}

// 0 or the errno.
int ReadContext(const std::string& device, uint32_t context, std::vector<uint32_t>& table) {
  Command command(ETHTOOL_GRSSH, table.size());
  command.get()->rss_context = context;
  command.get()->indir_size = static_cast<uint32_t>(table.size());
  const int error = EthtoolCall(device, command.get());
  if (error == 0) table.assign(command.elements(), command.elements() + table.size());
  return error;
}

// One without a table, a key and a function is what the kernel deletes.
int Delete(const std::string& device, uint32_t context) {
  ethtool_rxfh command{.cmd = ETHTOOL_SRSSH, .rss_context = context};
  return EthtoolCall(device, &command);
}

}  // namespace

absl::StatusOr<NicContexts> ReadContexts(const std::string& device) {
  const auto size = TableSize(device);
  if (!size.ok()) return size.status();
  NicContexts contexts;
  std::vector<uint32_t> table(*size);
  for (uint32_t context = 1; context <= kMostContexts; ++context) {
    const int error = ReadContext(device, context, table);
    if (error == EOPNOTSUPP) return Refused(error, "reading the", device);
    // Drivers have several errors for a context that is not there.
    if (error == 0) contexts[context] = ShortestSpread(table);
  }
  return contexts;
}

absl::StatusOr<std::optional<uint32_t>> FindContext(const std::string& device,
                                                    const std::vector<uint32_t>& queues) {
  const auto contexts = ReadContexts(device);
  if (!contexts.ok()) return contexts.status();
  for (const auto& [context, spread] : *contexts) {
    if (spread == queues) return context;
  }
  return std::nullopt;
}

absl::Status MakeContext(const std::string& device, const std::vector<uint32_t>& queues) {
  const std::string attempted = Attempt("making", queues);
  const auto size = TableSize(device);
  if (!size.ok()) return size.status();
  Command command(ETHTOOL_SRSSH, *size);
  command.get()->rss_context = ETH_RXFH_CONTEXT_ALLOC;
  command.get()->indir_size = *size;
  for (uint32_t i = 0; i < *size; ++i) command.elements()[i] = queues[i % queues.size()];
  const int error = EthtoolCall(device, command.get());
  if (error != 0) return Refused(error, attempted.c_str(), device);
  const auto made = FindContext(device, queues);
  if (made.ok() && *made) return absl::OkStatus();
  Delete(device, command.get()->rss_context);
  return absl::UnimplementedError(
      absl::StrCat(attempted, " RSS contexts of device ", device,
                   ": the driver says it is done, but the context does not read back"));
}

absl::Status RemoveContext(const std::string& device, const std::vector<uint32_t>& queues) {
  const auto context = FindContext(device, queues);
  if (!context.ok()) return context.status();
  if (!*context) return absl::OkStatus();
  return Refused(Delete(device, **context), Attempt("removing", queues).c_str(), device);
}

}  // namespace vmqd

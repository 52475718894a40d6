// RSS contexts of a NIC, through ethtool: further indirection tables beside the one of
// nic_spread.h, each over some queues, for rules that name them (nic_rules.h). A context is known
// by its queues: numbers are the NIC's, and others after a reset.
//
// By the ioctl, which kernels serve whose drivers have the newer operations (Linux 6.12) as well.
// Control threads, in the device's network namespace; blocking. No state: the NIC has it.
#ifndef VMQD_DAEMON_XDP_NIC_CONTEXTS_H_
#define VMQD_DAEMON_XDP_NIC_CONTEXTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

// The queues that each context's table repeats, as ReadSpread tells them, by its number.
using NicContexts = std::map<uint32_t, std::vector<uint32_t>>;

// kUnimplemented, here and below: the device has no contexts.
absl::StatusOr<NicContexts> ReadContexts(const std::string& device);

// The first context over exactly these queues, whoever made it; nothing when there is none.
absl::StatusOr<std::optional<uint32_t>> FindContext(const std::string& device,
                                                    const std::vector<uint32_t>& queues);

// Makes one, with the device's own hash, and reads it back. kResourceExhausted: all are taken.
absl::Status MakeContext(const std::string& device, const std::vector<uint32_t>& queues);

// Nothing when there is none. An error while a rule names it.
absl::Status RemoveContext(const std::string& device, const std::vector<uint32_t>& queues);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NIC_CONTEXTS_H_

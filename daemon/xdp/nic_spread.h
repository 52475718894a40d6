// How a NIC spreads the frames that no rule names over its queues: the indirection table of receive
// side scaling, through ethtool. Control threads, in the device's network namespace; blocking.
#ifndef VMQD_DAEMON_XDP_NIC_SPREAD_H_
#define VMQD_DAEMON_XDP_NIC_SPREAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

// The queues of the table's entries, as short as it can be told: 0 1 2 3 stands for all entries
// when they repeat it. kUnimplemented when the device has no table.
absl::StatusOr<std::vector<uint32_t>> ReadSpread(const std::string& device);

// Repeats `queues`, which is not empty, until the table is full. All queues of the device in order
// is what a driver begins with, and is set by asking for that: from then on it follows ethtool -L.
absl::Status WriteSpread(const std::string& device, const std::vector<uint32_t>& queues);

// That beginning, as ReadSpread tells it.
std::vector<uint32_t> InitialSpread(const std::string& device);

// The first entries of a table, as many as it takes until the rest only repeats them.
std::vector<uint32_t> ShortestSpread(std::vector<uint32_t> table);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NIC_SPREAD_H_

// Requests that change something, checked for their shape and turned into what daemon/control works
// with. Shape is what can be told from the request alone: names, ids, addresses, ranges, which
// field goes with which kind. Whether it fits the machine and the switch is for Switch to say.
// Fields marked output only are ignored, as AIP-203 wants. Called by service.cc and by the unit
// tests; pure functions; any thread.
//
// A refusal is INVALID_ARGUMENT; proto/README.md lists the reasons.
#ifndef VMQD_DAEMON_RPC_REQUEST_H_
#define VMQD_DAEMON_RPC_REQUEST_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/control/model.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::rpc {

absl::StatusOr<UplinkConfig> UplinkConfigFrom(const v1::CreateUplinkRequest& request);
absl::StatusOr<PortConfig> PortConfigFrom(const v1::CreatePortRequest& request);

struct UplinkUpdate {
  std::string id;
  UplinkPatch patch;
  std::optional<UplinkConfig> missing;  // with allow_missing: the whole resource, as for a creation
};
absl::StatusOr<UplinkUpdate> UplinkUpdateFrom(const v1::UpdateUplinkRequest& request);

struct PortUpdate {
  std::string id;
  PortPatch patch;
  std::optional<PortConfig> missing;
};
absl::StatusOr<PortUpdate> PortUpdateFrom(const v1::UpdatePortRequest& request);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_REQUEST_H_

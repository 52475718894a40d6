// What the state of switch and machine forbids a caller. Each check names the field at fault, the
// value, and what would do; none changes anything. Called under the Switch's mutex.
#ifndef VMQD_DAEMON_CONTROL_CHECKS_H_
#define VMQD_DAEMON_CONTROL_CHECKS_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/fabric.h"
#include "daemon/control/model.h"

namespace vmqd {

absl::Status CheckNewUplink(const Fabric& fabric, const UplinkConfig& config);
// An uplink that exists, and would be `config`.
absl::Status CheckChangedUplink(const Fabric& fabric, const UplinkConfig& config);

// Fills in the uplink where the port names none and there is only one.
absl::StatusOr<PortConfig> WithUplink(const Fabric& fabric, PortConfig config);
absl::Status CheckNewPort(const Fabric& fabric, const PortConfig& config);
// A port that exists, and would be `config`.
absl::Status CheckChangedPort(const Fabric& fabric, const PortConfig& config);
// Addresses that nobody else on the uplink and VLAN has.
absl::Status CheckFilters(const Fabric& fabric, const PortConfig& config);

absl::Status CheckUnused(const Fabric& fabric, std::string_view uplink);

// kNotFound with the way to find out what there is. `field` is the request's.
absl::Status NoSuchUplink(std::string_view id, std::string_view field);
absl::Status NoSuchPort(std::string_view id, std::string_view field);

// Gives an error of the environment, which has no field, the field of the request it came from.
absl::Status AtField(const absl::Status& status, std::string_view reason, std::string_view field);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_CHECKS_H_

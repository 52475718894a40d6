// How many queues an uplink serves, and having its device have as many. A device's channels are a
// borrowed setting: what was there before the first change is put back when the uplink goes, or
// asks for all the device has.
//
// Called by Fabric under the Switch's mutex, while no AF_XDP socket is bound to the device: the
// kernel takes no queue away that has one. Errors are refusals at uplink.queues that say what would
// do.
#ifndef VMQD_DAEMON_CONTROL_UPLINK_QUEUES_H_
#define VMQD_DAEMON_CONTROL_UPLINK_QUEUES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "daemon/control/model.h"
#include "daemon/xdp/borrowed.h"
#include "daemon/xdp/device_settings.h"
#include "daemon/xdp/link.h"

namespace vmqd {

// How many would be served. Changes nothing. `ledger` may be null.
absl::StatusOr<uint32_t> QueuesFor(const UplinkConfig& config, const Link& link,
                                   const SettingsLedger* ledger);

// Gives the device that many; how many they are. A device whose queues cannot be counted by
// ethtool, as a tap, keeps those it has, of which the first are served.
absl::StatusOr<uint32_t> ArrangeQueues(const UplinkConfig& config, const Link& link,
                                       const SettingsLedger* ledger, DeviceSettings& settings);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_UPLINK_QUEUES_H_

// The fields of a port that only a vhost-user port has, from the message to the model. Told from
// the message alone. Any thread.
#ifndef VMQD_DAEMON_RPC_VHOST_REQUEST_H_
#define VMQD_DAEMON_RPC_VHOST_REQUEST_H_

#include "absl/status/status.h"
#include "daemon/control/model.h"
#include "vmqd/v1/port.pb.h"

namespace vmqd::rpc {

// A vhost-user port has a socket in place of a device.
absl::Status CheckNoDevices(const v1::Port& port);

// In an update, whose port need not say its kind: refused only where it says another one.
absl::Status CheckCoalescing(const v1::Port& port);

// By `config.kind`, which is filled in: reads the fields, or sees that none of them is said.
absl::Status ReadVhostFields(const v1::Port& port, PortConfig& config);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_VHOST_REQUEST_H_

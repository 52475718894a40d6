// What `apply` and `switch export` share.
#ifndef VMQD_CLIENT_APPLY_H_
#define VMQD_CLIENT_APPLY_H_

#include "client/connection.h"
#include "vmqd/v1/config.pb.h"

namespace vmqd::cli {

// All uplinks and ports, as the daemon tells them.
grpc::Status Look(Connection& connection, v1::SwitchConfig* seen);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_APPLY_H_

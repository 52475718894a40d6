// What daemon/control reports, as messages of the API. MAC addresses in lower case; drop reasons
// only where they occurred. Called by service.cc; pure functions; any thread.
#ifndef VMQD_DAEMON_RPC_CONVERT_H_
#define VMQD_DAEMON_RPC_CONVERT_H_

#include "daemon/control/model.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::rpc {

void ToProto(const UplinkStatus& status, v1::Uplink* uplink);
void ToProto(const QueueStatus& status, v1::Queue* queue);
void ToProto(const PortStatus& status, v1::Port* port);
void ToProto(const SwitchStatus& status, v1::Switch* sw);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_CONVERT_H_

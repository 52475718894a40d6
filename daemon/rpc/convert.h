// What daemon/control and daemon/doctor report, as messages of the API. MAC addresses in lower
// case; drop reasons only where they occurred. Called by service.cc; pure functions; any thread.
#ifndef VMQD_DAEMON_RPC_CONVERT_H_
#define VMQD_DAEMON_RPC_CONVERT_H_

#include "daemon/control/model.h"
#include "daemon/doctor/doctor.h"
#include "vmqd/v1/event.pb.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::rpc {

// What an operator asks for, and nothing else: what is exported, and what is written to disk.
void ToProto(const UplinkConfig& config, v1::Uplink* uplink);
void ToProto(const PortConfig& config, v1::Port* port);

void ToProto(const UplinkStatus& status, v1::Uplink* uplink);
void ToProto(const QueueStatus& status, v1::Queue* queue);
void ToProto(const PortStatus& status, v1::Port* port);
void ToProto(const SwitchStatus& status, v1::Switch* sw);
void ToProto(const RebalanceReport& report, v1::RebalanceResponse* out);
void ToProto(const Event& event, v1::Event* out);
void ToProto(const Finding& finding, v1::Finding* out);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_CONVERT_H_

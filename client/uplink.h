// What the parts of "vmqd-cli uplink", and "vmqd-cli queue set", share.
#ifndef VMQD_CLIENT_UPLINK_H_
#define VMQD_CLIENT_UPLINK_H_

#include <string>
#include <vector>

#include "client/command.h"

namespace vmqd::cli {

// Who decides where queues and ports are.
struct BalanceOptions {
  std::string mode;               // empty: not said
  std::vector<std::string> pins;  // "3=1", "3=auto"
};
void AddBalanceOptions(CLI::App& verb, BalanceOptions& options);
// Puts into `uplink` what was said; the names of the fields that changes. Pins that are there
// already stay, unless they are said anew.
std::vector<std::string> FillBalance(const BalanceOptions& options, v1::Uplink* uplink);

// "dynamic; queue 3 stays on CPU 1"
std::string BalanceText(const v1::Uplink& uplink);

// The verb set.
void AddUplinkSetVerb(CLI::App& resource, Session& session);
// The uplink as it is, to be changed and written back: its etag makes sure that nobody else has
// changed it in the meantime.
grpc::Status ReadUplink(Connection& connection, const std::string& name, v1::Uplink* uplink);

// "uplink eth1 added: 4 queues, copy, xdp native", or the resource as JSON or YAML.
void PrintUplinkLine(const Session& session, const v1::Uplink& uplink, const char* verb);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_UPLINK_H_

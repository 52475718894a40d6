// The edge of the error channel: absl::Status inside, gRPC status with google.rpc.ErrorInfo
// outside. Called by service.cc and, for `Quoted`, by every shape check. Any thread.
#ifndef VMQD_DAEMON_RPC_ERROR_H_
#define VMQD_DAEMON_RPC_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace vmqd::rpc {

// Keeps code, sentence, reason and field. A sentence too long for a trailer is cut.
grpc::Status ToGrpcStatus(const absl::Status& status);

// INVALID_ARGUMENT whose sentence starts with the field: "port.vlan: 4095 is not ...".
absl::Status Invalid(std::string_view reason, const std::string& field, const std::string& what);
// The same for an enum value that came from a newer client.
absl::Status UnknownEnum(const std::string& field, int value, const char* known);

// A caller's value as an error sentence may repeat it: quoted, control characters and bytes beyond
// ASCII escaped, cut where it is absurdly long.
std::string Quoted(const std::string& value);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_ERROR_H_

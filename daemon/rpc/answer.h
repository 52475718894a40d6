// How an rpc begins and ends: whether its caller still waits, and one resource as its answer.
// Called by the service's methods; any thread.
#ifndef VMQD_DAEMON_RPC_ANSWER_H_
#define VMQD_DAEMON_RPC_ANSWER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/rpc/convert.h"
#include "grpcpp/server_context.h"

namespace vmqd::rpc {

// CANCELLED or DEADLINE_EXCEEDED when nobody waits for the answer any more.
absl::Status CheckWaitedFor(const grpc::ServerContext& context);
absl::Status CalledTooLate();

// The end of every rpc that answers with one resource.
template <typename Resource, typename Message>
absl::Status Answer(const absl::StatusOr<Resource>& resource, Message* response) {
  if (!resource.ok()) return resource.status();
  ToProto(*resource, response);
  return absl::OkStatus();
}

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_ANSWER_H_

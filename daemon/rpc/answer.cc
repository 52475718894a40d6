// See answer.h.
#include "daemon/rpc/answer.h"

#include <chrono>

#include "daemon/control/error.h"

namespace vmqd::rpc {

absl::Status CalledTooLate() {
  return Refuse(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED", "",
                "the deadline passed before the call could begin; nothing was changed");
}

absl::Status CheckWaitedFor(const grpc::ServerContext& context) {
  if (context.deadline() <= std::chrono::system_clock::now()) return CalledTooLate();
  if (!context.IsCancelled()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kCancelled, "CANCELLED", "",
                "the caller went away before the call could begin; nothing was changed");
}

}  // namespace vmqd::rpc

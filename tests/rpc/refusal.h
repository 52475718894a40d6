// A matcher for what the API's edge refuses. Used by every test in this directory.
#ifndef VMQD_TESTS_RPC_REFUSAL_H_
#define VMQD_TESTS_RPC_REFUSAL_H_

#include <string>

#include "absl/status/status.h"
#include "daemon/control/error.h"
#include "gmock/gmock.h"

namespace vmqd::rpc {

// INVALID_ARGUMENT with this reason and field, and a sentence that starts with the field.
MATCHER_P2(IsInvalid, reason, field, "") {
  const Refusal refusal = RefusalOf(arg);
  *result_listener << arg.ToString() << ", reason " << refusal.reason << ", field "
                   << refusal.field;
  const std::string message(arg.message());
  return absl::IsInvalidArgument(arg) && refusal.reason == reason && refusal.field == field &&
         message.starts_with(std::string(field) + ": ");
}

}  // namespace vmqd::rpc

#endif  // VMQD_TESTS_RPC_REFUSAL_H_

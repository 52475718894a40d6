// gMock matchers for absl::Status and absl::StatusOr, which Abseil has had only since 2023.
#ifndef VMQD_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define VMQD_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd::testing {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// The code is `code` and the message matches `message`: a string or a matcher of strings.
MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         ::testing::ExplainMatchResult(message, std::string(StatusOf(arg).message()),
                                       result_listener);
}

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_STATUS_MATCHERS_H_

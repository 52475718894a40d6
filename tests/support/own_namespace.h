// Gives every test a network namespace of its own, which vanishes with its devices when the next
// test enters another one or the process ends. The test thread moves; threads it starts afterwards
// are there too. Root only; skipped with the reason otherwise.
#ifndef VMQD_TESTS_SUPPORT_OWN_NAMESPACE_H_
#define VMQD_TESTS_SUPPORT_OWN_NAMESPACE_H_

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

class OwnNamespace : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to make a network namespace";
    if (unshare(CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "no network namespace could be made: " << std::strerror(errno);
    }
  }

  // Runs iproute2's `ip`; devices that vmqd itself does not make.
  static bool Ip(const std::string& arguments) {
    return std::system(("ip " + arguments).c_str()) == 0;
  }
};

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

}  // namespace vmqd

#define ASSERT_OK(expression)                                                            \
  if (const absl::Status vmqd_status = ::vmqd::StatusOf(expression); vmqd_status.ok()) { \
  } else                                                                                 \
    FAIL() << vmqd_status

#define EXPECT_OK(expression)                                                            \
  if (const absl::Status vmqd_status = ::vmqd::StatusOf(expression); vmqd_status.ok()) { \
  } else                                                                                 \
    ADD_FAILURE() << vmqd_status

// The code, and a part of the sentence.
#define EXPECT_REFUSED(expression, expected_code, part)                          \
  do {                                                                           \
    const absl::Status vmqd_status = ::vmqd::StatusOf(expression);               \
    EXPECT_EQ(vmqd_status.code(), expected_code) << vmqd_status;                 \
    EXPECT_THAT(std::string(vmqd_status.message()), ::testing::HasSubstr(part)); \
  } while (false)

#endif  // VMQD_TESTS_SUPPORT_OWN_NAMESPACE_H_

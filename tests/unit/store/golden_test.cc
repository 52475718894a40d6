// A state file as format 1 was first written: whatever comes later, it stays readable.
// golden/format-1 holds the 24 first changes of ChangeAt; it is never written again.
#include <gtest/gtest.h>

#include "daemon/store/state_directory.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/store/sample_history.h"
#include "tests/unit/store/scratch_directory.h"

namespace vmqd {
namespace {

using ::vmqd::testing::IsOk;

TEST(Golden, FormatOneIsRead) {
  const ScratchDirectory scratch;
  std::ifstream golden(GOLDEN_DIRECTORY "/format-1/state.2", std::ios::binary);
  ASSERT_TRUE(golden.good());
  scratch.Write("state.2", {std::istreambuf_iterator<char>(golden), {}});
  const auto opened = OpenStateDirectory({.path = scratch.path()});
  ASSERT_THAT(opened, IsOk());
  EXPECT_TRUE(opened->warnings.empty()) << opened->warnings.front();
  EXPECT_EQ(opened->store->state(), StateAt(24, "2bd7c1f0a94e6358"));
  EXPECT_THAT(opened->store->Commit(ChangeAt(25)), IsOk());
}

}  // namespace
}  // namespace vmqd

// The CPUs that workers are dealt to.
#include "daemon/vmq/processor_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace vmqd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

TEST(ProcessorSetTest, DefaultLeavesCpu0AloneWhenThereAreMoreThanTwo) {
  EXPECT_THAT(ProcessorSet::Default({0}).cpus(), ElementsAre(0));
  EXPECT_THAT(ProcessorSet::Default({0, 1}).cpus(), ElementsAre(0, 1));
  EXPECT_THAT(ProcessorSet::Default({0, 1, 2}).cpus(), ElementsAre(1, 2));
  EXPECT_THAT(ProcessorSet::Default({4, 5, 6}).cpus(), ElementsAre(4, 5, 6));
}

TEST(ProcessorSetTest, ParsesLists) {
  const struct {
    const char* list;
    std::vector<int> cpus;
    const char* printed;
  } rows[] = {
      {"0", {0}, "0"},
      {"1-3,6", {1, 2, 3, 6}, "1-3,6"},
      {"6,1-3", {1, 2, 3, 6}, "1-3,6"},
      {"0,1", {0, 1}, "0-1"},
      {"2-2", {2}, "2"},
      {"0-7", {0, 1, 2, 3, 4, 5, 6, 7}, "0-7"},
      {"0,2,4,5,7", {0, 2, 4, 5, 7}, "0,2,4-5,7"},
      {"007", {7}, "7"},
  };
  for (const auto& row : rows) {
    const auto set = ProcessorSet::Parse(row.list, {0, 1, 2, 3, 4, 5, 6, 7});
    ASSERT_THAT(set, IsOk()) << row.list;
    EXPECT_EQ(set->cpus(), row.cpus) << row.list;
    EXPECT_EQ(set->ToString(), row.printed) << row.list;
  }
}

TEST(ProcessorSetTest, RefusesAndSaysWhatWouldDo) {
  const struct {
    std::string list;
    const char* why;
  } rows[] = {
      {"", "is empty"},
      {",", "is not a list"},
      {"1,", "is not a list"},
      {",1", "is not a list"},
      {"1,,2", "is not a list"},
      {"a", "is not a list"},
      {"1-", "is not a list"},
      {"-1", "is not a list"},
      {"1-2-3", "is not a list"},
      {"3-1", "is not a list"},
      {"+1", "is not a list"},
      {" 1", "is not a list"},
      {"1 2", "is not a list"},
      {"0x1", "is not a list"},
      {"1-3:2", "is not a list"},
      {"99999999999", "is not a list"},
      {"1-\x1b", "1-\\x1b"},
      {"0", "names CPU 0, where vmqd may not run"},
      {"1-4", "names CPU 4, where"},
      {"5-2147483647", "names CPU 7, where"},
      {"1-2147483647", "names CPU 4, where"},
      {"2147483647", "names CPU 2147483647, where"},
      {"1,1", "names CPU 1 twice"},
      {"1-3,2", "names CPU 2 twice"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(ProcessorSet::Parse(row.list, {1, 2, 3, 5, 6}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(row.why), HasSubstr("that would do: 1-3,5-6"))))
        << row.list;
  }
}

TEST(ProcessorSetTest, DealsRoundRobin) {
  const auto set = ProcessorSet::Parse("2,5-6", {0, 1, 2, 3, 4, 5, 6});
  ASSERT_THAT(set, IsOk());
  std::vector<int> dealt;
  for (size_t worker = 0; worker < 7; ++worker) dealt.push_back(set->CpuFor(worker));
  EXPECT_THAT(dealt, ElementsAre(2, 5, 6, 2, 5, 6, 2));
}

}  // namespace
}  // namespace vmqd

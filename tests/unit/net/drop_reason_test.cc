// The names and sentences of the drop reasons: what API, CLI and metrics show.
#include "daemon/net/drop_reason.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace vmqd {
namespace {

using ::testing::MatchesRegex;

TEST(DropReasonTest, NamesAreUniqueAndLowerSnakeCase) {
  std::set<std::string> names;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    const std::string name(DropReasonName(static_cast<DropReason>(i)));
    EXPECT_THAT(name, MatchesRegex("[a-z]+(_[a-z]+)*"));
    EXPECT_NE(name, "unknown");
    EXPECT_TRUE(names.insert(name).second) << name << " is there twice";
  }
  EXPECT_EQ(names.size(), kDropReasonCount);
}

TEST(DropReasonTest, TextsAreOneClauseEach) {
  const std::string unknown(DropReasonText(static_cast<DropReason>(kDropReasonCount)));
  std::set<std::string> texts;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    const std::string text(DropReasonText(static_cast<DropReason>(i)));
    EXPECT_GT(text.size(), 10u) << text;
    EXPECT_NE(text.back(), '.') << text;
    EXPECT_NE(text, unknown);
    EXPECT_TRUE(texts.insert(text).second) << text << " is there twice";
  }
}

TEST(DropReasonTest, FollowsTheListOfTheAbi) {
  EXPECT_EQ(DropReasonName(DropReason::kRUNT), "runt");
  EXPECT_EQ(DropReasonName(DropReason::kRX_RING_FULL), "rx_ring_full");
  EXPECT_EQ(DropReasonText(DropReason::kRX_RING_FULL),
            "the receive ring of its AF_XDP socket was full");
  EXPECT_EQ(static_cast<int>(DropReason::kNO_SOCKET), VMQD_DROP_NO_SOCKET);
}

TEST(DropReasonTest, AnythingElseIsUnknown) {
  EXPECT_EQ(DropReasonName(static_cast<DropReason>(kDropReasonCount)), "unknown");
  EXPECT_EQ(DropReasonName(static_cast<DropReason>(255)), "unknown");
}

}  // namespace
}  // namespace vmqd

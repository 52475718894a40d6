// Pages: every item once, in order, also when items come and go between two pages.
#include "daemon/rpc/page.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "daemon/rpc/name.h"
#include "gtest/gtest.h"
#include "tests/rpc/refusal.h"

namespace vmqd::rpc {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string Itself(const std::string& item) { return item; }

TEST(Page, SizeIsAtMostTheMost) {
  EXPECT_EQ(ParsePageRequest(0, "")->size, 1000u);
  EXPECT_EQ(ParsePageRequest(7, "")->size, 7u);
  EXPECT_EQ(ParsePageRequest(2147483647, "")->size, 1000u);
  EXPECT_THAT(ParsePageRequest(-1, "").status(), IsInvalid("PAGE_SIZE_NEGATIVE", "page_size"));
}

TEST(Page, TokenRoundTrip) {
  const std::string name = QueueName("en.p1_s0", 12);
  EXPECT_EQ(ParsePageRequest(0, EncodePageToken(name))->after, name);
}

TEST(Page, TokensThatNobodyMade) {
  for (const char* token : {"!", "a", "ports/vm1", "\xff\xfe"}) {
    EXPECT_THAT(ParsePageRequest(0, token).status(), IsInvalid("PAGE_TOKEN_INVALID", "page_token"))
        << token;
  }
}

TEST(Page, Cut) {
  const std::optional<std::string> start;
  std::vector<std::string> items = {"a", "b", "c"};
  EXPECT_TRUE(CutPage(items, 2, start, Itself));
  EXPECT_THAT(items, ElementsAre("a", "b"));

  items = {"a", "b", "c"};
  EXPECT_FALSE(CutPage(items, 3, start, Itself)) << "an exact fit leaves nothing over";
  EXPECT_THAT(items, ElementsAre("a", "b", "c"));

  items = {"a", "b", "c"};
  EXPECT_FALSE(CutPage(items, 2, std::optional<std::string>("a"), Itself));
  EXPECT_THAT(items, ElementsAre("b", "c"));

  items = {"a", "c", "d"};
  EXPECT_TRUE(CutPage(items, 1, std::optional<std::string>("b"), Itself)) << "b was removed";
  EXPECT_THAT(items, ElementsAre("c"));

  items = {"a"};
  EXPECT_FALSE(CutPage(items, 1, std::optional<std::string>("z"), Itself));
  EXPECT_THAT(items, IsEmpty());
}

TEST(Page, QueuesGoByNumber) {
  std::vector<QueueId> items = {{"eth0", 2}, {"eth0", 10}, {"eth1", 0}};
  const std::optional<QueueId> after = QueueId{"eth0", 2};
  EXPECT_FALSE(CutPage(items, 5, after, [](const QueueId& id) { return id; }));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].queue, 10u);
  EXPECT_EQ(items[1].uplink, "eth1");
}

}  // namespace
}  // namespace vmqd::rpc

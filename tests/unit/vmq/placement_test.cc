// Which queue a port calls home.
#include "daemon/vmq/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace vmqd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Row {
  const char* what;
  PlacementWish wish;
  std::vector<uint32_t> ports_at_home;
  uint32_t queue;
  const char* reason;  // part of it; empty: none given
};

TEST(PlacementTest, Table) {
  const Row rows[] = {
      {"only queue", {}, {0}, 0, "only queue"},
      {"only queue, taken", {}, {9}, 0, "only queue"},
      {"first of four", {}, {0, 0, 0, 0}, 1, "a queue of its own"},
      {"default queue is not dealt", {}, {0, 1, 1, 0}, 3, "a queue of its own"},
      {"fewest ports", {}, {0, 3, 1, 2}, 2, "shared by 2 ports"},
      {"lowest among equals", {}, {0, 2, 1, 1}, 2, "shared by 2 ports"},
      {"two queues: all but the default one", {}, {0, 7}, 1, "shared by 8 ports"},
      {"weight 0", {.weight = 0}, {5, 0, 0, 0}, 0, "weight 0"},
      {"weight 0 on the only queue", {.weight = 0}, {0}, 0, "weight 0"},
      {"weight 1 is dealt", {.weight = 1}, {0, 0}, 1, "a queue of its own"},
      {"asked and got", {.queue = 2}, {0, 0, 8, 0}, 2, ""},
      {"asked for the default queue", {.queue = 0}, {8, 0, 0, 0}, 0, ""},
      {"asked for the only queue", {.queue = 0}, {8}, 0, ""},
      {"weight 0 asked for the default queue", {.weight = 0, .queue = 0}, {0, 0}, 0, ""},
      {"weight 0 asked for another", {.weight = 0, .queue = 1}, {0, 0}, 0, "not on queue 1"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const Placement placement = Place(row.wish, row.ports_at_home);
    EXPECT_EQ(placement.queue, row.queue);
    if (*row.reason == '\0') {
      EXPECT_THAT(placement.reason, IsEmpty());
    } else {
      EXPECT_THAT(placement.reason, HasSubstr(row.reason));
    }
  }
}

TEST(PlacementTest, DealsRoundRobin) {
  std::vector<uint32_t> ports_at_home(4);
  std::vector<uint32_t> dealt;
  for (int port = 0; port < 7; ++port) {
    dealt.push_back(Place({}, ports_at_home).queue);
    ++ports_at_home[dealt.back()];
  }
  EXPECT_THAT(dealt, ElementsAre(1, 2, 3, 1, 2, 3, 1));
}

}  // namespace
}  // namespace vmqd

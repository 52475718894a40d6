// What a change makes of a state.
#include <gtest/gtest.h>

#include "daemon/control/state.h"
#include "tests/unit/store/sample_history.h"

namespace vmqd {
namespace {

TEST(Apply, AbsentFieldsChangeNothing) {
  DesiredState state = StateAt(23, "id");
  const DesiredState before = state;
  Apply({.revision = 24}, state);
  EXPECT_EQ(state.revision, 24u);
  state.revision = before.revision;
  EXPECT_EQ(state, before);
}

TEST(Apply, PutReplacesAndDeletedRemoves) {
  DesiredState state;
  PortConfig port = SamplePort("vm1", 1);
  Apply({.revision = 1, .put = DesiredPort{port, 1}}, state);
  port.vlan = 9;
  Apply({.revision = 2, .put = DesiredPort{port, 2}}, state);
  ASSERT_EQ(state.ports.size(), 1u);
  EXPECT_EQ(state.ports["vm1"], (DesiredPort{port, 2}));
  Apply({.revision = 3, .deleted_uplink = "vm1"}, state);
  EXPECT_EQ(state.ports.size(), 1u) << "an uplink of that name is something else";
  Apply({.revision = 4, .deleted_port = "vm1"}, state);
  EXPECT_TRUE(state.ports.empty());
}

TEST(Apply, OldestReplyIsForgotten) {
  DesiredState state;
  for (uint64_t i = 1; i <= kRememberedReplies + 1; ++i) {
    Apply({.revision = i, .reply = Reply{std::to_string(i), "f"}}, state);
  }
  EXPECT_EQ(state.replies.size(), kRememberedReplies);
  EXPECT_EQ(state.replies.front().request_id, "2");
}

TEST(Apply, ReplyOfTheSameIdIsReplacedAndNewest) {
  DesiredState state;
  for (const char* id : {"a", "b", "c"}) {
    Apply({.revision = state.revision + 1, .reply = Reply{id, "old"}}, state);
  }
  Apply({.revision = 4, .reply = Reply{"a", "new"}}, state);
  ASSERT_EQ(state.replies.size(), 3u);
  EXPECT_EQ(state.replies[0].request_id, "b");
  EXPECT_EQ(state.replies[2], (Reply{"a", "new"}));
}

TEST(Apply, BorrowedSettingsAreReplacedAsAWhole) {
  DesiredState state;
  Apply({.revision = 1, .borrowed = {{{"eth0", "mtu", "1500", "9000"}}}}, state);
  Apply({.revision = 2}, state);
  EXPECT_EQ(state.borrowed.size(), 1u);
  Apply({.revision = 3, .borrowed = std::vector<BorrowedSetting>()}, state);
  EXPECT_TRUE(state.borrowed.empty());
}

}  // namespace
}  // namespace vmqd

// Every field of the state survives being written and read; what the API would refuse is refused.
#include "daemon/store/state_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/unit/store/sample_history.h"
#include "vmqd/v1/state.pb.h"

namespace vmqd {
namespace {

using ::testing::HasSubstr;
using ::vmqd::testing::IsOk;
using ::vmqd::testing::StatusIs;

constexpr char kStateId[] = "0123456789abcdef";

TEST(StateMessage, SnapshotRoundTrip) {
  for (uint64_t revision = 0; revision < 60; ++revision) {
    const DesiredState state = StateAt(revision, kStateId);
    bool unknown_fields = false;
    const auto read = SnapshotFromBytes(SnapshotToBytes(state), unknown_fields);
    ASSERT_THAT(read, IsOk());
    EXPECT_EQ(*read, state);
    EXPECT_FALSE(unknown_fields);
  }
}

TEST(StateMessage, ChangeRoundTrip) {
  DesiredState written = StateAt(0, kStateId), read = written;
  for (uint64_t revision = 1; revision < 60; ++revision) {
    bool unknown_fields = false;
    const auto change = ChangeFromBytes(*ChangeToBytes(ChangeAt(revision)), unknown_fields);
    ASSERT_THAT(change, IsOk());
    Apply(ChangeAt(revision), written);
    Apply(*change, read);
    EXPECT_EQ(read, written);
  }
}

TEST(StateMessage, DefaultsRoundTrip) {
  DesiredState state{.state_id = kStateId};
  state.uplinks["e"] = {{.id = "e", .device = "e"}, 0};
  for (PortKind kind : {PortKind::kTap, PortKind::kNetdev, PortKind::kVeth, PortKind::kHost}) {
    PortConfig port{.id = "p" + std::to_string(static_cast<int>(kind)), .kind = kind};
    const bool pair = kind == PortKind::kVeth || kind == PortKind::kHost;
    (pair ? port.peer_device : port.device) = "d0";
    if (!pair) port.macs = {*MacAddress::Parse("52:54:00:00:00:01")};
    state.ports[port.id] = {port, 7};
  }
  bool unknown_fields = false;
  const auto read = SnapshotFromBytes(SnapshotToBytes(state), unknown_fields);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(*read, state);
}

TEST(StateMessage, WhoBalancesRoundTrips) {
  DesiredState state{.state_id = kStateId};
  state.uplinks["e"] = {{.id = "e",
                         .device = "e",
                         .balance_mode = BalanceMode::kManual,
                         .queue_cpus = {{0, 3}, {7, 1}}},
                        1};
  bool unknown_fields = false;
  const auto read = SnapshotFromBytes(SnapshotToBytes(state), unknown_fields);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(*read, state);
  EXPECT_FALSE(unknown_fields);
}

TEST(StateMessage, VhostUserPortsRoundTrip) {
  DesiredState state{.state_id = kStateId};
  state.uplinks["e"] = {{.id = "e", .device = "e"}, 0};
  PortConfig port{.id = "vm1",
                  .uplink = "e",
                  .kind = PortKind::kVhostUser,
                  .macs = {*MacAddress::Parse("52:54:00:00:00:01")},
                  .socket = "vm1.sock"};
  state.ports["vm1"] = {port, 1};
  port.id = "vm2";
  port.socket = "vm2.sock";
  port.vhost_role = VhostRole::kVmmListens;
  port.queue_pairs = 16;
  port.coalescing_off = true;
  state.ports["vm2"] = {port, 2};
  bool unknown_fields = false;
  const auto read = SnapshotFromBytes(SnapshotToBytes(state), unknown_fields);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(*read, state);
  EXPECT_FALSE(unknown_fields);
}

TEST(StateMessage, WhatTheApiWouldRefuseIsRefused) {
  StateChange change = ChangeAt(3);
  std::get<DesiredPort>(change.put).config.weight = 101;
  bool unknown_fields = false;
  EXPECT_THAT(ChangeFromBytes(*ChangeToBytes(change), unknown_fields),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("port.weight")));
  EXPECT_FALSE(ChangeFromBytes("no message", unknown_fields).ok());
  EXPECT_THAT(SnapshotFromBytes("", unknown_fields),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("state_id")));
}

TEST(StateMessage, DeletesOneThingAtMost) {
  EXPECT_FALSE(ChangeToBytes({.revision = 1, .deleted_uplink = "a", .deleted_port = "b"}).ok());
}

TEST(StateMessage, FieldsOfANewerDaemonAreNoticedAtAnyDepth) {
  v1::StateSnapshot message;
  ASSERT_TRUE(message.ParseFromString(SnapshotToBytes(StateAt(20, kStateId))));
  v1::StateReply& reply = *message.mutable_replies(0);
  reply.mutable_resource()
      ->GetReflection()
      ->MutableUnknownFields(reply.mutable_resource())
      ->AddVarint(999, 1);
  bool unknown_fields = false;
  ASSERT_THAT(SnapshotFromBytes(message.SerializeAsString(), unknown_fields), IsOk());
  EXPECT_TRUE(unknown_fields);
}

}  // namespace
}  // namespace vmqd

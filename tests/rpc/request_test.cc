// Shapes: a table of malformed requests with the reason and field each of them gets, made by
// breaking one thing in a request that is accepted.
#include "daemon/rpc/request.h"

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/rpc/refusal.h"

namespace vmqd::rpc {
namespace {

template <typename Message>
Message FromText(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

struct BadRow {
  const char* request;
  const char* reason;
  const char* field;
};

constexpr BadRow kBadUplinks[] = {
    {"", "FIELD_REQUIRED", "uplink.device"},
    {"uplink { device: 'sixteencharacter' }", "DEVICE_NAME_MALFORMED", "uplink.device"},
    {"uplink { device: 'a/b' }", "DEVICE_NAME_MALFORMED", "uplink.device"},
    {"uplink { device: 'a@b' }", "ID_MALFORMED", "uplink_id"},
    {"uplink_id: '-' uplink { device: 'e' }", "ID_MALFORMED", "uplink_id"},
    {"uplink_id: 'uplinks/x' uplink { device: 'e' }", "ID_MALFORMED", "uplink_id"},
    {"uplink { device: 'e' xdp_mode: 4 }", "ENUM_UNKNOWN", "uplink.xdp_mode"},
    {"uplink { device: 'e' steering: 9 }", "ENUM_UNKNOWN", "uplink.steering"},
    {"uplink { device: 'e' wake_mode: 9 }", "ENUM_UNKNOWN", "uplink.wake_mode"},
    {"uplink { device: 'e' queues: 65 }", "QUEUE_OUT_OF_RANGE", "uplink.queues"},
    {"uplink { device: 'e' buffers_per_queue: 1024 }", "BUFFERS_OUT_OF_RANGE",
     "uplink.buffers_per_queue"},
    {"uplink { device: 'e' buffers_per_queue: 262144 }", "BUFFERS_OUT_OF_RANGE",
     "uplink.buffers_per_queue"},
    {"uplink { device: 'e' buffers_per_queue: 3000 }", "BUFFERS_OUT_OF_RANGE",
     "uplink.buffers_per_queue"},
};

TEST(UplinkRequest, Malformed) {
  for (const BadRow& row : kBadUplinks) {
    EXPECT_THAT(UplinkConfigFrom(FromText<v1::CreateUplinkRequest>(row.request)).status(),
                IsInvalid(row.reason, row.field))
        << row.request;
  }
}

TEST(UplinkRequest, Defaults) {
  const auto config =
      UplinkConfigFrom(FromText<v1::CreateUplinkRequest>("uplink { device: 'eth0' }"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->id, "eth0");
  EXPECT_EQ(config->xdp_mode, XdpMode::kNative);
  EXPECT_EQ(config->steering, Steering::kSoftware);
  EXPECT_EQ(config->wake_mode, WakeMode::kAdaptive);
  EXPECT_EQ(config->queues, 0u);
  EXPECT_EQ(config->buffers_per_queue, kDefaultBuffersPerQueue);
}

TEST(UplinkRequest, EverythingGiven) {
  const auto config = UplinkConfigFrom(FromText<v1::CreateUplinkRequest>(
      "uplink_id: 'up' uplink { name: 'ignored' device: 'eth0' xdp_mode: AUTO steering: EXTERNAL "
      "wake_mode: INTERRUPT queues: 64 buffers_per_queue: 131072 }"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->id, "up");
  EXPECT_EQ(config->device, "eth0");
  EXPECT_EQ(config->xdp_mode, XdpMode::kAuto);
  EXPECT_EQ(config->steering, Steering::kExternal);
  EXPECT_EQ(config->wake_mode, WakeMode::kInterrupt);
  EXPECT_EQ(config->queues, 64u);
  EXPECT_EQ(config->buffers_per_queue, 131072u);
}

// `port` is merged into a port that is accepted: scalars replace, addresses are added.
v1::CreatePortRequest PortRequest(const std::string& port) {
  auto request = FromText<v1::CreatePortRequest>(
      "port_id: 'vm1' port { kind: TAP device: 'tap0' macs: '52:54:00:00:00:01' }");
  request.mutable_port()->MergeFrom(FromText<v1::Port>(port));
  return request;
}

constexpr BadRow kBadPorts[] = {
    {"uplink: 'eth0'", "NAME_MALFORMED", "port.uplink"},
    {"uplink: 'ports/a'", "NAME_MALFORMED", "port.uplink"},
    {"uplink: 'uplinks/-'", "NAME_MALFORMED", "port.uplink"},
    {"kind: 9", "ENUM_UNKNOWN", "port.kind"},
    {"device: 'sixteencharacter'", "DEVICE_NAME_MALFORMED", "port.device"},
    {"device: 'a b'", "DEVICE_NAME_MALFORMED", "port.device"},
    {"peer_device: 'peer'", "FIELD_NOT_ALLOWED", "port.peer_device"},
    {"kind: NETDEV peer_device: 'peer'", "FIELD_NOT_ALLOWED", "port.peer_device"},
    {"kind: VETH", "FIELD_REQUIRED", "port.peer_device"},
    {"kind: HOST", "FIELD_REQUIRED", "port.peer_device"},
    {"kind: HOST peer_device: 'tap0'", "DEVICE_NAME_REPEATED", "port.peer_device"},
    {"kind: VETH peer_device: 'a/b'", "DEVICE_NAME_MALFORMED", "port.peer_device"},
    {"macs: 'x'", "MAC_MALFORMED", "port.macs[1]"},
    {"macs: ''", "MAC_MALFORMED", "port.macs[1]"},
    {"macs: '52:54:00:00:00'", "MAC_MALFORMED", "port.macs[1]"},
    {"macs: '52:54:00:00:00:02:03'", "MAC_MALFORMED", "port.macs[1]"},
    {"macs: '52:54:00:00:00:0g'", "MAC_MALFORMED", "port.macs[1]"},
    {"macs: '00:00:00:00:00:00'", "MAC_NOT_UNICAST", "port.macs[1]"},
    {"macs: '01:00:5e:00:00:01'", "MAC_NOT_UNICAST", "port.macs[1]"},
    {"macs: 'ff:ff:ff:ff:ff:ff'", "MAC_NOT_UNICAST", "port.macs[1]"},
    {"macs: '52:54:00:00:00:01'", "MAC_REPEATED", "port.macs[1]"},
    {"macs: '52-54-00-00-00-01'", "MAC_REPEATED", "port.macs[1]"},
    {"vlan: 4095", "VLAN_OUT_OF_RANGE", "port.vlan"},
    {"vlan: 4294967295", "VLAN_OUT_OF_RANGE", "port.vlan"},
    {"weight: 101", "WEIGHT_OUT_OF_RANGE", "port.weight"},
    {"mtu: 67", "MTU_OUT_OF_RANGE", "port.mtu"},
    {"mtu: 70000", "MTU_OUT_OF_RANGE", "port.mtu"},
};

TEST(PortRequest, Malformed) {
  for (const BadRow& row : kBadPorts) {
    EXPECT_THAT(PortConfigFrom(PortRequest(row.request)).status(), IsInvalid(row.reason, row.field))
        << row.request;
  }
}

TEST(PortRequest, OnlyVhostUserPortsHaveASocket) {
  for (const BadRow& row : {BadRow{"socket: 'vm1.sock'", "FIELD_NOT_ALLOWED", "port.socket"},
                            {"vhost_role: SWITCH_LISTENS", "FIELD_NOT_ALLOWED", "port.vhost_role"},
                            {"queue_pairs: 1", "FIELD_NOT_ALLOWED", "port.queue_pairs"},
                            {"coalescing_off: true", "FIELD_NOT_ALLOWED", "port.coalescing_off"}}) {
    EXPECT_THAT(PortConfigFrom(PortRequest(row.request)).status(), IsInvalid(row.reason, row.field))
        << row.request;
  }
}

// As PortRequest, of a vhost-user port.
v1::CreatePortRequest VhostRequest(const std::string& port) {
  auto request = FromText<v1::CreatePortRequest>(
      "port_id: 'vm1' port { kind: VHOST_USER socket: 'vm1.sock' macs: '52:54:00:00:00:01' }");
  request.mutable_port()->MergeFrom(FromText<v1::Port>(port));
  return request;
}

constexpr char kLongSocket[] =
    "socket: '0123456789012345678901234567890123456789012345678901234567890123'";
constexpr BadRow kBadVhostPorts[] = {
    {"device: 'tap0'", "FIELD_NOT_ALLOWED", "port.device"},
    {"peer_device: 'peer'", "FIELD_NOT_ALLOWED", "port.peer_device"},
    {"socket: '/run/vm1.sock'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: '../vm1.sock'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: '.'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: '..'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: '.hidden'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: 'a b'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: 'a\\000b'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {"socket: 'v\\303\\251'", "SOCKET_NAME_MALFORMED", "port.socket"},
    {kLongSocket, "SOCKET_NAME_MALFORMED", "port.socket"},
    {"vhost_role: 3", "ENUM_UNKNOWN", "port.vhost_role"},
    {"queue_pairs: 0", "QUEUE_PAIRS_OUT_OF_RANGE", "port.queue_pairs"},
    {"queue_pairs: 17", "QUEUE_PAIRS_OUT_OF_RANGE", "port.queue_pairs"},
    {"mtu: 67", "MTU_OUT_OF_RANGE", "port.mtu"},
};

TEST(VhostPortRequest, Malformed) {
  for (const BadRow& row : kBadVhostPorts) {
    EXPECT_THAT(PortConfigFrom(VhostRequest(row.request)).status(),
                IsInvalid(row.reason, row.field))
        << row.request;
  }
  v1::CreatePortRequest request = VhostRequest("");
  request.mutable_port()->clear_socket();
  EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("FIELD_REQUIRED", "port.socket"));
  request = VhostRequest("");
  request.mutable_port()->clear_macs();
  EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("FIELD_REQUIRED", "port.macs"));
}

TEST(VhostPortRequest, TheDirectoryIsTheDaemonsSetting) {
  const absl::Status status = PortConfigFrom(VhostRequest("socket: '/run/vm1.sock'")).status();
  EXPECT_NE(status.message().find("\"/run/vm1.sock\""), std::string::npos) << status;
  EXPECT_NE(status.message().find("vhost_user.directory"), std::string::npos) << status;
}

TEST(VhostPortRequest, Defaults) {
  const auto config = PortConfigFrom(VhostRequest(""));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kind, PortKind::kVhostUser);
  EXPECT_EQ(config->socket, "vm1.sock");
  EXPECT_EQ(config->device, "");
  EXPECT_EQ(config->vhost_role, VhostRole::kSwitchListens);
  EXPECT_EQ(config->queue_pairs, 1u);
  EXPECT_FALSE(config->coalescing_off);
}

TEST(VhostPortRequest, EverythingGiven) {
  const std::string longest(63, 'x');
  const auto config = PortConfigFrom(VhostRequest(
      "socket: '" + longest + "' vhost_role: VMM_LISTENS queue_pairs: 16 coalescing_off: true"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->socket, longest);
  EXPECT_EQ(config->vhost_role, VhostRole::kVmmListens);
  EXPECT_EQ(config->queue_pairs, 16u);
  EXPECT_TRUE(config->coalescing_off);
}

TEST(PortRequest, Missing) {
  v1::CreatePortRequest request = PortRequest("");
  request.clear_port_id();
  EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("ID_MALFORMED", "port_id"));
  request = PortRequest("");
  request.mutable_port()->clear_kind();
  EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("FIELD_REQUIRED", "port.kind"));
  for (const v1::PortKind kind : {v1::TAP, v1::NETDEV}) {
    request = PortRequest("");
    request.mutable_port()->set_kind(kind);
    request.mutable_port()->clear_device();
    EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("FIELD_REQUIRED", "port.device"));
    request = PortRequest("");
    request.mutable_port()->set_kind(kind);
    request.mutable_port()->clear_macs();
    EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("FIELD_REQUIRED", "port.macs"));
  }
}

TEST(PortRequest, AtMost64Macs) {
  v1::CreatePortRequest request = PortRequest("");
  request.mutable_port()->clear_macs();
  for (int i = 0; i < 64; ++i) {
    request.mutable_port()->add_macs("52:54:00:00:01:" + std::to_string(10 + i));
  }
  EXPECT_TRUE(PortConfigFrom(request).ok()) << PortConfigFrom(request).status();
  request.mutable_port()->add_macs("52:54:00:00:02:01");
  EXPECT_THAT(PortConfigFrom(request).status(), IsInvalid("TOO_MANY_MACS", "port.macs"));
}

TEST(PortRequest, Defaults) {
  const auto config = PortConfigFrom(PortRequest(""));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->id, "vm1");
  EXPECT_EQ(config->uplink, "");
  EXPECT_EQ(config->kind, PortKind::kTap);
  EXPECT_EQ(config->vlan, 0u);
  EXPECT_EQ(config->weight, kDefaultWeight);
  EXPECT_FALSE(config->queue.has_value());
  EXPECT_FALSE(config->trusted);
  EXPECT_FALSE(config->disabled);
  EXPECT_EQ(config->mtu, 0u);
}

TEST(PortRequest, EdgesThatWillDo) {
  for (const char* port :
       {"vlan: 4094", "weight: 0", "weight: 100", "mtu: 68", "mtu: 65535", "queue: 0",
        "uplink: 'uplinks/en.1'", "macs: '52:54:00:00:00:0A'", "kind: VETH peer_device: 'p'"}) {
    EXPECT_TRUE(PortConfigFrom(PortRequest(port)).ok())
        << port << ": " << PortConfigFrom(PortRequest(port)).status();
  }
  EXPECT_EQ(PortConfigFrom(PortRequest("weight: 0"))->weight, 0u) << "0 given is not 0 left out";
  EXPECT_EQ(PortConfigFrom(PortRequest("queue: 0"))->queue, std::optional<uint32_t>(0));
}

TEST(PortRequest, PairsMayLeaveOutDeviceAndAddresses) {
  const auto config = PortConfigFrom(
      FromText<v1::CreatePortRequest>("port_id: 'host' port { kind: HOST peer_device: 'host0' }"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->peer_device, "host0");
  EXPECT_TRUE(config->macs.empty());
}

constexpr BadRow kBadUpdates[] = {
    {"", "NAME_MALFORMED", "port.name"},
    {"port { name: 'vm1' } update_mask { paths: 'vlan' }", "NAME_MALFORMED", "port.name"},
    {"port { name: 'ports/vm1' vlan: 3 }", "FIELD_REQUIRED", "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'kind' }", "FIELD_IMMUTABLE", "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'counters' }", "FIELD_IMMUTABLE",
     "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'colour' }", "FIELD_UNKNOWN", "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'etag' }", "FIELD_IMMUTABLE", "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'socket' }", "FIELD_IMMUTABLE",
     "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'vhost_role' }", "FIELD_IMMUTABLE",
     "update_mask"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'queue_pairs' }", "FIELD_IMMUTABLE",
     "update_mask"},
    {"port { name: 'ports/vm1' kind: TAP coalescing_off: true } "
     "update_mask { paths: 'coalescing_off' }",
     "FIELD_NOT_ALLOWED", "port.coalescing_off"},
    {"port { name: 'ports/vm1' } update_mask { paths: '*' }", "FIELD_REQUIRED", "port.macs"},
    {"port { name: 'ports/vm1' kind: TAP } update_mask { paths: '*' }", "FIELD_REQUIRED",
     "port.macs"},
    {"port { name: 'ports/vm1' kind: HOST vlan: 4095 } update_mask { paths: '*' }",
     "VLAN_OUT_OF_RANGE", "port.vlan"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'vlan' } allow_missing: true",
     "FIELD_REQUIRED", "port.kind"},
    {"port { name: 'ports/vm1' kind: TAP device: 't' } update_mask { paths: 'vlan' } "
     "allow_missing: true",
     "FIELD_REQUIRED", "port.macs"},
    {"port { name: 'ports/vm1' } update_mask { paths: 'macs' }", "FIELD_REQUIRED", "port.macs"},
    {"port { name: 'ports/vm1' macs: 'x' } update_mask { paths: 'macs' }", "MAC_MALFORMED",
     "port.macs[0]"},
    {"port { name: 'ports/vm1' vlan: 4095 } update_mask { paths: 'vlan' }", "VLAN_OUT_OF_RANGE",
     "port.vlan"},
    {"port { name: 'ports/vm1' weight: 101 } update_mask { paths: 'weight' }",
     "WEIGHT_OUT_OF_RANGE", "port.weight"},
    {"port { name: 'ports/vm1' mtu: 1 } update_mask { paths: ['vlan', 'mtu'] }", "MTU_OUT_OF_RANGE",
     "port.mtu"},
};

TEST(PortUpdate, Malformed) {
  for (const BadRow& row : kBadUpdates) {
    EXPECT_THAT(PortUpdateFrom(FromText<v1::UpdatePortRequest>(row.request)).status(),
                IsInvalid(row.reason, row.field))
        << row.request;
  }
}

TEST(PortUpdate, AStarNamesEverything) {
  const auto update = PortUpdateFrom(FromText<v1::UpdatePortRequest>(
      "port { name: 'ports/vm1' kind: HOST macs: '52:54:00:00:00:01' vlan: 9 trusted: true } "
      "update_mask { paths: '*' }"));
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->patch.macs->size(), 1u);
  EXPECT_EQ(update->patch.vlan, std::optional<uint32_t>(9));
  EXPECT_EQ(update->patch.weight, std::optional<uint32_t>(kDefaultWeight));
  EXPECT_EQ(update->patch.trusted, std::optional<bool>(true));
  EXPECT_EQ(update->patch.disabled, std::optional<bool>(false));
  EXPECT_EQ(update->patch.mtu, std::optional<uint32_t>(0));
  EXPECT_EQ(update->patch.coalescing_off, std::optional<bool>(false));
  EXPECT_FALSE(update->missing.has_value()) << "allow_missing was not said";
}

// Created without addresses it took its peer's; the same said again is no change.
TEST(PortUpdate, AStarLeavesThePeersAddress) {
  const auto update = PortUpdateFrom(FromText<v1::UpdatePortRequest>(
      "port { name: 'ports/vm1' kind: VETH peer_device: 'p' vlan: 9 } update_mask { paths: '*' } "
      "allow_missing: true"));
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_FALSE(update->patch.macs.has_value());
  EXPECT_EQ(update->patch.vlan, std::optional<uint32_t>(9));
  EXPECT_TRUE(update->missing->macs.empty());
}

TEST(UplinkUpdate, WhoBalances) {
  const auto update = UplinkUpdateFrom(FromText<v1::UpdateUplinkRequest>(
      "uplink { name: 'uplinks/up' device: 'eth0' balance_mode: MANUAL "
      "queue_cpus { key: 3 value: 1 } queue_cpus { key: 0 value: 2 } } "
      "update_mask { paths: ['balance_mode', 'queue_cpus'] } allow_missing: true"));
  ASSERT_TRUE(update.ok()) << update.status();
  const std::map<uint32_t, int> pins = {{0, 2}, {3, 1}};
  EXPECT_EQ(update->patch.balance_mode, std::optional<BalanceMode>(BalanceMode::kManual));
  EXPECT_EQ(update->patch.queue_cpus, std::optional(pins));
  EXPECT_FALSE(update->patch.wake_mode.has_value());
  EXPECT_EQ(update->missing->balance_mode, BalanceMode::kManual);
  EXPECT_EQ(update->missing->queue_cpus, pins);
  const auto everything = UplinkUpdateFrom(FromText<v1::UpdateUplinkRequest>(
      "uplink { name: 'uplinks/up' } update_mask { paths: '*' }"));
  EXPECT_EQ(everything->patch.balance_mode, std::optional<BalanceMode>(BalanceMode::kDynamic));
  EXPECT_EQ(everything->patch.queue_cpus, std::optional(std::map<uint32_t, int>()));
}

TEST(PortUpdate, QueueIsPinnedOrLetGo) {
  auto request = FromText<v1::UpdatePortRequest>(
      "port { name: 'ports/vm1' queue: 2 } update_mask { paths: 'queue' }");
  auto update = PortUpdateFrom(request);
  ASSERT_TRUE(update.ok()) << update.status();
  ASSERT_TRUE(update->patch.queue.has_value());
  EXPECT_EQ(*update->patch.queue, std::optional<uint32_t>(2));
  request.mutable_port()->clear_queue();
  update = PortUpdateFrom(request);
  ASSERT_TRUE(update->patch.queue.has_value());
  EXPECT_EQ(*update->patch.queue, std::nullopt);
}

TEST(PortUpdate, CoalescingIsSwitchedWhileTrafficRuns) {
  const auto update = PortUpdateFrom(FromText<v1::UpdatePortRequest>(
      "port { name: 'ports/vm1' coalescing_off: true } update_mask { paths: 'coalescing_off' }"));
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->patch.coalescing_off, std::optional<bool>(true));
}

TEST(PortUpdate, WhatToCreateIsTheWholePort) {
  const auto update = PortUpdateFrom(FromText<v1::UpdatePortRequest>(
      "port { name: 'ports/vm1' kind: TAP device: 'tap0' macs: '52:54:00:00:00:01' vlan: 9 "
      "queue: 2 mtu: 1400 } update_mask { paths: 'vlan' } allow_missing: true"));
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_FALSE(update->patch.mtu.has_value());
  ASSERT_TRUE(update->missing.has_value());
  EXPECT_EQ(update->missing->id, "vm1");
  EXPECT_EQ(update->missing->device, "tap0");
  EXPECT_EQ(update->missing->queue, std::optional<uint32_t>(2));
  EXPECT_EQ(update->missing->mtu, 1400u);
}

constexpr BadRow kBadUplinkUpdates[] = {
    {"", "NAME_MALFORMED", "uplink.name"},
    {"uplink { name: 'eth0' } update_mask { paths: 'wake_mode' }", "NAME_MALFORMED", "uplink.name"},
    {"uplink { name: 'uplinks/eth0' wake_mode: POLL }", "FIELD_REQUIRED", "update_mask"},
    {"uplink { name: 'uplinks/eth0' } update_mask { paths: 'device' }", "FIELD_IMMUTABLE",
     "update_mask"},
    {"uplink { name: 'uplinks/eth0' queues: 65 } update_mask { paths: 'queues' }",
     "QUEUE_OUT_OF_RANGE", "uplink.queues"},
    {"uplink { name: 'uplinks/eth0' } update_mask { paths: ['wake_mode', 'xdp_mode'] }",
     "FIELD_IMMUTABLE", "update_mask"},
    {"uplink { name: 'uplinks/eth0' } update_mask { paths: 'speed' }", "FIELD_UNKNOWN",
     "update_mask"},
    {"uplink { name: 'uplinks/eth0' wake_mode: 9 } update_mask { paths: 'wake_mode' }",
     "ENUM_UNKNOWN", "uplink.wake_mode"},
    {"uplink { name: 'uplinks/eth0' balance_mode: 9 } update_mask { paths: '*' }", "ENUM_UNKNOWN",
     "uplink.balance_mode"},
    {"uplink { name: 'uplinks/eth0' queue_cpus { key: 64 value: 1 } } "
     "update_mask { paths: 'queue_cpus' }",
     "QUEUE_OUT_OF_RANGE", "uplink.queue_cpus[64]"},
    {"uplink { name: 'uplinks/eth0' queue_cpus { key: 1 value: -1 } } "
     "update_mask { paths: 'queue_cpus' }",
     "CPU_OUT_OF_RANGE", "uplink.queue_cpus[1]"},
    {"uplink { name: 'uplinks/eth0' } update_mask { paths: '*' } allow_missing: true",
     "FIELD_REQUIRED", "uplink.device"},
};

TEST(UplinkUpdate, Malformed) {
  for (const BadRow& row : kBadUplinkUpdates) {
    EXPECT_THAT(UplinkUpdateFrom(FromText<v1::UpdateUplinkRequest>(row.request)).status(),
                IsInvalid(row.reason, row.field))
        << row.request;
  }
}

TEST(UplinkUpdate, WakeModeIsWhatCanBeChanged) {
  for (const char* path : {"wake_mode", "*"}) {
    auto request = FromText<v1::UpdateUplinkRequest>(
        "uplink { name: 'uplinks/up' device: 'eth0' wake_mode: INTERRUPT queues: 2 } "
        "allow_missing: true");
    request.mutable_update_mask()->add_paths(path);
    const auto update = UplinkUpdateFrom(request);
    ASSERT_TRUE(update.ok()) << update.status();
    EXPECT_EQ(update->id, "up");
    EXPECT_EQ(update->patch.wake_mode, std::optional<WakeMode>(WakeMode::kInterrupt));
    ASSERT_TRUE(update->missing.has_value());
    EXPECT_EQ(update->missing->id, "up");
    EXPECT_EQ(update->missing->device, "eth0");
    EXPECT_EQ(update->missing->queues, 2u);
  }
}

TEST(UplinkUpdate, OnlyWhatTheMaskNames) {
  auto request = FromText<v1::UpdateUplinkRequest>(
      "uplink { name: 'uplinks/up' wake_mode: POLL queues: 2 busy_poll: true } "
      "update_mask { paths: 'queues' }");
  auto update = UplinkUpdateFrom(request);
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->patch.queues, std::optional<uint32_t>(2));
  EXPECT_FALSE(update->patch.wake_mode || update->patch.busy_poll);
  request.mutable_update_mask()->set_paths(0, "*");
  update = UplinkUpdateFrom(request);
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->patch.queues, std::optional<uint32_t>(2));
  EXPECT_EQ(update->patch.busy_poll, std::optional<bool>(true));
  EXPECT_EQ(update->patch.wake_mode, std::optional<WakeMode>(WakeMode::kPoll));
}

TEST(PortUpdate, OnlyWhatTheMaskNames) {
  const auto update = PortUpdateFrom(
      FromText<v1::UpdatePortRequest>("port { name: 'ports/vm1' vlan: 9 mtu: 1400 trusted: true } "
                                      "update_mask { paths: ['vlan', 'weight', 'disabled'] }"));
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_EQ(update->id, "vm1");
  EXPECT_EQ(update->patch.vlan, std::optional<uint32_t>(9));
  EXPECT_EQ(update->patch.weight, std::optional<uint32_t>(kDefaultWeight)) << "named, left out";
  EXPECT_EQ(update->patch.disabled, std::optional<bool>(false));
  EXPECT_FALSE(update->patch.mtu.has_value());
  EXPECT_FALSE(update->patch.trusted.has_value());
  EXPECT_FALSE(update->patch.macs.has_value());
}

}  // namespace
}  // namespace vmqd::rpc

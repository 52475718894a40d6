// What the model says is what the message says.
#include "daemon/rpc/convert.h"

#include "gtest/gtest.h"

namespace vmqd::rpc {
namespace {

MacAddress Mac(const char* text) { return *MacAddress::Parse(text); }

TEST(Convert, Counters) {
  PortStatus status;
  status.config.id = "vm1";
  status.counters.in_pkts = 10;
  status.counters.in_forwarded_pkts = 7;
  status.counters.in_drops[VMQD_DROP_SPOOFED_SOURCE] = 2;
  status.counters.in_drops[VMQD_DROP_RUNT] = 1;
  status.counters.offered_pkts = 5;
  status.counters.out_pkts = 4;
  status.counters.out_drops[VMQD_DROP_PORT_FULL] = 1;
  v1::Port port;
  ToProto(status, &port);
  const v1::Counters& counters = port.counters();
  EXPECT_EQ(counters.in_discards(), 3u);
  EXPECT_EQ(counters.out_discards(), 1u);
  ASSERT_EQ(counters.in_drops_size(), 2) << "only reasons that occurred";
  EXPECT_EQ(counters.in_drops(0).reason(), "runt");
  EXPECT_EQ(counters.in_drops(1).reason(), "spoofed_source");
  EXPECT_EQ(counters.in_drops(1).pkts(), 2u);
  ASSERT_EQ(counters.out_drops_size(), 1);
  EXPECT_EQ(counters.out_drops(0).reason(), "port_full");
}

TEST(Convert, CountersAdd) {
  Counters sum;
  sum.in_pkts = 1;
  sum.out_drops[VMQD_DROP_HAIRPIN] = 2;
  Counters other = sum;
  other.offered_pkts = 9;
  sum += other;
  EXPECT_EQ(sum.in_pkts, 2u);
  EXPECT_EQ(sum.offered_pkts, 9u);
  EXPECT_EQ(sum.OutDiscards(), 4u);
  EXPECT_EQ(sum.InDiscards(), 0u);
}

TEST(Convert, PortRequestedAndEffective) {
  PortStatus status;
  status.config = {.id = "vm1",
                   .uplink = "eth0",
                   .kind = PortKind::kHost,
                   .device = "vmq0",
                   .peer_device = "host0",
                   .macs = {Mac("52:54:00:AB:CD:EF")},
                   .weight = 0,
                   .queue = 3};
  status.queue = 0;
  status.queue_reason = "weight 0";
  status.macs = status.config.macs;
  status.oper = OperStatus::kFaulted;
  v1::Port port;
  ToProto(status, &port);
  EXPECT_EQ(port.name(), "ports/vm1");
  EXPECT_EQ(port.uplink(), "uplinks/eth0");
  EXPECT_EQ(port.kind(), v1::HOST);
  EXPECT_EQ(port.macs(0), "52:54:00:ab:cd:ef");
  EXPECT_TRUE(port.has_weight()) << "0 is a weight, not the absence of one";
  EXPECT_EQ(port.queue(), 3u);
  EXPECT_EQ(port.effective_queue(), 0u);
  EXPECT_EQ(port.effective_queue_reason(), "weight 0");
  EXPECT_EQ(port.oper_status(), v1::FAULTED);

  status.config.queue.reset();
  v1::Port placed;
  ToProto(status, &placed);
  EXPECT_FALSE(placed.has_queue());
}

PortStatus VhostStatusOf(const char* id) {
  PortStatus status;
  status.config = {.id = id,
                   .kind = PortKind::kVhostUser,
                   .socket = "vm1.sock",
                   .vhost_role = VhostRole::kVmmListens,
                   .queue_pairs = 4,
                   .coalescing_off = true};
  status.queue_pairs = 2;
  status.queue_pairs_reason = "the uplink has 2 queues";
  return status;
}

TEST(Convert, VhostUserPort) {
  PortStatus status = VhostStatusOf("vm1");
  status.vhost = {.socket_path = "/run/vmqd/vhost-user/vm1.sock",
                  .connected = true,
                  .since = std::chrono::system_clock::time_point(std::chrono::milliseconds(1500)),
                  .features = {"VIRTIO_F_VERSION_1"},
                  .protocol_features = {"MQ", "REPLY_ACK"},
                  .offloads = {"checksums are completed towards the wire"},
                  .memory_regions = 2,
                  .memory_bytes = 1 << 30,
                  .memory_sealed = true,
                  .logging = true,
                  .rings = {{.index = 1, .size = 256, .running = true, .enabled = true}},
                  .last_fault = "a descriptor out of range",
                  .last_fault_time = std::chrono::system_clock::time_point(std::chrono::seconds(7)),
                  .connections = 3,
                  .faults = 1};
  v1::Port port;
  ToProto(status, &port);
  EXPECT_EQ(port.kind(), v1::VHOST_USER);
  EXPECT_EQ(port.socket(), "vm1.sock");
  EXPECT_EQ(port.vhost_role(), v1::VMM_LISTENS);
  EXPECT_EQ(port.queue_pairs(), 4u);
  EXPECT_TRUE(port.coalescing_off());
  EXPECT_EQ(port.effective_queue_pairs(), 2u);
  EXPECT_EQ(port.effective_queue_pairs_reason(), "the uplink has 2 queues");
  const v1::VhostStatus& vhost = port.vhost();
  EXPECT_EQ(vhost.socket_path(), "/run/vmqd/vhost-user/vm1.sock");
  EXPECT_TRUE(vhost.connected());
  EXPECT_EQ(vhost.since().seconds(), 1);
  EXPECT_EQ(vhost.since().nanos(), 500000000);
  EXPECT_EQ(vhost.features(0), "VIRTIO_F_VERSION_1");
  EXPECT_EQ(vhost.protocol_features(1), "REPLY_ACK");
  EXPECT_EQ(vhost.offloads(0), "checksums are completed towards the wire");
  EXPECT_EQ(vhost.memory_regions(), 2u);
  EXPECT_EQ(vhost.memory_bytes(), 1u << 30);
  EXPECT_TRUE(vhost.memory_sealed());
  EXPECT_TRUE(vhost.logging());
  ASSERT_EQ(vhost.rings_size(), 1);
  EXPECT_EQ(vhost.rings(0).index(), 1u);
  EXPECT_EQ(vhost.rings(0).size(), 256u);
  EXPECT_TRUE(vhost.rings(0).running());
  EXPECT_TRUE(vhost.rings(0).enabled());
  EXPECT_EQ(vhost.last_fault(), "a descriptor out of range");
  EXPECT_EQ(vhost.last_fault_time().seconds(), 7);
  EXPECT_EQ(vhost.connections(), 3u);
  EXPECT_EQ(vhost.faults(), 1u);
}

TEST(Convert, VhostUserPortThatNobodyConnectedTo) {
  PortStatus status = VhostStatusOf("vm1");
  v1::Port waiting;
  ToProto(status, &waiting);
  EXPECT_FALSE(waiting.has_vhost());
  status.vhost.emplace();
  v1::Port port;
  ToProto(status, &port);
  EXPECT_FALSE(port.vhost().connected());
  EXPECT_FALSE(port.vhost().has_since()) << "not 1970";
  EXPECT_FALSE(port.vhost().has_last_fault_time());
}

TEST(Convert, OtherPortsSayNothingOfVhostUser) {
  PortStatus status = VhostStatusOf("tap1");
  status.config.kind = PortKind::kTap;
  status.vhost.emplace();
  v1::Port port;
  ToProto(status, &port);
  EXPECT_EQ(port.socket(), "");
  EXPECT_EQ(port.vhost_role(), v1::VHOST_ROLE_UNSPECIFIED);
  EXPECT_FALSE(port.has_queue_pairs());
  EXPECT_EQ(port.effective_queue_pairs(), 0u);
  EXPECT_FALSE(port.has_vhost());
}

TEST(Convert, UplinkRequestedAndEffective) {
  UplinkStatus status;
  status.config = {.id = "up",
                   .device = "eth0",
                   .xdp_mode = XdpMode::kAuto,
                   .steering = Steering::kExternal,
                   .wake_mode = WakeMode::kPoll};
  status.xdp_mode = XdpMode::kGeneric;
  status.xdp_mode_reason = "the driver has no XDP";
  status.wake_mode = WakeMode::kInterrupt;
  v1::Uplink uplink;
  ToProto(status, &uplink);
  EXPECT_EQ(uplink.name(), "uplinks/up");
  EXPECT_EQ(uplink.xdp_mode(), v1::AUTO);
  EXPECT_EQ(uplink.effective_xdp_mode(), v1::GENERIC);
  EXPECT_EQ(uplink.effective_xdp_mode_reason(), "the driver has no XDP");
  EXPECT_EQ(uplink.steering(), v1::EXTERNAL);
  EXPECT_EQ(uplink.effective_steering(), v1::SOFTWARE);
  EXPECT_EQ(uplink.wake_mode(), v1::POLL);
  EXPECT_EQ(uplink.effective_wake_mode(), v1::INTERRUPT);
  EXPECT_EQ(uplink.numa_node(), -1);
}

TEST(Convert, WhoBalances) {
  UplinkConfig config{.id = "up"};
  v1::Uplink uplink;
  ToProto(config, &uplink);
  EXPECT_EQ(uplink.balance_mode(), v1::DYNAMIC);
  EXPECT_TRUE(uplink.queue_cpus().empty());
  config.balance_mode = BalanceMode::kStatic;
  config.queue_cpus = {{3, 1}};
  ToProto(config, &uplink);
  EXPECT_EQ(uplink.balance_mode(), v1::STATIC);
  EXPECT_EQ(uplink.queue_cpus().at(3), 1);
}

TEST(Convert, Loads) {
  QueueStatus status;
  status.pinned = true;
  status.loads[1] = {.busy = 0.5,
                     .frames_per_second = 10,
                     .bytes_per_second = 100,
                     .lost_per_second = 1,
                     .wakeups_per_second = 2,
                     .backlog = 3};
  v1::Queue queue;
  ToProto(status, &queue);
  EXPECT_TRUE(queue.pinned());
  ASSERT_EQ(queue.loads_size(), 3);
  EXPECT_EQ(queue.loads(0).seconds(), 1u);
  EXPECT_EQ(queue.loads(2).seconds(), 60u);
  const v1::Load& load = queue.loads(1);
  EXPECT_EQ(load.seconds(), 10u);
  EXPECT_EQ(load.busy_percent(), 50);
  EXPECT_EQ(load.pps(), 10);
  EXPECT_EQ(load.bps(), 800);
  EXPECT_EQ(load.lost_pps(), 1);
  EXPECT_EQ(load.wakeups_per_second(), 2);
  EXPECT_EQ(load.backlog(), 3);
}

TEST(Convert, Rebalance) {
  RebalanceReport report;
  report.moves = {{.resource = "ports/vm1",
                   .from_cpu = 0,
                   .to_cpu = 1,
                   .to_queue = "uplinks/up/queues/2",
                   .reason = "because",
                   .from = {0, 1.25, 0.5},
                   .to = {1, 0, 0.75}}};
  report.forecast = {{0, 1.25, 0.5}};
  report.remarks = {"a remark"};
  v1::RebalanceResponse response;
  ToProto(report, &response);
  ASSERT_EQ(response.moves_size(), 1);
  const v1::Move& move = response.moves(0);
  EXPECT_EQ(move.resource(), "ports/vm1");
  EXPECT_EQ(move.to_cpu(), 1);
  EXPECT_EQ(move.to_queue(), "uplinks/up/queues/2");
  EXPECT_EQ(move.reason(), "because");
  EXPECT_EQ(move.from().percent_before(), 125);
  EXPECT_EQ(move.from().percent_after(), 50);
  EXPECT_EQ(move.to().percent_after(), 75);
  EXPECT_EQ(response.forecast(0).percent_before(), 125);
  EXPECT_EQ(response.remarks(0), "a remark");
}

TEST(Convert, Queue) {
  QueueStatus status;
  status.uplink = "eth0";
  status.queue = 2;
  status.filters = {{"vm1", Mac("52:54:00:00:00:01"), 10}};
  status.sockets = {{.role = "vm", .queue = 2, .rx_ring_full = 4}};
  v1::Queue queue;
  ToProto(status, &queue);
  EXPECT_EQ(queue.name(), "uplinks/eth0/queues/2");
  ASSERT_EQ(queue.filters_size(), 1);
  EXPECT_EQ(queue.filters(0).port(), "ports/vm1");
  EXPECT_EQ(queue.filters(0).vlan(), 10u);
  ASSERT_EQ(queue.sockets_size(), 1);
  EXPECT_EQ(queue.sockets(0).rx_ring_full(), 4u);
}

TEST(Convert, ConfigIsWhatTheOperatorSetsAndNothingElse) {
  const PortConfig config{.id = "vm1", .kind = PortKind::kTap, .device = "tap1"};
  v1::Port port;
  ToProto(config, &port);
  EXPECT_EQ(port.name(), "ports/vm1");
  EXPECT_EQ(port.uplink(), "") << "not a name without an id";
  v1::Uplink uplink;
  ToProto(UplinkConfig{.id = "up", .device = "eth0", .queues = 3}, &uplink);
  EXPECT_EQ(uplink.name(), "uplinks/up");
  EXPECT_EQ(uplink.queues(), 3u);
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  for (const google::protobuf::Message* message :
       {static_cast<const google::protobuf::Message*>(&port),
        static_cast<const google::protobuf::Message*>(&uplink)}) {
    message->GetReflection()->ListFields(*message, &fields);
    for (const auto* field : fields) EXPECT_LT(field->number(), 20) << field->name();
  }
}

TEST(Convert, EtagAndWhatIsWaitedFor) {
  PortStatus status;
  status.oper = OperStatus::kWaiting;
  status.etag = "7-1";
  v1::Port port;
  ToProto(status, &port);
  EXPECT_EQ(port.oper_status(), v1::WAITING);
  EXPECT_EQ(port.etag(), "7-1");
  UplinkStatus uplink_status;
  uplink_status.etag = "7-2";
  uplink_status.survives_crash_reason = "no bpf file system";
  v1::Uplink uplink;
  ToProto(uplink_status, &uplink);
  EXPECT_EQ(uplink.etag(), "7-2");
  EXPECT_FALSE(uplink.survives_crash());
  EXPECT_EQ(uplink.survives_crash_reason(), "no bpf file system");
}

TEST(Convert, Event) {
  Event event{.revision = 9,
              .time = std::chrono::system_clock::time_point(std::chrono::milliseconds(-1500)),
              .severity = Severity::kAlarm,
              .resource = "ports/vm1",
              .reason = "DEVICE_GONE",
              .message = "its device is gone"};
  v1::Event out;
  ToProto(event, &out);
  EXPECT_EQ(out.revision(), 9u);
  EXPECT_EQ(out.severity(), v1::ALARM);
  EXPECT_EQ(out.resource(), "ports/vm1");
  EXPECT_EQ(out.reason(), "DEVICE_GONE");
  EXPECT_EQ(out.message(), "its device is gone");
  EXPECT_EQ(out.time().seconds(), -2) << "nanos are never negative";
  EXPECT_EQ(out.time().nanos(), 500000000);
}

TEST(Convert, Switch) {
  SwitchStatus status;
  status.revision = 12;
  status.state_revision = 10;
  status.warnings = {"state.1 is damaged"};
  v1::Switch sw;
  ToProto(status, &sw);
  EXPECT_EQ(sw.revision(), 12u);
  EXPECT_EQ(sw.state_revision(), 10u);
  ASSERT_EQ(sw.warnings_size(), 1);
  EXPECT_EQ(sw.warnings(0), "state.1 is damaged");
}

}  // namespace
}  // namespace vmqd::rpc

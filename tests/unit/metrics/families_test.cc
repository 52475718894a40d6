// The metrics of states that tests make up, as families and as text. The server is tested with a
// real daemon by tests/system/test_metrics.py.
#include "daemon/metrics/families.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "prometheus/text_serializer.h"

namespace vmqd::metrics {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

Counters SomeCounters() {
  Counters counters;
  counters.in_pkts = 9007199254740993 - 2;  // 2^53 - 1: the largest that a double holds for certain
  counters.in_octets = 1000;
  counters.in_forwarded_pkts = 7;
  counters.offered_pkts = 8;
  counters.out_pkts = 6;
  counters.out_octets = 600;
  counters.in_drops[VMQD_DROP_SPOOFED_SOURCE] = 3;
  counters.out_drops[VMQD_DROP_RX_RING_FULL] = 2;
  return counters;
}

Seen SomeSeen(size_t ports = 1) {
  Seen seen;
  seen.whole.version = "0.1.0";
  seen.whole.port_count = static_cast<uint32_t>(ports);
  seen.whole.warnings = {"one", "two"};
  seen.whole.queue_moves = 3;
  seen.whole.cpus = {{.cpu = 1, .other_percent = 25}};
  UplinkStatus& uplink = seen.uplinks.emplace_back();
  uplink.config.id = "eth1";
  uplink.config.device = "eth1";
  uplink.oper = OperStatus::kWaiting;
  uplink.counters = SomeCounters();
  for (size_t i = 0; i < ports; ++i) {
    PortStatus& port = seen.ports.emplace_back();
    port.config.id = absl::StrCat("vm", i);
    port.config.uplink = "eth1";
    port.config.device = absl::StrCat("tap", i);
    port.counters = SomeCounters();
    port.sockets.push_back({.role = "vm", .queue = 1, .rx_ring_full = 2});
    port.sockets.push_back({.role = "vm", .queue = 1, .rx_ring_full = 3});
  }
  QueueStatus& queue = seen.queues.emplace_back();
  queue.uplink = "eth1";
  queue.queue = 1;
  queue.busy_percent = 25;
  queue.buffers_in_flight = -1;
  queue.filters = {{.port = "vm0", .vlan = 1}, {.port = "vm0", .vlan = 2}};
  queue.sockets.push_back({.role = "anchor", .queue = 1, .tx_kicks = 5});
  return seen;
}

std::vector<std::string> Lines(const Seen& seen) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, MakeFamilies(seen));
  return absl::StrSplit(text.str(), '\n', absl::SkipEmpty());
}

TEST(Families, ShowsWhatWasSeen) {
  const std::vector<std::string> lines = Lines(SomeSeen());
  for (
      const char* line : {
          R"(vmqd_build_info{version="0.1.0"} 1)",
          R"(vmqd_warnings 2)",
          R"(vmqd_moves_total{of="queue"} 3)",
          R"(vmqd_cpu_other_ratio{cpu="1"} 0.25)",
          R"(vmqd_ports 1)",
          R"(vmqd_uplink_up{uplink="eth1"} 0)",
          R"(vmqd_uplink_status{uplink="eth1",status="waiting"} 1)",
          R"(vmqd_uplink_status{uplink="eth1",status="up"} 0)",
          R"(vmqd_port_up{port="vm0",uplink="eth1"} 1)",
          R"(vmqd_port_packets_total{port="vm0",uplink="eth1",direction="in"} 9007199254740991)",
          R"(vmqd_port_packets_total{port="vm0",uplink="eth1",direction="out"} 6)",
          R"(vmqd_port_discards_total{port="vm0",uplink="eth1",direction="in"} 3)",
          R"(vmqd_port_drops_total{port="vm0",uplink="eth1",direction="in",reason="spoofed_source"} 3)",
          R"(vmqd_port_drops_total{port="vm0",uplink="eth1",direction="out",reason="rx_ring_full"} 2)",
          R"(vmqd_queue_ports{uplink="eth1",queue="1"} 1)",
          R"(vmqd_queue_buffers_in_flight{uplink="eth1",queue="1"} -1)",
          R"(vmqd_worker_busy_ratio{uplink="eth1",queue="1"} 0.25)",
          R"(vmqd_socket_events_total{uplink="eth1",port="vm0",queue="1",role="vm",event="rx_ring_full"} 5)",
          R"(vmqd_socket_events_total{uplink="eth1",port="",queue="1",role="anchor",event="tx_kicks"} 5)",
          R"(vmqd_socket_events_total{uplink="eth1",port="",queue="1",role="anchor",event="rx_dropped"} 0)",
      }) {
    EXPECT_THAT(lines, Contains(line));
  }
}

TEST(Families, ReasonsThatDidNotOccurAreNotThere) {
  Seen seen = SomeSeen();
  seen.ports[0].counters = {};
  seen.uplinks[0].counters = {};
  const std::vector<std::string> lines = Lines(seen);
  EXPECT_THAT(lines, Not(Contains(HasSubstr("_drops_total{port="))));
  EXPECT_THAT(lines, Contains(HasSubstr("vmqd_port_discards_total{port=\"vm0\",")));
}

TEST(Families, NamesFollowTheConventions) {
  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : MakeFamilies(SomeSeen())) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name << " twice";
    EXPECT_THAT(family.name, testing::MatchesRegex("(vmqd|process)_[a-z_]+"));
    EXPECT_EQ(family.type == prometheus::MetricType::Counter, family.name.ends_with("_total"))
        << family.name;
    EXPECT_TRUE(family.help.ends_with(".")) << family.name << ": " << family.help;
    std::set<std::vector<prometheus::ClientMetric::Label>> labels;
    for (const prometheus::ClientMetric& metric : family.metric) {
      EXPECT_TRUE(labels.insert(metric.label).second) << "a label set twice in " << family.name;
    }
  }
}

TEST(Families, EmptySwitch) {
  const std::vector<std::string> lines = Lines({});
  EXPECT_THAT(lines, Contains("vmqd_ports 0"));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("vmqd_port_"))));
}

TEST(Families, ThisProcess) {
  const std::vector<std::string> lines = Lines({});
  for (const char* name : {"process_cpu_seconds_total ", "process_resident_memory_bytes ",
                           "process_open_fds ", "process_max_fds "}) {
    EXPECT_THAT(lines, Contains(::testing::StartsWith(name)));
  }
}

// The number of series grows with what the operator made and with nothing else.
TEST(Families, SeriesPerPortAreBounded) {
  const size_t one = Lines(SomeSeen(1)).size();
  const size_t many = Lines(SomeSeen(1001)).size();
  EXPECT_LE((many - one) / 1000, 20 + 2 * kDropReasonCount);
  const auto start = std::chrono::steady_clock::now();
  const size_t lines = Lines(SomeSeen(1000)).size();
  const auto took = std::chrono::steady_clock::now() - start;
  RecordProperty("lines", static_cast<int>(lines));
  RecordProperty("microseconds", static_cast<int>(took / std::chrono::microseconds(1)));
}

}  // namespace
}  // namespace vmqd::metrics

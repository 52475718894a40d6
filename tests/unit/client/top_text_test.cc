// What `top` shows on a terminal and in a pipe, and which events are a history.
#include "client/top_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/history_text.h"
#include "client/output.h"
#include "google/protobuf/text_format.h"

namespace vmqd::cli {
namespace {

using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using ::testing::StartsWith;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

Sight SmallLook() {
  setenv("TZ", "UTC", 1);
  tzset();
  Sight look;
  look.time.set_seconds(3661);
  look.sw = Parse<v1::Switch>(R"(
    version: "1.2.3" port_count: 2
    cpus { cpu: 0 numa_node: -1 queues: "uplinks/nic0/queues/0" other_percent: 25
           loads { seconds: 10 busy_percent: 99 } loads { seconds: 1 busy_percent: 50 } }
    cpus { cpu: 1 queues: "uplinks/nic0/queues/1" })");
  look.queues = Parse<v1::ListQueuesResponse>(R"(
    queues { name: "uplinks/nic0/queues/0" cpu: 0 busy_percent: 50 rates { in_pps: 1234 }
             filters { port: "ports/vm1" } filters { port: "ports/vm1" } filters { port: "ports/vm2" } }
    queues { name: "uplinks/nic0/queues/1" cpu: 1 queue: 1 })");
  look.ports = Parse<v1::ListPortsResponse>(R"(
    ports { name: "ports/vm1" uplink: "uplinks/nic0" rates { in_pps: 1 } counters { in_discards: 5 } }
    ports { name: "ports/vm2" uplink: "uplinks/nic0" effective_queue: 1 cpu: 1
            rates { out_pps: 1200 out_bps: 14000000 } counters { out_discards: 7 } })");
  return look;
}

std::vector<std::string> Texts(const Sight& look, const std::optional<TerminalSize>& size) {
  std::vector<std::string> texts;
  for (const ShownLine& line : TopLines(look, {{"ports/vm2", 20.0}}, size)) {
    texts.push_back(line.text);
  }
  return texts;
}

TEST(BarTest, Cells) {
  EXPECT_EQ(Bar(0, 0, 4), "[    ]");
  EXPECT_EQ(Bar(50, 25, 4), "[##= ]");
  EXPECT_EQ(Bar(80, 80, 4), "[###=]");
  EXPECT_EQ(Bar(130, 10, 4), "[####]");
  EXPECT_EQ(Bar(-1, 0, 4), "[    ]");
}

TEST(TopTextTest, Everything) {
  EXPECT_THAT(Texts(SmallLook(), std::nullopt),
              ElementsAre("vmqd 1.2.3  01:01:01  ports 2  frames/s: in 1.24k, out 1.20k, dropped -",
                          "CPU  NUMA  LOAD: # WORKERS, = OTHER      WORKERS%  OTHER%  QUEUES",
                          "  0     -  [#############=======      ]      50.0    25.0  nic0/0",
                          "  1     0  [                          ]       0.0     0.0  nic0/1", "",
                          "QUEUE   CPU  BUSY             BUSY%  IN-PPS  OUT-PPS  PORTS",
                          "nic0/0    0  [#######      ]   50.0   1.23k        0  vm1 vm2",
                          "nic0/1    1  [             ]    0.0       0        0", "",
                          "PORT  QUEUE   CPU  IN-PPS  OUT-PPS  IN-BPS  OUT-BPS  DROPS/S",
                          "vm2   nic0/1    1       0    1.20k       0    14.0M       20",
                          "vm1   nic0/0    0     1.0        0       0        0        -", "",
                          "NO MOVE YET"));
}

TEST(TopTextTest, FitsEveryTerminal) {
  Sight look = SmallLook();
  look.sw.mutable_cpus()->Clear();
  for (int i = 0; i < 64; ++i) {
    v1::Cpu& cpu = *look.sw.add_cpus();
    cpu.set_cpu(i);
    for (int q = 0; q < 4; ++q) cpu.add_queues(absl::StrCat("uplinks/enp193s0f0np0/queues/", q));
    v1::Queue& queue = *look.queues.add_queues();
    queue.set_name(absl::StrCat("uplinks/enp193s0f0np0/queues/", i));
    queue.set_busy_percent(i == 40 ? 77.0 : 3.0);
    for (int p = 0; p < 20; ++p) queue.add_filters()->set_port(absl::StrCat("ports/machine-", p));
  }
  for (int i = 0; i < 1000; ++i) {
    v1::Port& port = *look.ports.add_ports();
    port.set_name(absl::StrCat("ports/a-machine-with-a-name-as-long-as-it-may-be-", i));
    port.set_uplink("uplinks/enp193s0f0np0");
    port.mutable_rates()->set_in_pps(i == 700 ? 1e6 : 1.0);
    port.mutable_rates()->set_out_bps(999e9);
  }
  *look.moves.add_events() = Parse<v1::Event>(R"(
    resource: "ports/vm1" reason: "PORT_MOVED" time { seconds: 60 }
    message: "the first of several moves, of which a small screen has no room for this one")");
  *look.moves.add_events() = Parse<v1::Event>(R"(
    resource: "uplinks/nic0/queues/1" reason: "QUEUE_MOVED" time { seconds: 61 }
    message: "CPU 1 needed 98 % while CPU 0 needed 3 %; the queue goes there, and 51 % are expected")");
  for (const TerminalSize size : {TerminalSize{80, 24}, {40, 12}, {200, 60}, {1, 1}}) {
    const std::vector<std::string> texts = Texts(look, size);
    EXPECT_LE(texts.size(), static_cast<size_t>(size.rows));
    for (const std::string& text : texts) EXPECT_LE(text.size(), static_cast<size_t>(size.columns));
  }
  const std::vector<std::string> texts = Texts(look, TerminalSize{80, 24});
  EXPECT_THAT(texts, Contains(StartsWith("CPU 4/64 ")));
  EXPECT_THAT(texts, Contains(StartsWith("enp193s0f0np0/40")));
  EXPECT_THAT(texts, Contains(ContainsRegex("^PORT [0-9]+/1002 .*DROPS/S$")));
  EXPECT_THAT(texts, Contains(HasSubstr(" 1.00M ")));  // of the busiest port
  EXPECT_THAT(texts, Contains(StartsWith("00:01:01 QUEUE_MOVED nic0/1: CPU 1 needed")));
  EXPECT_THAT(Texts(look, std::nullopt), Contains(HasSubstr("first of several moves")));
}

TEST(LookTest, DropRates) {
  Sight before = SmallLook(), now = SmallLook();
  now.time.set_seconds(before.time.seconds() + 2);
  now.ports.mutable_ports(0)->mutable_counters()->set_in_discards(11);
  now.ports.mutable_ports(1)->mutable_counters()->set_out_discards(1);  // added anew
  now.ports.add_ports()->set_name("ports/vm3");
  const std::map<std::string, double> rates = DropRates(before, now);
  EXPECT_THAT(rates, ElementsAre(std::pair("", 0.0), std::pair("ports/vm1", 3.0)));
}

TEST(HistoryTest, PortAndTheMovesOfItsHomeQueue) {
  const auto all = Parse<v1::ListEventsResponse>(R"(
    events { revision: 1 resource: "uplinks/nic0/queues/1" reason: "QUEUE_MOVED" }
    events { revision: 2 resource: "ports/vm1" reason: "ADDED" }
    events { revision: 3 resource: "ports/vm10" reason: "ADDED" }
    events { revision: 4 resource: "uplinks/nic0/queues/1" reason: "QUEUE_MOVED" }
    events { revision: 5 resource: "ports/vm1" reason: "PORT_MOVED" }
    events { revision: 6 resource: "ports/vm1" reason: "MOVE_GAINED" }
    events { revision: 7 resource: "uplinks/nic0/queues/2" reason: "QUEUE_MOVED" }
    events { revision: 8 resource: "uplinks/nic0/queues/1" reason: "QUEUE_MOVED" }
    events { revision: 9 resource: "uplinks/nic0/queues/1" reason: "MOVE_GAINED" })");
  const auto revisions = [&](const std::string& resource, const std::string& home) {
    std::vector<uint64_t> found;
    const v1::ListEventsResponse history = HistoryOf(all, resource, home);
    for (const v1::Event& event : history.events()) {
      found.push_back(event.revision());
    }
    return found;
  };
  EXPECT_THAT(revisions("ports/vm1", "uplinks/nic0/queues/1"), ElementsAre(2, 5, 6, 8, 9));
  EXPECT_THAT(revisions("ports/vm1", ""), ElementsAre(2, 5, 6));
  EXPECT_THAT(revisions("uplinks/nic0/queues/1", ""), ElementsAre(1, 4, 8, 9));
}

}  // namespace
}  // namespace vmqd::cli

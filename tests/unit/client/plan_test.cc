// What apply decides to do: the calls, their order, and the words for it. Files on the left, what
// the daemon shows on the right; that the daemon takes the calls is tested on the daemon
// (tests/system/test_apply.py).
#include "client/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/plan_text.h"
#include "client/switch_config.h"
#include "tests/support/status_matchers.h"

namespace vmqd::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using vmqd::testing::IsOk;
using vmqd::testing::StatusIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// What a daemon would show that has been asked for this.
v1::SwitchConfig Seen(const std::string& text) {
  const auto file = ParseSwitchConfig(text, "seen");
  EXPECT_THAT(file, IsOk());
  v1::SwitchConfig seen = file->config;
  for (v1::Uplink& uplink : *seen.mutable_uplinks()) {
    uplink.set_etag("etag of " + uplink.name());
    uplink.set_oper_status(v1::UP);
  }
  for (v1::Port& port : *seen.mutable_ports()) {
    port.set_etag("etag of " + port.name());
    if (port.uplink().empty()) port.set_uplink("uplinks/e0");
    if (port.device().empty() && port.socket().empty())
      port.set_device("chosen-" + port.name().substr(6));
    if (port.macs().empty())
      port.add_macs(absl::StrCat("02:00:00:00:01:", absl::Hex(port.name()[6])));
  }
  return seen;
}

absl::StatusOr<Plan> Planned(const std::string& file, const std::string& seen, bool prune = false) {
  const auto read = ParseSwitchConfig(file, "f");
  if (!read.ok()) return read.status();
  return MakePlan(*read, Seen(seen), prune);
}

// The calls, in order: "create ports/a"; those that can be tried beforehand marked "?".
std::vector<std::string> Steps(const absl::StatusOr<Plan>& plan) {
  EXPECT_THAT(plan, IsOk());
  std::vector<std::string> steps;
  if (!plan.ok()) return steps;
  for (const Step& step : plan->steps) {
    steps.push_back(StepText(*plan, step) + (step.independent ? "?" : ""));
  }
  return steps;
}

constexpr char kSwitch[] =
    "uplinks: [{device: e0}]\n"
    "ports:\n"
    "- {name: a, kind: tap, device: ta, macs: [\"02:00:00:00:00:01\"], vlan: 10}\n"
    "- {name: b, kind: veth, peer_device: pb}\n";

TEST(PlanTest, SameIsNothing) {
  const auto plan = Planned(kSwitch, kSwitch, true);
  EXPECT_THAT(Steps(plan), IsEmpty());
  EXPECT_EQ(DiffText(*plan), "");
  // Nor are defaults said, other spellings, and what vmqd chose.
  EXPECT_THAT(
      Steps(Planned(
          "uplinks: [{name: uplinks/e0, device: e0, xdp_mode: native, buffers_per_queue: 16384}]\n"
          "ports:\n"
          "- {name: ports/b, kind: veth, peer_device: pb, uplink: e0, weight: 100}\n"
          "- {name: a, kind: tap, device: ta, macs: [02-00-00-00-00-01], vlan: 10}\n",
          kSwitch, true)),
      IsEmpty());
}

TEST(PlanTest, CreatesEverythingInOrder) {
  const auto plan = Planned(kSwitch, "{}");
  EXPECT_THAT(Steps(plan), ElementsAre("create uplinks/e0?", "create ports/a", "create ports/b"));
  EXPECT_EQ(DiffText(*plan),
            "+ uplinks/e0\n"
            "    device: e0\n"
            "    xdp_mode: native\n"
            "    steering: software\n"
            "    wake_mode: adaptive\n"
            "    buffers_per_queue: 16384\n"
            "    balance_mode: dynamic\n"
            "+ ports/a\n"
            "    uplink: uplinks/e0\n"
            "    kind: tap\n"
            "    device: ta\n"
            "    macs:\n"
            "      - \"02:00:00:00:00:01\"\n"
            "    vlan: 10\n"
            "    weight: 100\n"
            "+ ports/b\n"
            "    uplink: uplinks/e0\n"
            "    kind: veth\n"
            "    peer_device: pb\n"
            "    weight: 100\n");
  EXPECT_EQ(ToDoText(*plan), "3 to create");
}

constexpr char kVhost[] =
    "uplinks: [{device: e0}]\n"
    "ports:\n"
    "- {name: v, kind: vhost_user, socket: v.sock, macs: [\"02:00:00:00:00:09\"]";

TEST(PlanTest, VhostUserPorts) {
  const std::string plain = std::string(kVhost) + "}\n";
  EXPECT_THAT(Steps(Planned(std::string(kVhost) + ", vhost_role: switch_listens, queue_pairs: 1}\n",
                            plain, true)),
              IsEmpty())
      << "defaults said";
  const auto update = Planned(std::string(kVhost) + ", coalescing_off: true}\n", plain);
  EXPECT_THAT(Steps(update), ElementsAre("update ports/v?"));
  EXPECT_EQ(DiffText(*update), "~ ports/v\n    coalescing_off: false -> true\n");
  const auto replace =
      Planned(std::string(kVhost) + ", vhost_role: vmm_listens, queue_pairs: 4}\n", plain);
  EXPECT_THAT(Steps(replace), ElementsAre("delete ports/v?", "create ports/v"));
  EXPECT_EQ(DiffText(*replace),
            "-/+ ports/v: vhost_role, queue_pairs are immutable\n"
            "    vhost_role: switch_listens -> vmm_listens\n"
            "    queue_pairs: 1 -> 4\n");
}

TEST(PlanTest, ASocketForTwo) {
  const std::string two = std::string(kVhost) +
                          "}\n- {name: w, kind: vhost_user, socket: v.sock, macs: "
                          "[\"02:00:00:00:00:0a\"]}\n";
  EXPECT_THAT(Planned(two, "{}"),
              StatusIs(kInvalid, "f:4:3: ports[1]: socket v.sock is for ports/v too"));
}

TEST(PlanTest, UpdatesReplacesAndDeletes) {
  const std::string file =
      "uplinks: [{device: e0, wake_mode: poll}]\n"
      "ports:\n"
      "- {name: a, kind: tap, device: ta, macs: [\"02:00:00:00:00:02\"], weight: 5}\n"
      "- {name: b, kind: veth, peer_device: pb2, queue: 1}\n";
  const std::string seen = std::string(kSwitch) + "- {name: c, kind: tap, device: tc}\n";
  const auto kept = Planned(file, seen);
  EXPECT_THAT(Steps(kept), ElementsAre("delete ports/b?", "create ports/b", "update ports/a?",
                                       "update uplinks/e0?"));
  EXPECT_THAT(kept->extra, ElementsAre("ports/c"));
  const auto pruned = Planned(file, seen, true);
  EXPECT_THAT(Steps(pruned), ElementsAre("delete ports/b?", "delete ports/c?", "create ports/b",
                                         "update ports/a?", "update uplinks/e0?"));
  EXPECT_THAT(pruned->extra, IsEmpty());
  EXPECT_EQ(DiffText(*pruned),
            "~ uplinks/e0\n"
            "    wake_mode: adaptive -> poll\n"
            "~ ports/a\n"
            "    macs: [02:00:00:00:00:01] -> [02:00:00:00:00:02]\n"
            "    vlan: 10 -> 0\n"
            "    weight: 100 -> 5\n"
            "-/+ ports/b: peer_device is immutable\n"
            "    peer_device: pb -> pb2\n"
            "    queue: none -> 1\n"
            "- ports/c\n");
  EXPECT_EQ(pruned->changes[1].etag, "etag of ports/a");
  EXPECT_EQ(CountText(*pruned, 5), "2 updated, 1 replaced, 1 deleted");
  EXPECT_EQ(CountText(*pruned, 2), "1 deleted");
  EXPECT_EQ(CountText(*pruned, 0), "nothing done");
}

TEST(PlanTest, WhatPlacesQueuesAndPortsIsUpdated) {
  const auto plan = Planned(
      "uplinks: [{device: e0, balance_mode: manual, queue_cpus: {10: 1, 2: 0}}]\n"
      "ports: [{name: a, kind: tap, device: ta, macs: [\"02:00:00:00:00:01\"], queue: 1}]",
      "uplinks: [{device: e0, queue_cpus: {2: 1}}]\n"
      "ports: [{name: a, kind: tap, device: ta, macs: [\"02:00:00:00:00:01\"]}]");
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(DiffText(*plan),
            "~ uplinks/e0\n"
            "    balance_mode: dynamic -> manual\n"
            "    queue_cpus: {2: 1} -> {2: 0, 10: 1}\n"
            "~ ports/a\n"
            "    queue: none -> 1\n");
}

// Ports go before their uplink and come back after it, also those that the file does not name.
TEST(PlanTest, AReplacedUplinkTakesItsPortsAlong) {
  const auto plan = Planned(
      "uplinks: [{device: e0, buffers_per_queue: 2048}]\n"
      "ports: [{name: b, kind: veth, peer_device: pb}]\n",
      kSwitch);
  EXPECT_THAT(Steps(plan), ElementsAre("delete ports/b?", "delete ports/a?", "delete uplinks/e0",
                                       "create uplinks/e0", "create ports/b", "create ports/a"));
  EXPECT_EQ(DiffText(*plan),
            "-/+ uplinks/e0: buffers_per_queue is immutable\n"
            "    buffers_per_queue: 16384 -> 2048\n"
            "-/+ ports/b: uplinks/e0 is replaced\n"
            "-/+ ports/a: uplinks/e0 is replaced\n");
  // With what vmqd chose for it, so that the container finds its address again.
  EXPECT_EQ(std::get<v1::Port>(plan->changes[1].wanted).macs(0), "02:00:00:00:01:62");
  EXPECT_EQ(std::get<v1::Port>(plan->changes[2].wanted).vlan(), 10);
}

// Before the ports that are for them, after the ports that have been on them.
TEST(PlanTest, AnUplinkGetsAndGivesUpQueues) {
  const std::string ports =
      "ports: [{name: b, kind: tap, device: tb, macs: [\"02:00:00:00:00:0b\"]";
  const std::string more = "uplinks: [{device: e0, queues: 8}]\n" + ports + ", queue: 7}]\n";
  const std::string fewer = "uplinks: [{device: e0, queues: 2}]\n" + ports + "}]\n";
  EXPECT_THAT(Steps(Planned(more, "uplinks: [{device: e0, queues: 2}]\n")),
              ElementsAre("update uplinks/e0?", "create ports/b"));
  EXPECT_THAT(Steps(Planned("uplinks: [{device: e0, queues: 2}]\n", more, true)),
              ElementsAre("delete ports/b?", "update uplinks/e0"));
  EXPECT_THAT(Steps(Planned("uplinks: [{device: e0, queues: 2}]\n", more)),
              ElementsAre("update uplinks/e0"));  // and is refused
  EXPECT_THAT(Steps(Planned(fewer, "uplinks: [{device: e0}]\n" + ports + "}]\n")),
              ElementsAre("update uplinks/e0?"));
}

TEST(PlanTest, AnotherUplinkInstead) {
  EXPECT_THAT(Steps(Planned("uplinks: [{device: e1}]\nports: [{name: b, kind: veth, peer_device: "
                            "pb}]\n",
                            kSwitch, true)),
              ElementsAre("delete ports/b?", "delete ports/a?", "delete uplinks/e0",
                          "create uplinks/e1?", "create ports/b"));
  EXPECT_THAT(Steps(Planned("{}", "uplinks: [{device: e0}]", true)),
              ElementsAre("delete uplinks/e0?"));
}

TEST(PlanTest, WhichUplink) {
  const std::string two = "uplinks: [{device: e0}, {device: e1}]\n";
  EXPECT_THAT(Planned(two + "ports: [{name: n, kind: tap, device: t}]", "{}"),
              StatusIs(kInvalid,
                       "f:2:9: ports[0]: uplink is needed where there are several: "
                       "uplinks/e0, uplinks/e1"));
  EXPECT_THAT(Planned("ports: [{name: n, kind: tap, device: t}]", "{}"),
              StatusIs(kInvalid, HasSubstr("there is no uplink for it")));
  EXPECT_THAT(Planned(two + "ports: [{name: n, kind: tap, device: t, uplink: e2}]", "{}"),
              StatusIs(kInvalid,
                       "f:2:49: ports[0].uplink: uplinks/e2 is not in the file, and not "
                       "on the switch"));
  EXPECT_THAT(Planned("uplinks: [{device: e1}]\nports: [{name: n, kind: tap, device: t, uplink: "
                      "e0}]",
                      "uplinks: [{device: e0}]", true),
              StatusIs(kInvalid, HasSubstr("uplinks/e0 is not in the file, and --prune deletes")));
  // The port that is there stays where it is.
  EXPECT_THAT(Steps(Planned(two + "ports: [{name: b, kind: veth, peer_device: pb}]", kSwitch)),
              ElementsAre("create uplinks/e1?"));
}

TEST(PlanTest, WhatVmqdChoseIsGivenUpWhereTheFileWantsIt) {
  const std::string file =
      "uplinks: [{device: e0}]\n"
      "ports:\n"
      "- {name: b, kind: veth, peer_device: pb}\n"
      "- {name: a, kind: tap, device: ta, macs: [\"02:00:00:00:01:62\"], vlan: ";
  const auto address = Planned(file + "0}", kSwitch);
  EXPECT_THAT(Steps(address), ElementsAre("delete ports/b?", "create ports/b", "update ports/a"));
  EXPECT_THAT(DiffText(*address), HasSubstr("-/+ ports/b: its address is for another port"));
  EXPECT_THAT(Steps(Planned(file + "9}", kSwitch)), ElementsAre("update ports/a?"));
  EXPECT_THAT(Steps(Planned("uplinks: [{device: e0}]\n"
                            "ports:\n"
                            "- {name: b, kind: veth, peer_device: pb}\n"
                            "- {name: c, kind: tap, device: chosen-b}\n",
                            kSwitch)),
              ElementsAre("delete ports/b?", "create ports/b", "create ports/c"));
}

std::string Ports(const std::string& a, const std::string& b, const std::string& c = "") {
  std::string text = "uplinks: [{device: e0}]\nports:\n";
  const std::pair<std::string, std::string> ports[] = {{"a", a}, {"b", b}, {"c", c}};
  for (const auto& [name, mac] : ports) {
    if (mac.empty()) continue;
    text += "- {name: " + name + ", kind: tap, device: t" + name + ", macs: [\"02:00:00:00:00:0" +
            mac + "\"]}\n";
  }
  return text;
}

TEST(PlanTest, AnAddressIsGivenUpBeforeItIsTaken) {
  EXPECT_THAT(Steps(Planned(Ports("2", "3"), Ports("1", "2"))),
              ElementsAre("update ports/b?", "update ports/a"));
  EXPECT_THAT(Steps(Planned(Ports("1", "2", "3"), Ports("1", "3"))),
              ElementsAre("update ports/b?", "create ports/c"));
  EXPECT_THAT(Steps(Planned(Ports("2", ""), Ports("1", "2"), true)),
              ElementsAre("delete ports/b?", "update ports/a"));
}

TEST(PlanTest, AddressesThatGoInACircle) {
  const auto swap = Planned(Ports("2", "1"), Ports("1", "2"));
  EXPECT_THAT(Steps(swap), ElementsAre("delete ports/a?", "update ports/b", "create ports/a"));
  EXPECT_THAT(DiffText(*swap), HasSubstr("-/+ ports/a: addresses are swapped"));
  // Only one of the circle is replaced, and none that just waits for it.
  const auto three = Planned(Ports("2", "3", "2"), Ports("1", "2", "3"));
  EXPECT_FALSE(three.ok());
  EXPECT_THAT(
      Steps(Planned(Ports("4", "3", "2"), Ports("1", "2", "3"))),
      ElementsAre("delete ports/b?", "update ports/a?", "update ports/c", "create ports/b"));
}

TEST(PlanTest, AnAddressForTwo) {
  EXPECT_THAT(Planned(Ports("1", "1"), "{}"),
              StatusIs(kInvalid,
                       "f:4:3: ports[1]: 02:00:00:00:00:01 untagged of uplinks/e0 is for "
                       "ports/a too"));
  EXPECT_THAT(Planned(Ports("1", ""), Ports("", "1")),
              StatusIs(kInvalid, HasSubstr("is for ports/b, which is not in the file; --prune")));
  EXPECT_THAT(
      Planned("uplinks: [{device: e0}]\nports:\n- {name: a, kind: tap, device: e0}\n", "{}"),
      StatusIs(kInvalid, "f:3:3: ports[0]: device e0 is for uplinks/e0 too"));
}

TEST(SwitchConfigTest, RefusesWhatHasNoName) {
  const auto said = [](const char* text) {
    return std::string(ParseSwitchConfig(text, "f").status().message());
  };
  EXPECT_EQ(said("uplinks: [{queues: 1}]"), "f:1:11: uplinks[0]: name or device is needed");
  EXPECT_EQ(said("ports:\n- kind: tap"), "f:2:3: ports[0]: name is needed");
  EXPECT_EQ(said("ports: [{name: a}, {name: ports/a}]"),
            "f:1:27: ports[1].name: ports/a is ports[0] already");
  EXPECT_EQ(said("# nothing\n"), "f: is empty; if nothing is wanted on the switch, say so: {}");
}

TEST(SwitchConfigTest, WrittenFileIsShortAndMeansTheSame) {
  const v1::SwitchConfig seen = Seen(kSwitch);
  const std::string text = ToYaml(AsWritten(seen));
  EXPECT_EQ(text,
            "uplinks:\n"
            "  - name: e0\n"
            "    device: e0\n"
            "ports:\n"
            "  - name: a\n"
            "    uplink: e0\n"
            "    kind: tap\n"
            "    device: ta\n"
            "    macs:\n"
            "      - \"02:00:00:00:00:01\"\n"
            "    vlan: 10\n"
            "  - name: b\n"
            "    uplink: e0\n"
            "    kind: veth\n"
            "    device: chosen-b\n"
            "    peer_device: pb\n"
            "    macs:\n"
            "      - \"02:00:00:00:01:62\"\n");
  const auto file = ParseSwitchConfig(text, "f");
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(Steps(MakePlan(*file, seen, true)), IsEmpty());
}

TEST(SwitchConfigTest, WrittenVhostUserPortIsShort) {
  const std::string plain = ToYaml(AsWritten(Seen(std::string(kVhost) + "}\n")));
  EXPECT_THAT(plain, HasSubstr("    kind: vhost_user\n"
                               "    macs:\n"
                               "      - \"02:00:00:00:00:09\"\n"
                               "    socket: v.sock\n"));
  EXPECT_THAT(plain, ::testing::Not(HasSubstr("queue_pairs")));
  EXPECT_THAT(plain, ::testing::Not(HasSubstr("vhost_role")));
  const std::string all = ToYaml(AsWritten(Seen(
      std::string(kVhost) + ", vhost_role: VMM_LISTENS, queue_pairs: 2, coalescing_off: true}\n")));
  EXPECT_THAT(all, HasSubstr("    vhost_role: vmm_listens\n"
                             "    queue_pairs: 2\n"
                             "    coalescing_off: true\n"));
}

TEST(PlanTextTest, JsonIsJson) {
  const auto plan = Planned("uplinks: [{device: e0, wake_mode: poll}]", kSwitch);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(PlanJson(*plan, 1, {"a \"word\""}),
            "{\n"
            " \"changes\": [\n"
            "  {\"action\": \"update\", \"name\": \"uplinks/e0\", \"reason\": \"\", \"fields\": "
            "[{\"field\": \"wake_mode\", \"before\": \"adaptive\", \"after\": \"poll\"}], "
            "\"wanted\": "
            "{\"name\":\"uplinks/e0\",\"device\":\"e0\",\"xdpMode\":\"NATIVE\",\"steering\":"
            "\"SOFTWARE\",\"wakeMode\":\"POLL\",\"buffersPerQueue\":16384,\"balanceMode\":"
            "\"DYNAMIC\"}}],\n"
            " \"steps\": 1,\n"
            " \"stepsDone\": 1,\n"
            " \"kept\": [\"ports/a\", \"ports/b\"],\n"
            " \"refusals\": [\"a \\\"word\\\"\"]\n"
            "}\n");
}

}  // namespace
}  // namespace vmqd::cli

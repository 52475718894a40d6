// Files in YAML: what is taken, what is refused and in which words, and that nothing in a file can
// do more than be refused.
#include "proto/yaml/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/yaml/nearest.h"
#include "tests/support/status_matchers.h"
#include "vmqd/v1/config.pb.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr char kEverything[] = R"(# a comment
uplinks:
  - name: uplinks/eth1
    device: eth1
    xdp_mode: AUTO
    steering: software
    wakeMode: Interrupt
    queues: 4
    buffers_per_queue: 4096
ports:
- name: vm1
  kind: tap
  device: tap1
  macs: ["52:54:00:00:00:01", 10:20:30:40:50:10]
  vlan: 0
  weight: 0
  queue: 0
  trusted: true
  disabled: False
  mtu: 9000
- {name: web, kind: VETH, peerDevice: eth-web}
- {name: vm2, kind: vhost_user, socket: vm2.sock, vhostRole: VMM_listens, queue_pairs: 2,
   coalescing_off: true}
)";

v1::SwitchConfig Read(const std::string& text) {
  v1::SwitchConfig config;
  EXPECT_THAT(FromYaml(text, "switch.yaml", &config), IsOk());
  return config;
}

TEST(FromYamlTest, ReadsEveryKindOfField) {
  const v1::SwitchConfig config = Read(kEverything);
  ASSERT_EQ(config.uplinks_size(), 1);
  EXPECT_EQ(config.uplinks(0).name(), "uplinks/eth1");
  EXPECT_EQ(config.uplinks(0).xdp_mode(), v1::AUTO);
  EXPECT_EQ(config.uplinks(0).wake_mode(), v1::INTERRUPT);
  EXPECT_EQ(config.uplinks(0).buffers_per_queue(), 4096);
  ASSERT_EQ(config.ports_size(), 3);
  EXPECT_EQ(config.ports(0).macs(1), "10:20:30:40:50:10");
  EXPECT_TRUE(config.ports(0).has_weight());
  EXPECT_TRUE(config.ports(0).has_queue());
  EXPECT_TRUE(config.ports(0).trusted());
  EXPECT_EQ(config.ports(1).kind(), v1::VETH);
  EXPECT_EQ(config.ports(1).peer_device(), "eth-web");
  EXPECT_FALSE(config.ports(1).has_weight());
  EXPECT_EQ(config.ports(2).kind(), v1::VHOST_USER);
  EXPECT_EQ(config.ports(2).socket(), "vm2.sock");
  EXPECT_EQ(config.ports(2).vhost_role(), v1::VMM_LISTENS);
  EXPECT_EQ(config.ports(2).queue_pairs(), 2);
  EXPECT_TRUE(config.ports(2).coalescing_off());
}

TEST(FromYamlTest, NothingIsAnEmptyMessage) {
  for (const char* text : {"", "# only a comment\n", "---\n", "{}", "ports:\n", "ports: []\n"}) {
    EXPECT_EQ(Read(text).ByteSizeLong(), 0) << text;
  }
}

TEST(FromYamlTest, AnchorsAndJsonAreYamlToo) {
  EXPECT_EQ(Read("ports: [{name: a, macs: &m [\"02:00:00:00:00:01\"]}, {name: b, macs: *m}]")
                .ports(1)
                .macs(0),
            "02:00:00:00:00:01");
  EXPECT_EQ(Read(R"({"ports": [{"name": "a", "peerDevice": "x"}]})").ports(0).peer_device(), "x");
}

// What is wrong with a file -> the whole first line that is said about it.
struct Row {
  const char* text;
  const char* said;
};
class RefusedTest : public ::testing::TestWithParam<Row> {};

TEST_P(RefusedTest, SaysWhereAndWhat) {
  v1::SwitchConfig config;
  const absl::Status status = FromYaml(GetParam().text, "f", &config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << GetParam().text;
  const std::string message(status.message());
  EXPECT_EQ(message.substr(0, message.find('\n')), GetParam().said) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Files, RefusedTest,
    ::testing::Values(
        Row{"port: []", "f:1:1: unknown key \"port\"; did you mean ports?"},
        Row{"nothing: 1", "f:1:1: unknown key \"nothing\"; there are uplinks, ports"},
        Row{"ports:\n- name: a\n  vlna: 3",
            "f:3:3: ports[0]: unknown key \"vlna\"; did you mean "
            "vlan?"},
        Row{"ports:\n- name: a\n  Vlan: 3",
            "f:3:3: ports[0]: unknown key \"Vlan\"; did you mean "
            "vlan?"},
        Row{"ports:\n- {}\n- name: b\n  vlan: 4096x",
            "f:4:9: ports[1].vlan: \"4096x\" is not a number"},
        Row{"ports: [{vlan: }]",
            "f:1:10: ports[0].vlan: has no value; give it one, or remove the "
            "line"},
        Row{"ports: [{vlan: -1}]",
            "f:1:16: ports[0].vlan: \"-1\" is out of range, 0 to 4294967295"},
        Row{"ports: [{vlan: 4294967296}]",
            "f:1:16: ports[0].vlan: \"4294967296\" is out of range, 0 to 4294967295"},
        Row{"ports: [{vlan: 010}]", "f:1:16: ports[0].vlan: \"010\" is not a number"},
        Row{"ports: [{vlan: 0x10}]", "f:1:16: ports[0].vlan: \"0x10\" is not a number"},
        Row{"ports: [{vlan: 1.5}]", "f:1:16: ports[0].vlan: \"1.5\" is not a number"},
        Row{"ports: [{vlan: \"\"}]", "f:1:16: ports[0].vlan: \"\" is not a number"},
        Row{"ports: [{vlan: [10]}]", "f:1:16: ports[0].vlan: is a list; wanted is one value"},
        Row{"ports: [{trusted: yes}]",
            "f:1:19: ports[0].trusted: \"yes\" is neither true nor false"},
        Row{"ports: [{kind: tun}]",
            "f:1:16: ports[0].kind: \"tun\" is not one of tap, netdev, "
            "veth, host, vhost_user"},
        Row{"ports: [{kind: vet}]",
            "f:1:16: ports[0].kind: \"vet\" is not one of tap, netdev, "
            "veth, host, vhost_user; did you mean veth?"},
        Row{"ports: [{kind: 1}]",
            "f:1:16: ports[0].kind: \"1\" is not one of tap, netdev, veth, "
            "host, vhost_user"},
        Row{"ports: [{kind: port_kind_unspecified}]",
            "f:1:16: ports[0].kind: \"port_kind_unspecified\" is not one of tap, netdev, veth, "
            "host, vhost_user"},
        Row{"ports: [{vlan: 1, vlan: 2}]", "f:1:19: ports[0].vlan: is there twice"},
        Row{"ports: [{peer_device: a, peerDevice: b}]",
            "f:1:26: ports[0].peer_device: is there twice"},
        Row{"ports: {name: a}",
            "f:1:8: ports: is a group of keys; wanted is a list: each item "
            "behind a \"- \" of its own, or [...]"},
        Row{"ports: [{macs: 02:00:00:00:00:01}]",
            "f:1:16: ports[0].macs: is \"02:00:00:00:00:01\"; wanted is a list: each item behind a "
            "\"- \" of its own, or [...]"},
        Row{"ports: [vm1]",
            "f:1:9: ports[0]: is \"vm1\"; wanted are keys with values, of name, "
            "uplink, kind, device, peer_device, macs, vlan, weight, queue, trusted, "
            "disabled, mtu, socket, "
            "vhost_role, queue_pairs, coalescing_off"},
        Row{"ports:\n- name: a\n-\n", "f:4:1: ports[1]: has no value"},
        Row{"- name: a", "f:1:1: is a list; wanted are keys with values, of uplinks, ports"},
        Row{"? [a]\n: b", "f:1:3: a key has to be a word, not a list"},
        Row{"ports: [{oper_status: UP}]",
            "f:1:10: ports[0]: oper_status is told by vmqd and cannot be set; remove the line"},
        Row{"uplinks: [{effectiveQueues: 2}]",
            "f:1:12: uplinks[0]: effective_queues is told by vmqd and cannot be set; remove the "
            "line"},
        Row{"ports: [{<<: {name: a}}]",
            "f:1:10: ports[0]: unknown key \"<<\"; there are name, uplink, kind, device, "
            "peer_device, macs, vlan, weight, queue, trusted, disabled, mtu, socket, "
            "vhost_role, queue_pairs, coalescing_off"},
        Row{"ports: []\n---\nports: []\n", "f:2:1: the document has ended, and only one is read"},
        Row{", a", "f:1:1: the document has ended, and only one is read"},
        Row{"ports: [", "f:1:1: not YAML: end of sequence flow not found"},
        Row{"ports: *nobody", "f:1:8: not YAML: the referenced anchor is not defined"},
        Row{"\tports: []", "f:1:7: not YAML: illegal map value"},
        Row{"ports: [{name: \"a\\xff\xff\"}]", "f: is not text in UTF-8"}));

TEST(FromYamlTest, TellsEveryMistakeUpToALimit) {
  v1::SwitchConfig config;
  const absl::Status two = FromYaml("ports: [{vlan: x, kind: y}]", "f", &config);
  EXPECT_THAT(two, StatusIs(absl::StatusCode::kInvalidArgument,
                            ::testing::AllOf(HasSubstr("vlan: \"x\""), HasSubstr("kind: \"y\""))));
  std::string many = "ports:\n";
  for (int i = 0; i < 1000; ++i) many += "- vlan: x\n";
  const absl::Status status = FromYaml(many, "f", &config);
  EXPECT_EQ(std::count(status.message().begin(), status.message().end(), '\n'), kMaxYamlErrors - 1);
}

TEST(FromYamlTest, BoundsWhatAliasesStandFor) {
  std::string bomb = "ports: [";
  std::string macs;
  for (int i = 0; i < 2000; ++i) macs += "a,";
  absl::StrAppend(&bomb, "&p {macs: [", macs, "]}");
  for (int i = 0; i < 2000; ++i) bomb += ",*p";
  bomb += "]";
  v1::SwitchConfig config;
  EXPECT_THAT(FromYaml(bomb, "f", &config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("values, too many")));
}

TEST(FromYamlTest, BoundsDepthAndSize) {
  v1::SwitchConfig config;
  for (const char* opening : {"[", "{a: ", "- ", "? "}) {
    std::string deep;
    for (int i = 0; i < 100000; ++i) deep += opening;
    EXPECT_THAT(FromYaml(deep, "f", &config),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f:1:")))
        << opening;
  }
  EXPECT_THAT(FromYaml(std::string(kMaxYamlBytes + 1, '#'), "f", &config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 4194304")));
  EXPECT_THAT(FromYaml(std::string(kMaxYamlBytes, '#'), "f", &config), IsOk());
  EXPECT_FALSE(FromYaml("&a [*a]", "f", &config).ok());
  EXPECT_FALSE(FromYaml("ports: &a [*a]", "f", &config).ok());
}

// Bytes changed, removed and doubled at random: refused or read, never worse; and what was read is
// written and read back the same.
TEST(FromYamlTest, SurvivesDamagedFiles) {
  std::mt19937 random(20);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  const std::string marks = "[]{}:-#&*!|>'\"%@`?,\n \t\\~x0";
  int read = 0;
  for (int round = 0; round < 8000; ++round) {
    std::string text = kEverything;
    for (size_t change = below(4) + 1; change > 0; --change) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = marks[below(marks.size())];
          break;
        case 1:
          text.erase(at, below(20));
          break;
        case 2:
          text.insert(at, text.substr(below(text.size()), below(40)));
          break;
        default:
          text[at] = static_cast<char>(below(256));
      }
    }
    v1::SwitchConfig config;
    if (!FromYaml(text, "f", &config).ok()) continue;
    ++read;
    v1::SwitchConfig again;
    ASSERT_THAT(FromYaml(ToYaml(config), "f", &again), IsOk()) << text << ToYaml(config);
    ASSERT_TRUE(MessageDifferencer::Equals(config, again)) << text << ToYaml(config);
  }
  EXPECT_GT(read, 100);
  EXPECT_LT(read, 7000);
}

TEST(FromYamlTest, Maps) {
  v1::SwitchConfig config = Read("uplinks: [{device: e, queue_cpus: {10: 1, 2: 0}}]");
  EXPECT_EQ(config.uplinks(0).queue_cpus().at(10), 1);
  EXPECT_EQ(config.uplinks(0).queue_cpus().at(2), 0);
  EXPECT_EQ(ToYaml(config), "uplinks:\n  - device: e\n    queue_cpus: {2: 0, 10: 1}\n");
  for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
           {"[1]", "uplinks[0].queue_cpus: is a list; wanted are pairs"},
           {"{x: 1}", "uplinks[0].queue_cpus[x]: \"x\" is not a number"},
           {"{1: x}", "uplinks[0].queue_cpus[1]: \"x\" is not a number"},
           {"{1: 0, 1: 1}", "uplinks[0].queue_cpus[1]: is there twice"}}) {
    const absl::Status status =
        FromYaml("uplinks: [{device: e, queue_cpus: " + text + "}]", "f", &config);
    EXPECT_NE(std::string(status.message()).find(says), std::string::npos) << status;
  }
}

TEST(ToYamlTest, ReadableAndWithoutWhatVmqdTells) {
  v1::SwitchConfig config = Read(kEverything);
  config.mutable_ports(0)->set_oper_status(v1::UP);
  config.mutable_ports(0)->set_etag("x");
  config.mutable_ports(0)->mutable_macs()->RemoveLast();
  config.mutable_uplinks(0)->set_numa_node(1);
  EXPECT_EQ(ToYaml(config), R"(uplinks:
  - name: uplinks/eth1
    device: eth1
    xdp_mode: auto
    steering: software
    wake_mode: interrupt
    queues: 4
    buffers_per_queue: 4096
ports:
  - name: vm1
    kind: tap
    device: tap1
    macs:
      - "52:54:00:00:00:01"
    weight: 0
    queue: 0
    trusted: true
    mtu: 9000
  - name: web
    kind: veth
    peer_device: eth-web
  - name: vm2
    kind: vhost_user
    socket: vm2.sock
    vhost_role: vmm_listens
    queue_pairs: 2
    coalescing_off: true
)");
  EXPECT_EQ(ToYaml(v1::SwitchConfig()), "{}\n");
}

TEST(ToYamlTest, QuotesWhatAnotherReaderWouldTakeForSomethingElse) {
  for (const char* name : {"no", "null", "10", "1e3", "~", "- a", "a: b", "#", " ", "é", "a\nb"}) {
    v1::SwitchConfig config;
    config.add_ports()->set_name(name);
    EXPECT_EQ(Read(ToYaml(config)).ports(0).name(), name);
    EXPECT_THAT(ToYaml(config), HasSubstr("name: \"")) << name;
  }
}

TEST(YamlPositionsTest, PointsAtTheFieldOrWhatItBelongsTo) {
  v1::SwitchConfig config;
  YamlPositions positions;
  ASSERT_THAT(FromYaml("ports:\n- name: a\n- vlan: 3\n", "f", &config, &positions), IsOk());
  EXPECT_EQ(positions.At("ports[1].vlan"), "f:3:9: ports[1].vlan");
  EXPECT_EQ(positions.At("ports[1].name"), "f:3:3: ports[1].name");
  EXPECT_EQ(positions.At("uplinks[0].name"), "f:1:1: uplinks[0].name");
  EXPECT_EQ(YamlPositions().At("a.b"), "a.b");
}

TEST(NearestTest, OnlyWhatIsClose) {
  const std::vector<std::string> known = {"vlan", "macs", "peer_device", "device"};
  EXPECT_EQ(Nearest("vlna", known), "vlan");
  EXPECT_EQ(Nearest("VLAN", known), "vlan");
  EXPECT_EQ(Nearest("mac", known), "macs");
  EXPECT_EQ(Nearest("peer-device", known), "peer_device");
  EXPECT_EQ(Nearest("dev", known), "");
  EXPECT_EQ(Nearest("", known), "");
  EXPECT_EQ(Nearest(std::string(100000, 'v'), known), "");
}

}  // namespace
}  // namespace vmqd

// The daemon's settings: defaults, refusals with their words, and what needs a restart.
#include "daemon/settings/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "proto/yaml/yaml.h"
#include "tests/support/status_matchers.h"

namespace vmqd {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

// A file that is gone with the object.
class SettingsFile {
 public:
  explicit SettingsFile(const std::string& text) {
    close(mkstemp(path_.data()));
    std::ofstream(path_) << text;
  }
  ~SettingsFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = ::testing::TempDir() + "settings-XXXXXX";
};

v1::DaemonSettings Load(const std::string& text) {
  const SettingsFile file(text);
  const auto settings = LoadSettings(file.path(), true);
  EXPECT_THAT(settings, IsOk()) << text;
  return settings.value_or(v1::DaemonSettings());
}

constexpr char kTcp[] =
    "tcp: {address: \"192.0.2.1:9443\", certificate: /c, key: /k, client_ca: /a, "
    "roles: [{name: x, role: admin}]}\n";

TEST(SettingsTest, DefaultsOfAnEmptyFile) {
  const v1::DaemonSettings settings = Load("# nothing\n");
  EXPECT_EQ(settings.control().path(), "/run/vmqd/vmqd.sock");
  EXPECT_EQ(settings.control().group(), "vmqd");
  EXPECT_EQ(ModeOf(settings.control()), 0660);
  EXPECT_FALSE(settings.has_monitor());
  EXPECT_FALSE(settings.has_tcp());
  EXPECT_FALSE(settings.has_metrics());
  EXPECT_EQ(settings.processor_set(), "");
  EXPECT_EQ(settings.log_level(), "info");
  EXPECT_EQ(settings.state_directory(), "/var/lib/vmqd");
  EXPECT_EQ(settings.bpf_directory(), "/sys/fs/bpf/vmqd");
  EXPECT_EQ(settings.limits().connections(), 256);
  EXPECT_EQ(settings.limits().connections_per_peer(), 64);
  EXPECT_EQ(settings.limits().watchers(), 32);
  EXPECT_EQ(settings.vhost_user().directory(), "/run/vmqd/vhost-user");
  EXPECT_EQ(settings.vhost_user().group(), "kvm");
  EXPECT_EQ(ModeOf(settings.vhost_user()), 0660);
  EXPECT_THAT(CheckSettings(settings), IsOk());
}

TEST(SettingsTest, KeepsWhatIsSaid) {
  const v1::DaemonSettings settings = Load(
      "control: {mode: 0600, group: ops}\nmonitor: {}\nmetrics: {}\nprocessor_set: 1-3,6\n"
      "logLevel: debug\nlimits: {watchers: 1}\nvhost_user: {directory: /x, group: vms, mode: "
      "0600}\n");
  EXPECT_EQ(ModeOf(settings.control()), 0600);
  EXPECT_EQ(settings.control().group(), "ops");
  EXPECT_EQ(settings.monitor().path(), "/run/vmqd/monitor.sock");
  EXPECT_EQ(settings.metrics().address(), "127.0.0.1:9877");
  EXPECT_EQ(settings.processor_set(), "1-3,6");
  EXPECT_EQ(settings.log_level(), "debug");
  EXPECT_EQ(settings.limits().watchers(), 1);
  EXPECT_EQ(settings.limits().connections(), 256);
  EXPECT_EQ(settings.vhost_user().directory(), "/x");
  EXPECT_EQ(settings.vhost_user().group(), "vms");
  EXPECT_EQ(ModeOf(settings.vhost_user()), 0600);
}

TEST(SettingsTest, AFileThatIsNotThere) {
  const std::string path = ::testing::TempDir() + "no-such-settings.yaml";
  EXPECT_THAT(LoadSettings(path, false), IsOk());
  EXPECT_THAT(LoadSettings(path, true), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
  EXPECT_THAT(LoadSettings(::testing::TempDir(), false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cannot read")));
}

// The file that is shipped says what holds without it, and every line of it works.
TEST(SettingsTest, TheShippedFile) {
  std::stringstream text;
  text << std::ifstream(VMQD_SOURCE_DIR "/deploy/vmqd.yaml").rdbuf();
  ASSERT_THAT(text.str(), HasSubstr("processor_set"));
  EXPECT_TRUE(MessageDifferencer::Equals(Load(text.str()), Load("")));

  std::string uncommented;
  for (std::string line; std::getline(text, line);) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    const bool nested = line.starts_with("#  ");
    if (setting || nested) uncommented += line.substr(1) + "\n";
  }
  const v1::DaemonSettings all = Load(uncommented);
  v1::DaemonSettings defaults = Load("monitor: {}\nmetrics: {}\n");
  EXPECT_THAT(all.tcp().roles(), ::testing::SizeIs(2));
  EXPECT_EQ(all.processor_set(), "1-3,6");
  defaults.set_processor_set(all.processor_set());
  *defaults.mutable_tcp() = all.tcp();
  EXPECT_TRUE(MessageDifferencer::Equals(all, defaults)) << all.DebugString();
  // No setting is missing from it.
  const auto* type = v1::DaemonSettings::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    EXPECT_TRUE(all.GetReflection()->HasField(all, type->field(i))) << type->field(i)->name();
  }
}

struct Row {
  const char* text;
  const char* said;  // behind the name of the file
};
class RefusedSettingsTest : public ::testing::TestWithParam<Row> {};

TEST_P(RefusedSettingsTest, SaysWhereAndWhat) {
  const SettingsFile file(GetParam().text);
  EXPECT_THAT(LoadSettings(file.path(), true),
              StatusIs(absl::StatusCode::kInvalidArgument, file.path() + GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    Files, RefusedSettingsTest,
    ::testing::Values(
        Row{"contrl: {}", ":1:1: unknown key \"contrl\"; did you mean control?"},
        Row{"control: {path: vmqd.sock}",
            ":1:17: control.path: \"vmqd.sock\" is not an absolute path such as \"/run/vmqd/x\""},
        Row{"control: {path: /run/vmqd/a-path-that-does-not-fit-because-it-is-longer-than-what-the-"
            "kernel-takes-for-the-address-of-a-socket}",
            ":1:17: control.path: has 110 characters; the path of a unix socket has at most 107"},
        Row{"control:\n  mode: \"0999\"",
            ":2:9: control.mode: \"0999\" is not an octal mode such as \"0660\""},
        Row{"control: {mode: 4755}",
            ":1:17: control.mode: \"4755\" is not an octal mode such as \"0660\""},
        Row{"control: {mode: rw}",
            ":1:17: control.mode: \"rw\" is not an octal mode such as \"0660\""},
        Row{"control: {group: \"a b\"}",
            ":1:18: control.group: \"a b\" is not the name of a group"},
        Row{"control: {path: /a}\nmonitor: {path: /a}",
            ":2:17: monitor.path: is control.path too; the two sockets need a path each"},
        Row{"metrics: {address: \"localhost:1\"}",
            ":1:20: metrics.address: \"localhost:1\" is not an address and a port such as "
            "\"192.0.2.1:9443\" or \"[::1]:9443\""},
        Row{"metrics: {address: \"::1:80\"}",
            ":1:20: metrics.address: \"::1:80\" is not an address and a port such as "
            "\"192.0.2.1:9443\" or \"[::1]:9443\""},
        Row{"metrics: {address: \"127.0.0.1:0\"}",
            ":1:20: metrics.address: \"127.0.0.1:0\" is not an address and a port such as "
            "\"192.0.2.1:9443\" or \"[::1]:9443\""},
        Row{"processor_set: 3-1",
            ":1:16: processor_set: processor set \"3-1\" is not a list such as \"1-3,6\"; CPUs "
            "that "
            "would do: 0-8191"},
        Row{"log_level: loud",
            ":1:12: log_level: \"loud\" is not one of trace, debug, info, warning, error"},
        Row{"state_directory: var",
            ":1:18: state_directory: \"var\" is not an absolute path such as \"/run/vmqd/x\""},
        Row{"vhost_user: {directory: run}",
            ":1:25: vhost_user.directory: \"run\" is not an absolute path such as "
            "\"/run/vmqd/x\""},
        Row{"vhost_user: {directory: /0123456789012345678901234567890123456789012}",
            ":1:25: vhost_user.directory: has 44 characters; with the name of a socket, up to 63, "
            "it has to fit the path of one: at most 43"},
        Row{"vhost_user: {group: \"a b\"}",
            ":1:21: vhost_user.group: \"a b\" is not the name of a group"},
        Row{"vhost_user: {mode: 660x}",
            ":1:20: vhost_user.mode: \"660x\" is not an octal mode such as \"0660\""},
        Row{"control: {path: /a/x}\nvhost_user: {directory: /a}",
            ":2:25: vhost_user.directory: is where control.path is; ports need a directory of "
            "their own"},
        Row{"monitor: {path: /a/x}\nvhost_user: {directory: /a}",
            ":2:25: vhost_user.directory: is where monitor.path is; ports need a directory of "
            "their own"},
        Row{"limits: {watchers: 5000}", ":1:20: limits.watchers: 5000 is more than the most, 4096"},
        Row{"tcp: {address: \"[::]:9443\", certificate: /c, key: /k, client_ca: /a}",
            ":1:6: tcp.roles: is needed: without a role for anybody, nobody may do anything over "
            "TCP"},
        Row{"tcp: {address: \"[::]:9443\", certificate: /c, client_ca: /a, roles: [{name: a, role: "
            "admin}]}",
            ":1:6: tcp.key: is needed: the path of a PEM file"},
        Row{"tcp: {address: \"[::]:9443\", certificate: /c, key: /k, client_ca: /a, roles: [{name: "
            "a, role: root}]}",
            ":1:94: tcp.roles[0].role: \"root\" is not one of viewer, operator, admin"},
        Row{"tcp: {address: \"[::]:9443\", certificate: /c, key: /k, client_ca: /a, roles: [{name: "
            "a}]}",
            ":1:78: tcp.roles[0].role: is needed: viewer, operator or admin"},
        Row{"tcp: {address: \"[::]:9443\", certificate: /c, key: /k, client_ca: /a, roles: [{name: "
            "a, role: admin}, {name: a, role: viewer}]}",
            ":1:109: tcp.roles[1].name: \"a\" has its role by tcp.roles[0] already"}));

// The defaults too: a flag may bring the ports' sockets to where the control socket is.
TEST(SettingsTest, PortsHaveADirectoryOfTheirOwn) {
  v1::DaemonSettings settings = Load("");
  settings.mutable_vhost_user()->set_directory("/run/vmqd");
  EXPECT_THAT(CheckSettings(settings),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is where control.path is")));
}

TEST(SettingsTest, WhatFlagsSayIsCheckedToo) {
  v1::DaemonSettings settings = Load("");
  settings.set_log_level("loud");
  EXPECT_THAT(CheckSettings(settings),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "log_level: \"loud\" is not one of trace, debug, info, warning, error"));
}

TEST(SettingsTest, WhatNeedsARestart) {
  const struct {
    std::string running, wanted;
    std::vector<std::string> paths;
  } rows[] = {
      {"", "", {}},
      {"", "log_level: debug", {}},
      {"", "control: {mode: 0600, group: ops}", {}},
      {"", "control: {path: /x, mode: 0600}", {"control.path"}},
      {"", "monitor: {}", {"monitor"}},
      {"monitor: {}", "monitor: {mode: 0666}", {}},
      {"monitor: {}", "", {"monitor"}},
      {"", kTcp, {"tcp"}},
      {kTcp,
       "tcp: {address: \"192.0.2.1:9443\", certificate: /c2, key: /k2, client_ca: /a2, roles: "
       "[{name: y, role: viewer}]}",
       {}},
      {kTcp,
       "tcp: {address: \"192.0.2.2:9443\", certificate: /c, key: /k, client_ca: /a, roles: "
       "[{name: x, role: admin}]}",
       {"tcp.address"}},
      {"", "processor_set: 1", {}},
      {"", "processor_set: 1\nlimits: {watchers: 3}", {"limits.watchers"}},
      {"",
       "vhost_user: {directory: /x, group: vms, mode: 0666}",
       {"vhost_user.directory", "vhost_user.group", "vhost_user.mode"}},
      {"metrics: {}", "metrics: {address: \"[::1]:9877\"}", {"metrics.address"}},
  };
  for (const auto& row : rows) {
    const v1::DaemonSettings running = Load(row.running);
    const v1::DaemonSettings wanted = Load(row.wanted);
    EXPECT_EQ(NeedRestart(running, wanted), row.paths) << row.running << " to " << row.wanted;
    const v1::DaemonSettings reloaded = Reloaded(running, wanted);
    EXPECT_EQ(MessageDifferencer::Equals(reloaded, wanted), row.paths.empty());
    EXPECT_THAT(NeedRestart(running, reloaded), IsEmpty());
  }
}

}  // namespace
}  // namespace vmqd

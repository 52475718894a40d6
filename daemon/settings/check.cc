// See check.h.
#include "daemon/settings/check.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <map>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/vmq/processor_set.h"
#include "proto/yaml/scalar.h"

namespace vmqd {
namespace {

constexpr int kMostCpus = 8192;  // CONFIG_NR_CPUS goes no further
constexpr uint32_t kMostConnections = 65536;
constexpr uint32_t kMostWatchers = 4096;
constexpr size_t kLongestGroup = 32;  // useradd(8)
// With its final zero it has to fit.
constexpr size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kLongestSocketName = 63;  // of a port; see port.proto

class Checker {
 public:
  explicit Checker(const YamlPositions& positions) : positions_(positions) {}

  void Check(const v1::DaemonSettings& settings);
  std::vector<std::string> mistakes;

 private:
  void Say(const std::string& path, const std::string& what) {
    mistakes.push_back(absl::StrCat(positions_.At(path), ": ", what));
  }
  void CheckListener(const v1::UnixListener& listener, const std::string& path);
  void CheckGroup(const std::string& group, const std::string& path);
  void CheckMode(const std::string& mode, const std::string& path);
  void CheckVhostUser(const v1::DaemonSettings& settings);
  void CheckTcp(const v1::TcpListener& tcp);
  void CheckLimits(const v1::Limits& limits);
  void CheckPath(const std::string& value, const std::string& path);
  void CheckAddress(const std::string& value, const std::string& path);

  const YamlPositions& positions_;
};

void Checker::CheckPath(const std::string& value, const std::string& path) {
  if (value.empty()) return;
  if (value[0] != '/' || value.ends_with("/")) {
    Say(path, absl::StrCat(QuotedText(value), " is not an absolute path such as \"/run/vmqd/x\""));
  }
}

void Checker::CheckListener(const v1::UnixListener& listener, const std::string& path) {
  CheckPath(listener.path(), path + ".path");
  if (listener.path().size() > kLongestSocketPath) {
    Say(path + ".path",
        absl::StrCat("has ", listener.path().size(),
                     " characters; the path of a unix socket has at most ", kLongestSocketPath));
  }
  CheckGroup(listener.group(), path + ".group");
  CheckMode(listener.mode(), path + ".mode");
}

void Checker::CheckGroup(const std::string& group, const std::string& path) {
  if (group.size() > kLongestGroup || group.find_first_of(" \t\n:,/") != std::string::npos) {
    Say(path, absl::StrCat(QuotedText(group), " is not the name of a group"));
  }
}

void Checker::CheckMode(const std::string& mode, const std::string& path) {
  const bool octal = mode.find_first_not_of("01234567") == std::string::npos;
  if (!mode.empty() &&
      (!octal || mode.size() < 3 || mode.size() > 4 || (mode.size() == 4 && mode[0] != '0'))) {
    Say(path, absl::StrCat(QuotedText(mode), " is not an octal mode such as \"0660\""));
  }
}

void Checker::CheckVhostUser(const v1::DaemonSettings& settings) {
  const std::string& directory = settings.vhost_user().directory();
  CheckPath(directory, "vhost_user.directory");
  constexpr size_t kMost = kLongestSocketPath - 1 - kLongestSocketName;
  if (directory.size() > kMost) {
    Say("vhost_user.directory",
        absl::StrCat("has ", directory.size(), " characters; with the name of a socket, up to ",
                     kLongestSocketName, ", it has to fit the path of one: at most ", kMost));
  }
  CheckGroup(settings.vhost_user().group(), "vhost_user.group");
  CheckMode(settings.vhost_user().mode(), "vhost_user.mode");
  // Or the socket of a port could take the place of one of these.
  const std::pair<const char*, const std::string*> sockets[] = {
      {"control.path", &settings.control().path()}, {"monitor.path", &settings.monitor().path()}};
  for (const auto& [path, value] : sockets) {
    if (directory.empty() || value->empty()) continue;
    if (value->substr(0, value->rfind('/')) != directory) continue;
    Say("vhost_user.directory",
        absl::StrCat("is where ", path, " is; ports need a directory of their own"));
  }
}

// ADDRESS:PORT, numbers only: a name could come to mean another interface.
bool IsAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  const std::string port = text.substr(colon + 1);
  uint32_t number = 0;
  if (port.empty() || port.find_first_not_of("0123456789") != std::string::npos ||
      !absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
    return false;
  }
  const std::string host = text.substr(0, colon);
  in6_addr address;
  if (host.starts_with("[") && host.ends_with("]")) {
    return inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address) == 1;
  }
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

void Checker::CheckAddress(const std::string& value, const std::string& path) {
  if (IsAddress(value)) return;
  Say(path, absl::StrCat(QuotedText(value),
                         " is not an address and a port such as "
                         "\"192.0.2.1:9443\" or \"[::1]:9443\""));
}

void Checker::CheckTcp(const v1::TcpListener& tcp) {
  if (tcp.address().empty()) {
    Say("tcp.address", "is needed: where to listen, such as \"192.0.2.1:9443\"");
  } else {
    CheckAddress(tcp.address(), "tcp.address");
  }
  const std::pair<const char*, const std::string*> files[] = {
      {"tcp.certificate", &tcp.certificate()},
      {"tcp.key", &tcp.key()},
      {"tcp.client_ca", &tcp.client_ca()}};
  for (const auto& [path, value] : files) {
    if (value->empty()) Say(path, "is needed: the path of a PEM file");
    CheckPath(*value, path);
  }
  if (tcp.roles().empty()) {
    Say("tcp.roles", "is needed: without a role for anybody, nobody may do anything over TCP");
  }
  std::map<std::string, int> seen;
  for (int i = 0; i < tcp.roles_size(); ++i) {
    const std::string path = absl::StrCat("tcp.roles[", i, "]");
    const std::string& name = tcp.roles(i).name();
    if (name.empty()) Say(path + ".name", "is needed: a name in the client's certificate");
    if (tcp.roles(i).role() == v1::ROLE_UNSPECIFIED) {
      Say(path + ".role", "is needed: viewer, operator or admin");
    }
    const auto [first, is_new] = seen.emplace(name, i);
    if (!is_new && !name.empty()) {
      Say(path + ".name", absl::StrCat(QuotedText(name), " has its role by tcp.roles[",
                                       first->second, "] already"));
    }
  }
}

void Checker::CheckLimits(const v1::Limits& limits) {
  const std::tuple<const char*, uint32_t, uint32_t> ranges[] = {
      {"limits.connections", limits.connections(), kMostConnections},
      {"limits.connections_per_peer", limits.connections_per_peer(), kMostConnections},
      {"limits.watchers", limits.watchers(), kMostWatchers}};
  for (const auto& [path, value, most] : ranges) {
    if (value > most) Say(path, absl::StrCat(value, " is more than the most, ", most));
  }
}

void Checker::Check(const v1::DaemonSettings& settings) {
  CheckListener(settings.control(), "control");
  if (settings.has_monitor()) CheckListener(settings.monitor(), "monitor");
  if (settings.has_monitor() && !settings.monitor().path().empty() &&
      settings.monitor().path() == settings.control().path()) {
    Say("monitor.path", "is control.path too; the two sockets need a path each");
  }
  if (settings.has_tcp()) CheckTcp(settings.tcp());
  if (!settings.processor_set().empty()) {
    // Whether the machine has these CPUs is seen at start; here only whether it is a list of them.
    std::vector<int> cpus(kMostCpus);
    std::iota(cpus.begin(), cpus.end(), 0);
    const auto set = ProcessorSet::Parse(settings.processor_set(), cpus);
    if (!set.ok()) Say("processor_set", std::string(set.status().message()));
  }
  const std::string& level = settings.log_level();
  bool known = level.empty();
  for (const char* word : {"trace", "debug", "info", "warning", "error"}) known |= level == word;
  if (!known) {
    Say("log_level",
        absl::StrCat(QuotedText(level), " is not one of trace, debug, info, warning, error"));
  }
  CheckPath(settings.state_directory(), "state_directory");
  CheckPath(settings.bpf_directory(), "bpf_directory");
  if (!settings.metrics().address().empty()) {
    CheckAddress(settings.metrics().address(), "metrics.address");
  }
  CheckLimits(settings.limits());
  CheckVhostUser(settings);
}

}  // namespace

std::vector<std::string> Mistakes(const v1::DaemonSettings& settings,
                                  const YamlPositions& positions) {
  Checker checker(positions);
  checker.Check(settings);
  return checker.mistakes;
}

}  // namespace vmqd

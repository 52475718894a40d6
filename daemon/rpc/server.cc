// See server.h.
#include "daemon/rpc/server.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/listening.h"
#include "daemon/rpc/stranger.h"
#include "daemon/rpc/unix_socket.h"

namespace vmqd::rpc {
namespace {

constexpr uint32_t kDefaultConnections = 256;
constexpr uint32_t kDefaultConnectionsPerPeer = 64;
constexpr char kDefaultGroup[] = "vmqd";
constexpr char kDefaultMode[] = "0660";

constexpr int kDefaultWatchers = 32;

// Threads for calls, besides those of watchers. Switch serves one change at a time, the others
// wait, each in a thread: enough for the ports of a whole host to be added at once behind a slow
// NIC. Calls beyond them get RESOURCE_EXHAUSTED. Monitoring and network have their own, so that
// clients there which do not take their answers hold no thread that the control socket needs.
constexpr int kControlThreads = 256;
constexpr int kOtherThreads = 128;

absl::StatusOr<mode_t> ModeOf(const v1::UnixListener& listener) {
  const std::string& text = listener.mode().empty() ? kDefaultMode : listener.mode();
  mode_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7' || mode > 0777) {
      mode = 01000;
      break;
    }
    mode = mode * 8 + (c - '0');
  }
  if (mode <= 0777) return mode;
  return absl::InvalidArgumentError(
      absl::StrCat("mode: \"", text, "\" is not an octal mode such as 0660"));
}

Admission::Limits LimitsOf(const v1::Limits& limits, std::vector<std::string>& warnings) {
  Admission::Limits all{.connections = kDefaultConnections,
                        .connections_per_peer = kDefaultConnectionsPerPeer};
  if (limits.connections() != 0) all.connections = limits.connections();
  if (limits.connections_per_peer() != 0) all.connections_per_peer = limits.connections_per_peer();
  rlimit files{};
  // Three descriptors each: three eighths of what there is, the rest is for ports and uplinks.
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 8 < all.connections) {
    const auto most = static_cast<uint32_t>(std::max<rlim_t>(files.rlim_cur / 8, 4));
    warnings.push_back(absl::StrCat("limits.connections: only ", most, " instead of ",
                                    all.connections, ", because the process may open ",
                                    files.rlim_cur, " files; raise LimitNOFILE"));
    all.connections = most;
  }
  return all;
}

}  // namespace

absl::StatusOr<std::string> ControlPath(const std::string& address) {
  constexpr char kUnix[] = "unix:";
  if (!address.starts_with(kUnix)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", address,
        "\" is not of the form unix:/path; TCP is served with TLS and client "
        "certificates only: give tcp.address, tcp.certificate, tcp.key, tcp.client_ca and "
        "tcp.roles in /etc/vmqd/vmqd.yaml"));
  }
  std::string path = address.substr(sizeof(kUnix) - 1);
  if (path.starts_with("///")) path.erase(0, 2);
  return path;
}

RpcServer::~RpcServer() { Shutdown(std::chrono::seconds(1)); }

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Listen(const v1::DaemonSettings& settings) {
  std::unique_ptr<RpcServer> server(new RpcServer);
  auto rules = server->RulesOf(settings);
  if (!rules.ok()) return rules.status();
  server->rules_ = *std::move(rules);
  server->settings_ = settings;
  if (auto status = server->ListenTo(settings); !status.ok()) return status;
  return server;
}

absl::Status RpcServer::Serve(const MakeService& make_service) {
  if (auto status = StartGrpc(make_service); !status.ok()) {
    Shutdown(std::chrono::milliseconds(0));  // what did start, while there is what it refers to
    return status;
  }
  auto front = Front::Start(
      std::move(doors_), std::move(rules_), callers_,
      [this](const Caller& caller, Descriptor end) { HandOver(caller, std::move(end)); });
  if (!front.ok()) return front.status();
  front_ = *std::move(front);
  return absl::OkStatus();
}

absl::StatusOr<Front::Rules> RpcServer::RulesOf(const v1::DaemonSettings& settings) {
  Front::Rules rules;
  rules.limits = LimitsOf(settings.limits(), warnings_);
  if (!settings.has_tcp()) return rules;
  auto tls = TlsContext::Load(settings.tcp());
  if (!tls.ok()) return tls.status();
  rules.tls = *std::move(tls);
  rules.tcp = settings.tcp();
  warnings_.insert(warnings_.end(), rules.tls->warnings().begin(), rules.tls->warnings().end());
  return rules;
}

absl::Status RpcServer::StartGrpc(const MakeService& make_service) {
  service_ = make_service(access_);
  stranger_service_ = std::make_unique<StrangerService>(callers_);
  const int watchers = settings_.limits().watchers() == 0
                           ? kDefaultWatchers
                           : static_cast<int>(settings_.limits().watchers());
  const auto start = [](const GrpcEnd::Serves& serves, std::unique_ptr<GrpcEnd>& end) {
    auto started = GrpcEnd::Start(serves);
    if (!started.ok()) return started.status();
    end = *std::move(started);
    end->SetServing(true);
    return absl::OkStatus();
  };
  // One service in several servers: gRPC allows that for synchronous methods.
  absl::Status status =
      start({.service = service_.get(), .reflection = true, .threads = kControlThreads + watchers},
            control_);
  if (status.ok() && settings_.has_monitor()) {
    status =
        start({.service = service_.get(), .reflection = true, .threads = kOtherThreads + watchers},
              monitor_);
  }
  if (!status.ok() || !settings_.has_tcp()) return status;
  status = start({.service = service_.get(), .threads = kOtherThreads + watchers}, remote_);
  if (status.ok()) status = start({.rest = stranger_service_.get()}, stranger_);
  return status;
}

absl::Status RpcServer::ListenTo(const v1::DaemonSettings& settings) {
  v1::UnixListener control = settings.control();
  if (control.path().empty()) control.set_path(kDefaultSocket);
  if (auto status = ListenUnixAt(control, Listener::kControl); !status.ok()) return status;
  control_path_ = control.path();
  if (settings.has_monitor()) {
    if (settings.monitor().path().empty()) {
      return absl::InvalidArgumentError("monitor.path: required, where monitor is given");
    }
    if (auto status = ListenUnixAt(settings.monitor(), Listener::kMonitor); !status.ok()) {
      return status;
    }
    monitor_path_ = settings.monitor().path();
  }
  if (auto status = ShareSockets(settings); !status.ok()) return status;
  if (!settings.has_tcp()) return absl::OkStatus();
  auto tcp = ListenTcp(settings.tcp().address());
  if (!tcp.ok()) return tcp.status();
  port_ = PortOf(*tcp);
  doors_.push_back({.listener = Listener::kTcp, .socket = *std::move(tcp)});
  return absl::OkStatus();
}

absl::Status RpcServer::ListenUnixAt(const v1::UnixListener& unix_listener, Listener listener) {
  auto socket = ListenUnix(unix_listener.path());
  if (!socket.ok()) return socket.status();
  struct stat file {};
  if (stat(unix_listener.path().c_str(), &file) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(unix_listener.path(), " has vanished"));
  }
  files_.push_back({unix_listener.path(), file.st_dev, file.st_ino});
  doors_.push_back({.listener = listener, .socket = *std::move(socket)});
  return absl::OkStatus();
}

absl::Status RpcServer::ShareSockets(const v1::DaemonSettings& settings) {
  struct Shared {
    const std::string& path;
    std::string group;
    mode_t mode;
  };
  std::vector<Shared> all;
  for (const auto& [path, listener] : {std::pair(&control_path_, &settings.control()),
                                       std::pair(&monitor_path_, &settings.monitor())}) {
    if (path->empty()) continue;
    const auto mode = ModeOf(*listener);
    if (!mode.ok()) return mode.status();
    all.push_back({*path, listener->group().empty() ? kDefaultGroup : listener->group(), *mode});
  }
  for (const Shared& socket : all) {
    const absl::Status shared = ShareSocket(socket.path, socket.group, socket.mode);
    if (absl::IsNotFound(shared)) {
      warnings_.emplace_back(shared.message());
    } else if (!shared.ok()) {
      return shared;
    }
    if (&socket.path == &control_path_ && (socket.mode & 0007) != 0) {
      warnings_.push_back(absl::StrCat(
          "control.mode: everybody on this machine rules the switch through ", socket.path));
    }
  }
  return absl::OkStatus();
}

absl::Status RpcServer::Reload(const v1::DaemonSettings& settings) {
  warnings_.clear();
  auto rules = RulesOf(settings);
  if (!rules.ok()) return rules.status();
  if (auto status = ShareSockets(settings); !status.ok()) return status;
  front_->Replace(*std::move(rules));
  return absl::OkStatus();
}

void RpcServer::HandOver(const Caller& caller, Descriptor end) {
  const auto& taker = caller.role == v1::ROLE_UNSPECIFIED     ? stranger_
                      : caller.listener == Listener::kTcp     ? remote_
                      : caller.listener == Listener::kMonitor ? monitor_
                                                              : control_;
  taker->Take(std::move(end));
}

void RpcServer::Shutdown(std::chrono::milliseconds patience) {
  for (const SocketFile& made : std::exchange(files_, {})) {
    struct stat file {};
    if (lstat(made.path.c_str(), &file) == 0 && file.st_dev == made.device &&
        file.st_ino == made.inode) {
      unlink(made.path.c_str());
    }
  }
  for (const auto& end : {&control_, &monitor_, &remote_}) {
    if (*end != nullptr) (*end)->SetServing(false);
  }
  if (front_ != nullptr) front_->Close();
  const auto deadline = std::chrono::system_clock::now() + patience;
  for (const auto& end : {&control_, &monitor_, &remote_, &stranger_}) {
    if (*end != nullptr) (*end)->Shutdown(deadline);
  }
  // What gRPC said last is on its way.
  if (front_ != nullptr) front_->Stop(std::chrono::milliseconds(200));
  for (const auto& end : {&control_, &monitor_, &remote_, &stranger_}) end->reset();
}

}  // namespace vmqd::rpc

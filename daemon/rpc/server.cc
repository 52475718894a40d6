// See server.h.
#include "daemon/rpc/server.h"

#include <sys/stat.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/service.h"
#include "daemon/rpc/unix_socket.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"

namespace vmqd::rpc {
namespace {

// The largest request, a port with 64 addresses, is a few kilobytes.
constexpr int kMaxRequestBytes = 1 << 20;
// Switch serves one call at a time, the others wait, each in a thread: enough for the ports of a
// whole host to be added at once behind a slow NIC. Calls beyond them get RESOURCE_EXHAUSTED.
constexpr int kMaxThreads = 256;
constexpr int kMaxStreamsPerConnection = 64;

// The path in "unix:/run/x" or "unix:///run/x"; absent for anything else.
std::optional<std::string> SocketPath(const std::string& address) {
  constexpr char kUnix[] = "unix:";
  if (!address.starts_with(kUnix)) return std::nullopt;
  std::string path = address.substr(sizeof(kUnix) - 1);
  if (path.starts_with("///")) path.erase(0, 2);
  return path;
}

}  // namespace

RpcServer::RpcServer(Switch& sw) : service_(std::make_unique<VmqdService>(sw)) {}

RpcServer::~RpcServer() { Shutdown(std::chrono::seconds(1)); }

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const std::string& address, Switch& sw,
                                                            const Options& options) {
  std::unique_ptr<RpcServer> server(new RpcServer(sw));
  const std::optional<std::string> path = SocketPath(address);
  if (!path.has_value()) {
    if (auto status = server->Listen(address); !status.ok()) return status;
    server->warnings_.push_back(absl::StrCat("the control interface listens on ", address,
                                             " without encryption or authentication: whoever "
                                             "reaches it rules the switch"));
    return server;
  }
  if (auto status = ClearSocketPath(*path); !status.ok()) return status;
  const mode_t umask_before = umask(0177);  // nobody else until ShareSocket has named the group
  const absl::Status listening = server->Listen(address);
  umask(umask_before);
  if (!listening.ok()) return listening;
  const absl::Status shared = ShareSocket(*path, options.socket_group, options.socket_mode);
  if (absl::IsNotFound(shared)) {
    server->warnings_.emplace_back(shared.message());
  } else if (!shared.ok()) {
    return shared;
  }
  return server;
}

absl::Status RpcServer::Listen(const std::string& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ResourceQuota quota("vmqd rpc");
  quota.SetMaxThreads(kMaxThreads);

  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_.get());
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // With it, a second daemon on the same port would get every other call.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on \"", address,
                     "\": the address is taken, not this machine's, or not of the form unix:/path "
                     "or host:port"));
  }
  server_->GetHealthCheckService()->SetServingStatus(v1::Vmqd::service_full_name(), true);
  return absl::OkStatus();
}

void RpcServer::Shutdown(std::chrono::milliseconds patience) {
  if (server_ == nullptr) return;
  server_->GetHealthCheckService()->SetServingStatus(false);
  server_->Shutdown(std::chrono::system_clock::now() + patience);
  server_->Wait();
  server_.reset();
}

}  // namespace vmqd::rpc

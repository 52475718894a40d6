// See grpc_end.h.
#include "daemon/rpc/grpc_end.h"

#include <utility>
#include <vector>

#include "grpcpp/ext/health_check_service_server_builder_option.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace vmqd::rpc {
namespace {

// The largest request, a port with 64 addresses, is a few kilobytes.
constexpr int kMaxRequestBytes = 1 << 20;
constexpr int kMaxMetadataBytes = 8 << 10;
constexpr int kMaxStreamsPerConnection = 64;
// What gRPC may buffer of requests before it shrinks windows and sheds load.
constexpr size_t kMaxBufferedBytes = 64 << 20;
// For the client's SETTINGS, after the preface that the front has waited for.
constexpr int kHandshakeMilliseconds = 10'000;

// Linking gRPC's reflection turns it on for every server of the process: this has it or not.
class Reflection final : public grpc::ServerBuilderOption {
 public:
  explicit Reflection(bool on) : on_(on) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    auto plugin = std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>();
    std::erase_if(*plugins, [&](const auto& each) { return each->name() == plugin->name(); });
    if (on_) plugins->push_back(std::move(plugin));
  }

 private:
  const bool on_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcEnd>> GrpcEnd::Start(const Serves& serves) {
  using Experimental = grpc::ServerBuilder::experimental_type;
  grpc::EnableDefaultHealthCheckService(true);
  std::unique_ptr<GrpcEnd> end(new GrpcEnd);
  grpc::ServerBuilder builder;
  end->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      Experimental::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  if (serves.service != nullptr) {
    builder.RegisterService(serves.service);
  } else {
    builder.SetOption(std::make_unique<grpc::HealthCheckServiceServerBuilderOption>(nullptr));
  }
  builder.SetOption(std::make_unique<Reflection>(serves.reflection));
  if (serves.rest != nullptr) builder.RegisterCallbackGenericService(serves.rest);
  grpc::ResourceQuota quota("vmqd rpc");
  quota.SetMaxThreads(serves.threads);
  quota.Resize(kMaxBufferedBytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMilliseconds);
  // Keep-alive as gRPC has it: after two pings within five minutes without data, the connection is
  // closed with too_many_pings.
  end->server_ = builder.BuildAndStart();
  if (end->server_ == nullptr) return absl::InternalError("gRPC does not start; its log says why");
  return end;
}

void GrpcEnd::Take(Descriptor connection) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.listener_fd = -1;
  parameters.fd = connection.Release();
  acceptor_->HandleNewConnection(&parameters);
}

void GrpcEnd::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  if (health == nullptr) return;
  health->SetServingStatus(serving);
  health->SetServingStatus(v1::Vmqd::service_full_name(), serving);
}

void GrpcEnd::Shutdown(std::chrono::system_clock::time_point deadline) {
  server_->Shutdown(deadline);
  server_->Wait();
}

}  // namespace vmqd::rpc

// See connection.h.
#include "client/connection.h"

#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"

namespace vmqd::cli {
namespace {

// A page of 1000 ports with all their counters and sockets stays well below it.
constexpr int kMaxResponseBytes = 64 << 20;

}  // namespace

Connection::Connection(ConnectionOptions options) : options_(std::move(options)) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxResponseBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Who watches is connected again soon after the daemon is back.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  stub_ = v1::Vmqd::NewStub(
      grpc::CreateCustomChannel(options_.address, grpc::InsecureChannelCredentials(), arguments));
}

void Connection::SetDeadline(grpc::ClientContext& context) const {
  using std::chrono::system_clock;
  context.set_deadline(system_clock::now() +
                       std::chrono::duration_cast<system_clock::duration>(
                           std::chrono::duration<double>(options_.timeout_seconds)));
}

bool MayPass(const grpc::Status& status) {
  return status.ok() || status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::CANCELLED ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

Refusal RefusalIn(const grpc::Status& status) {
  // absl and gRPC share the canonical codes, number by number.
  Refusal refusal{.code =
                      absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()))};
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return refusal;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (!detail.UnpackTo(&info)) continue;
    refusal.reason = info.reason();
    if (const auto field = info.metadata().find("field"); field != info.metadata().end()) {
      refusal.field = field->second;
    }
  }
  return refusal;
}

}  // namespace vmqd::cli

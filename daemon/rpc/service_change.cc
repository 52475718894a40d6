// See service.h: everything that changes something.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/answer.h"
#include "daemon/rpc/change_options.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"
#include "daemon/rpc/request.h"
#include "daemon/rpc/service.h"

namespace vmqd::rpc {
namespace {

// How the audit line calls it: who only asks what would be has changed nothing.
std::string ForAudit(std::string_view method, bool validate_only) {
  return absl::StrCat(std::string(method), validate_only ? "(validate_only)" : "");
}

}  // namespace

absl::StatusOr<std::unique_lock<std::timed_mutex>> VmqdService::AwaitTurn(
    grpc::ServerContext& context) {
  std::unique_lock turn(turn_, std::defer_lock);
  if (!turn.try_lock_until(context.deadline())) return CalledTooLate();
  if (auto status = CheckWaitedFor(context); !status.ok()) return status;
  return turn;
}

template <typename Request, typename Body>
grpc::Status VmqdService::Change(grpc::ServerContext* context, std::string_view method,
                                 const Request& request, const std::string& resource,
                                 const Body& body) {
  const auto change = [&]() -> absl::Status {
    const auto options = ChangeOptionsFrom(method, request);
    if (!options.ok()) return options.status();
    const auto turn = AwaitTurn(*context);
    if (!turn.ok()) return turn.status();
    return body(*options);
  };
  grpc::Status outcome = access_.Check(*context, method);
  if (outcome.ok()) outcome = ToGrpcStatus(change());
  access_.Audit(*context, ForAudit(method, request.validate_only()), resource, outcome);
  return outcome;
}

grpc::Status VmqdService::CreateUplink(grpc::ServerContext* context,
                                       const v1::CreateUplinkRequest* request,
                                       v1::Uplink* response) {
  const std::string& id =
      request->uplink_id().empty() ? request->uplink().device() : request->uplink_id();
  return Change(context, "CreateUplink", *request, UplinkName(id),
                [&](const ChangeOptions& options) -> absl::Status {
                  const auto config = UplinkConfigFrom(*request);
                  if (!config.ok()) return config.status();
                  return Answer(switch_.AddUplink(*config, options), response);
                });
}

grpc::Status VmqdService::UpdateUplink(grpc::ServerContext* context,
                                       const v1::UpdateUplinkRequest* request,
                                       v1::Uplink* response) {
  return Change(context, "UpdateUplink", *request, request->uplink().name(),
                [&](const ChangeOptions& options) -> absl::Status {
                  const auto update = UplinkUpdateFrom(*request);
                  if (!update.ok()) return update.status();
                  return Answer(
                      switch_.UpdateUplink(update->id, update->patch, update->missing, options),
                      response);
                });
}

grpc::Status VmqdService::DeleteUplink(grpc::ServerContext* context,
                                       const v1::DeleteUplinkRequest* request,
                                       google::protobuf::Empty*) {
  return Change(context, "DeleteUplink", *request, request->name(),
                [&](const ChangeOptions& options) -> absl::Status {
                  const auto id = ParseUplinkName(request->name(), "name");
                  if (!id.ok()) return id.status();
                  return switch_.DeleteUplink(*id, options);
                });
}

grpc::Status VmqdService::CreatePort(grpc::ServerContext* context,
                                     const v1::CreatePortRequest* request, v1::Port* response) {
  return Change(context, "CreatePort", *request, PortName(request->port_id()),
                [&](const ChangeOptions& options) -> absl::Status {
                  const auto config = PortConfigFrom(*request);
                  if (!config.ok()) return config.status();
                  return Answer(switch_.AddPort(*config, options), response);
                });
}

grpc::Status VmqdService::UpdatePort(grpc::ServerContext* context,
                                     const v1::UpdatePortRequest* request, v1::Port* response) {
  return Change(context, "UpdatePort", *request, request->port().name(),
                [&](const ChangeOptions& options) -> absl::Status {
                  const auto update = PortUpdateFrom(*request);
                  if (!update.ok()) return update.status();
                  return Answer(
                      switch_.UpdatePort(update->id, update->patch, update->missing, options),
                      response);
                });
}

grpc::Status VmqdService::DeletePort(grpc::ServerContext* context,
                                     const v1::DeletePortRequest* request,
                                     google::protobuf::Empty*) {
  return Change(context, "DeletePort", *request, request->name(),
                [&](const ChangeOptions& options) -> absl::Status {
                  const auto id = ParsePortName(request->name(), "name");
                  if (!id.ok()) return id.status();
                  return switch_.DeletePort(*id, options);
                });
}

grpc::Status VmqdService::Rebalance(grpc::ServerContext* context,
                                    const v1::RebalanceRequest* request,
                                    v1::RebalanceResponse* response) {
  return Change(context, "Rebalance", *request, "",
                [&](const ChangeOptions& options) -> absl::Status {
                  return Answer(switch_.Rebalance(options), response);
                });
}

}  // namespace vmqd::rpc

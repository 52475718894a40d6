// See service.h.
#include "daemon/rpc/service.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"
#include "daemon/rpc/page.h"
#include "daemon/rpc/request.h"

namespace vmqd::rpc {
namespace {

constexpr char kAnyUplink[] = "uplinks/-";

// The end of every rpc that answers with one resource.
template <typename Status, typename Message>
grpc::Status Answer(const absl::StatusOr<Status>& status, Message* response) {
  if (!status.ok()) return ToGrpcStatus(status.status());
  ToProto(*status, response);
  return grpc::Status::OK;
}

grpc::Status AnswerDeleted(const absl::Status& status, bool allow_missing) {
  if (allow_missing && absl::IsNotFound(status)) return grpc::Status::OK;
  return ToGrpcStatus(status);
}

}  // namespace

grpc::Status VmqdService::CreateUplink(grpc::ServerContext*, const v1::CreateUplinkRequest* request,
                                       v1::Uplink* response) {
  const auto config = UplinkConfigFrom(*request);
  if (!config.ok()) return ToGrpcStatus(config.status());
  return Answer(switch_.AddUplink(*config), response);
}

grpc::Status VmqdService::GetUplink(grpc::ServerContext*, const v1::GetUplinkRequest* request,
                                    v1::Uplink* response) {
  const auto id = ParseUplinkName(request->name(), "name");
  if (!id.ok()) return ToGrpcStatus(id.status());
  return Answer(switch_.GetUplink(*id), response);
}

grpc::Status VmqdService::ListUplinks(grpc::ServerContext*, const v1::ListUplinksRequest* request,
                                      v1::ListUplinksResponse* response) {
  const auto page = ParsePageRequest(request->page_size(), request->page_token());
  if (!page.ok()) return ToGrpcStatus(page.status());
  std::optional<std::string> after;
  if (!page->after.empty()) {
    auto id = ParseUplinkName(page->after, "page_token");
    if (!id.ok()) return ToGrpcStatus(RefusePageToken());
    after = *std::move(id);
  }
  std::vector<UplinkStatus> uplinks = switch_.ListUplinks();
  const bool more = CutPage(uplinks, page->size, after,
                            [](const UplinkStatus& uplink) { return uplink.config.id; });
  for (const UplinkStatus& uplink : uplinks) ToProto(uplink, response->add_uplinks());
  if (more) response->set_next_page_token(EncodePageToken(response->uplinks().rbegin()->name()));
  return grpc::Status::OK;
}

grpc::Status VmqdService::DeleteUplink(grpc::ServerContext*, const v1::DeleteUplinkRequest* request,
                                       google::protobuf::Empty*) {
  const auto id = ParseUplinkName(request->name(), "name");
  if (!id.ok()) return ToGrpcStatus(id.status());
  return AnswerDeleted(switch_.DeleteUplink(*id), request->allow_missing());
}

grpc::Status VmqdService::GetQueue(grpc::ServerContext*, const v1::GetQueueRequest* request,
                                   v1::Queue* response) {
  const auto id = ParseQueueName(request->name(), "name");
  if (!id.ok()) return ToGrpcStatus(id.status());
  return Answer(switch_.GetQueue(id->uplink, id->queue), response);
}

grpc::Status VmqdService::ListQueues(grpc::ServerContext*, const v1::ListQueuesRequest* request,
                                     v1::ListQueuesResponse* response) {
  std::optional<std::string> uplink;
  if (request->parent() != kAnyUplink) {
    auto id = ParseUplinkName(request->parent(), "parent");
    if (!id.ok()) return ToGrpcStatus(id.status());
    uplink = *std::move(id);
  }
  const auto page = ParsePageRequest(request->page_size(), request->page_token());
  if (!page.ok()) return ToGrpcStatus(page.status());
  std::optional<QueueId> after;
  if (!page->after.empty()) {
    auto id = ParseQueueName(page->after, "page_token");
    if (!id.ok()) return ToGrpcStatus(RefusePageToken());
    after = *std::move(id);
  }
  auto queues = switch_.ListQueues(uplink);
  if (!queues.ok()) return ToGrpcStatus(queues.status());
  const bool more = CutPage(*queues, page->size, after, [](const QueueStatus& queue) {
    return QueueId{.uplink = queue.uplink, .queue = queue.queue};
  });
  for (const QueueStatus& queue : *queues) ToProto(queue, response->add_queues());
  if (more) response->set_next_page_token(EncodePageToken(response->queues().rbegin()->name()));
  return grpc::Status::OK;
}

grpc::Status VmqdService::CreatePort(grpc::ServerContext*, const v1::CreatePortRequest* request,
                                     v1::Port* response) {
  const auto config = PortConfigFrom(*request);
  if (!config.ok()) return ToGrpcStatus(config.status());
  return Answer(switch_.AddPort(*config), response);
}

grpc::Status VmqdService::GetPort(grpc::ServerContext*, const v1::GetPortRequest* request,
                                  v1::Port* response) {
  const auto id = ParsePortName(request->name(), "name");
  if (!id.ok()) return ToGrpcStatus(id.status());
  return Answer(switch_.GetPort(*id), response);
}

grpc::Status VmqdService::ListPorts(grpc::ServerContext*, const v1::ListPortsRequest* request,
                                    v1::ListPortsResponse* response) {
  const auto page = ParsePageRequest(request->page_size(), request->page_token());
  if (!page.ok()) return ToGrpcStatus(page.status());
  std::optional<std::string> after;
  if (!page->after.empty()) {
    auto id = ParsePortName(page->after, "page_token");
    if (!id.ok()) return ToGrpcStatus(RefusePageToken());
    after = *std::move(id);
  }
  std::vector<PortStatus> ports = switch_.ListPorts();
  const bool more =
      CutPage(ports, page->size, after, [](const PortStatus& port) { return port.config.id; });
  for (const PortStatus& port : ports) ToProto(port, response->add_ports());
  if (more) response->set_next_page_token(EncodePageToken(response->ports().rbegin()->name()));
  return grpc::Status::OK;
}

grpc::Status VmqdService::UpdatePort(grpc::ServerContext*, const v1::UpdatePortRequest* request,
                                     v1::Port* response) {
  const auto update = PortUpdateFrom(*request);
  if (!update.ok()) return ToGrpcStatus(update.status());
  return Answer(switch_.UpdatePort(update->id, update->patch), response);
}

grpc::Status VmqdService::DeletePort(grpc::ServerContext*, const v1::DeletePortRequest* request,
                                     google::protobuf::Empty*) {
  const auto id = ParsePortName(request->name(), "name");
  if (!id.ok()) return ToGrpcStatus(id.status());
  return AnswerDeleted(switch_.DeletePort(*id), request->allow_missing());
}

grpc::Status VmqdService::GetSwitch(grpc::ServerContext*, const v1::GetSwitchRequest*,
                                    v1::Switch* response) {
  ToProto(switch_.Show(), response);
  return grpc::Status::OK;
}

}  // namespace vmqd::rpc

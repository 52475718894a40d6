// See service.h: everything that changes nothing. What changes something is in service_change.cc.
#include "daemon/rpc/service.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/control/error.h"
#include "daemon/rpc/answer.h"
#include "daemon/rpc/convert.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"
#include "daemon/rpc/page.h"

namespace vmqd::rpc {
namespace {

constexpr char kAnyUplink[] = "uplinks/-";

// Where a page begins: behind what the token of the page before stands for. `parse` reads that.
template <typename Key>
absl::StatusOr<std::optional<Key>> StartOf(const PageRequest& page,
                                           absl::StatusOr<Key> (*parse)(const std::string&,
                                                                        const std::string&)) {
  if (page.after.empty()) return std::optional<Key>();
  auto key = parse(page.after, "page_token");
  if (!key.ok()) return RefusePageToken();
  return std::optional<Key>(*std::move(key));
}

}  // namespace

VmqdService::VmqdService(Switch& sw, Access& access, Options options)
    : switch_(sw),
      access_(access),
      options_(std::move(options)),
      watches_({.history = sw.history(),
                .look = [&sw] { return sw.Look(); },
                .revision = [&sw] { return sw.Show().revision; }},
               options_.watch) {}

template <typename Body>
grpc::Status VmqdService::Read(grpc::ServerContext* context, std::string_view method,
                               const Body& body) {
  if (grpc::Status status = access_.Check(*context, method); !status.ok()) return status;
  if (auto status = CheckWaitedFor(*context); !status.ok()) return ToGrpcStatus(status);
  return ToGrpcStatus(body());
}

grpc::Status VmqdService::GetUplink(grpc::ServerContext* context,
                                    const v1::GetUplinkRequest* request, v1::Uplink* response) {
  return Read(context, "GetUplink", [&]() -> absl::Status {
    const auto id = ParseUplinkName(request->name(), "name");
    if (!id.ok()) return id.status();
    return Answer(switch_.GetUplink(*id), response);
  });
}

grpc::Status VmqdService::ListUplinks(grpc::ServerContext* context,
                                      const v1::ListUplinksRequest* request,
                                      v1::ListUplinksResponse* response) {
  return Read(context, "ListUplinks", [&]() -> absl::Status {
    const auto page = ParsePageRequest(request->page_size(), request->page_token());
    if (!page.ok()) return page.status();
    const auto after = StartOf(*page, ParseUplinkName);
    if (!after.ok()) return after.status();
    std::vector<UplinkStatus> uplinks = switch_.ListUplinks();
    const bool more = CutPage(uplinks, page->size, *after,
                              [](const UplinkStatus& uplink) { return uplink.config.id; });
    for (const UplinkStatus& uplink : uplinks) ToProto(uplink, response->add_uplinks());
    if (more) response->set_next_page_token(EncodePageToken(response->uplinks().rbegin()->name()));
    return absl::OkStatus();
  });
}

grpc::Status VmqdService::GetQueue(grpc::ServerContext* context, const v1::GetQueueRequest* request,
                                   v1::Queue* response) {
  return Read(context, "GetQueue", [&]() -> absl::Status {
    const auto id = ParseQueueName(request->name(), "name");
    if (!id.ok()) return id.status();
    return Answer(switch_.GetQueue(id->uplink, id->queue), response);
  });
}

grpc::Status VmqdService::ListQueues(grpc::ServerContext* context,
                                     const v1::ListQueuesRequest* request,
                                     v1::ListQueuesResponse* response) {
  return Read(context, "ListQueues", [&]() -> absl::Status {
    std::optional<std::string> uplink;
    if (request->parent() != kAnyUplink) {
      auto id = ParseUplinkName(request->parent(), "parent");
      if (!id.ok()) return id.status();
      uplink = *std::move(id);
    }
    const auto page = ParsePageRequest(request->page_size(), request->page_token());
    if (!page.ok()) return page.status();
    const auto after = StartOf(*page, ParseQueueName);
    if (!after.ok()) return after.status();
    auto queues = switch_.ListQueues(uplink);
    if (!queues.ok()) return queues.status();
    const bool more = CutPage(*queues, page->size, *after, [](const QueueStatus& queue) {
      return QueueId{.uplink = queue.uplink, .queue = queue.queue};
    });
    for (const QueueStatus& queue : *queues) ToProto(queue, response->add_queues());
    if (more) response->set_next_page_token(EncodePageToken(response->queues().rbegin()->name()));
    return absl::OkStatus();
  });
}

grpc::Status VmqdService::GetPort(grpc::ServerContext* context, const v1::GetPortRequest* request,
                                  v1::Port* response) {
  return Read(context, "GetPort", [&]() -> absl::Status {
    const auto id = ParsePortName(request->name(), "name");
    if (!id.ok()) return id.status();
    return Answer(switch_.GetPort(*id), response);
  });
}

grpc::Status VmqdService::ListPorts(grpc::ServerContext* context,
                                    const v1::ListPortsRequest* request,
                                    v1::ListPortsResponse* response) {
  return Read(context, "ListPorts", [&]() -> absl::Status {
    const auto page = ParsePageRequest(request->page_size(), request->page_token());
    if (!page.ok()) return page.status();
    const auto after = StartOf(*page, ParsePortName);
    if (!after.ok()) return after.status();
    std::vector<PortStatus> ports = switch_.ListPorts();
    const bool more =
        CutPage(ports, page->size, *after, [](const PortStatus& port) { return port.config.id; });
    for (const PortStatus& port : ports) ToProto(port, response->add_ports());
    if (more) response->set_next_page_token(EncodePageToken(response->ports().rbegin()->name()));
    return absl::OkStatus();
  });
}

grpc::Status VmqdService::GetSwitch(grpc::ServerContext* context, const v1::GetSwitchRequest*,
                                    v1::Switch* response) {
  return Read(context, "GetSwitch", [&] {
    ToProto(switch_.Show(), response);
    return absl::OkStatus();
  });
}

grpc::Status VmqdService::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                grpc::ServerWriter<v1::WatchResponse>* writer) {
  return Read(context, "Watch",
              [&] { return watches_.Serve(*context, request->revision(), *writer); });
}

grpc::Status VmqdService::ListEvents(grpc::ServerContext* context,
                                     const v1::ListEventsRequest* request,
                                     v1::ListEventsResponse* response) {
  return Read(context, "ListEvents", [&]() -> absl::Status {
    const auto page = ParsePageRequest(request->page_size(), request->page_token());
    if (!page.ok()) return page.status();
    const auto after = StartOf(*page, ParseEventName);
    if (!after.ok()) return after.status();
    // One more than fits, to learn whether any are left.
    std::vector<Event> events = switch_.history().EventsAfter(after->value_or(0), page->size + 1);
    const bool more = events.size() > page->size;
    if (more) events.resize(page->size);
    for (const Event& event : events) ToProto(event, response->add_events());
    if (more) response->set_next_page_token(EncodePageToken(EventName(events.back().revision)));
    return absl::OkStatus();
  });
}

grpc::Status VmqdService::Diagnose(grpc::ServerContext* context, const v1::DiagnoseRequest* request,
                                   v1::DiagnoseResponse* response) {
  return Read(context, "Diagnose", [&]() -> absl::Status {
    if (!options_.diagnose) {
      return Refuse(absl::StatusCode::kUnimplemented, "UNIMPLEMENTED", "",
                    "this daemon cannot diagnose");
    }
    if (!request->device().empty()) {
      if (auto status = CheckDeviceName(request->device(), "device"); !status.ok()) return status;
    }
    const auto findings = options_.diagnose(request->device());
    if (!findings.ok()) return findings.status();
    for (const Finding& finding : *findings) ToProto(finding, response->add_findings());
    return absl::OkStatus();
  });
}

}  // namespace vmqd::rpc

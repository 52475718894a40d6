// VmqdService: the rpcs of vmqd.v1.Vmqd, each of them three steps: check the request's shape, ask
// Switch, turn the answer into messages. Every one asks Access first, and every one that changes
// something leaves an audit line. Called by gRPC's threads, several at once. `Switch` decides
// everything that depends on state.
#ifndef VMQD_DAEMON_RPC_SERVICE_H_
#define VMQD_DAEMON_RPC_SERVICE_H_

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/switch.h"
#include "daemon/doctor/doctor.h"
#include "daemon/rpc/access.h"
#include "daemon/rpc/watch.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace vmqd::rpc {

class VmqdService final : public v1::Vmqd::Service {
 public:
  struct Options {
    WatchLimits watch;
    // What Diagnose answers with; called by several threads. Empty: UNIMPLEMENTED.
    std::function<absl::StatusOr<std::vector<Finding>>(const std::string& device)> diagnose;
  };

  // `sw` and `access` must outlive the service, and the service the gRPC server it is part of.
  VmqdService(Switch& sw, Access& access, Options options);

  grpc::Status CreateUplink(grpc::ServerContext* context, const v1::CreateUplinkRequest* request,
                            v1::Uplink* response) override;
  grpc::Status GetUplink(grpc::ServerContext* context, const v1::GetUplinkRequest* request,
                         v1::Uplink* response) override;
  grpc::Status ListUplinks(grpc::ServerContext* context, const v1::ListUplinksRequest* request,
                           v1::ListUplinksResponse* response) override;
  grpc::Status UpdateUplink(grpc::ServerContext* context, const v1::UpdateUplinkRequest* request,
                            v1::Uplink* response) override;
  grpc::Status DeleteUplink(grpc::ServerContext* context, const v1::DeleteUplinkRequest* request,
                            google::protobuf::Empty* response) override;

  grpc::Status GetQueue(grpc::ServerContext* context, const v1::GetQueueRequest* request,
                        v1::Queue* response) override;
  grpc::Status ListQueues(grpc::ServerContext* context, const v1::ListQueuesRequest* request,
                          v1::ListQueuesResponse* response) override;

  grpc::Status CreatePort(grpc::ServerContext* context, const v1::CreatePortRequest* request,
                          v1::Port* response) override;
  grpc::Status GetPort(grpc::ServerContext* context, const v1::GetPortRequest* request,
                       v1::Port* response) override;
  grpc::Status ListPorts(grpc::ServerContext* context, const v1::ListPortsRequest* request,
                         v1::ListPortsResponse* response) override;
  grpc::Status UpdatePort(grpc::ServerContext* context, const v1::UpdatePortRequest* request,
                          v1::Port* response) override;
  grpc::Status DeletePort(grpc::ServerContext* context, const v1::DeletePortRequest* request,
                          google::protobuf::Empty* response) override;

  grpc::Status GetSwitch(grpc::ServerContext* context, const v1::GetSwitchRequest* request,
                         v1::Switch* response) override;

  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override;
  grpc::Status ListEvents(grpc::ServerContext* context, const v1::ListEventsRequest* request,
                          v1::ListEventsResponse* response) override;
  grpc::Status Rebalance(grpc::ServerContext* context, const v1::RebalanceRequest* request,
                         v1::RebalanceResponse* response) override;
  grpc::Status Diagnose(grpc::ServerContext* context, const v1::DiagnoseRequest* request,
                        v1::DiagnoseResponse* response) override;

 private:
  // Waits until `context`'s deadline for the one turn to change something.
  absl::StatusOr<std::unique_lock<std::timed_mutex>> AwaitTurn(grpc::ServerContext& context);
  // One call that changes nothing: access checked, then `body`, which returns absl::Status.
  template <typename Body>
  grpc::Status Read(grpc::ServerContext* context, std::string_view method, const Body& body);
  // One that does: access checked, its options read, its turn awaited, then `body(options)`, then
  // the audit line. `resource` is the name of what it changes, as the caller spelt it.
  template <typename Request, typename Body>
  grpc::Status Change(grpc::ServerContext* context, std::string_view method, const Request& request,
                      const std::string& resource, const Body& body);

  Switch& switch_;
  Access& access_;
  const Options options_;
  // Changes queue here before they queue for the mutex of Switch: a call that has waited past its
  // deadline does nothing. Inside Switch nothing can be interrupted.
  std::timed_mutex turn_;
  Watches watches_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_SERVICE_H_

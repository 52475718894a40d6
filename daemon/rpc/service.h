// VmqdService: the rpcs of vmqd.v1.Vmqd, each of them three steps: check the request's shape, ask
// Switch, turn the answer into messages. Called by gRPC's threads, several at once; keeps no state
// of its own and takes no lock. `Switch` decides everything that depends on state.
#ifndef VMQD_DAEMON_RPC_SERVICE_H_
#define VMQD_DAEMON_RPC_SERVICE_H_

#include "daemon/control/switch.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace vmqd::rpc {

class VmqdService final : public v1::Vmqd::Service {
 public:
  // `sw` must outlive the service.
  explicit VmqdService(Switch& sw) : switch_(sw) {}

  grpc::Status CreateUplink(grpc::ServerContext* context, const v1::CreateUplinkRequest* request,
                            v1::Uplink* response) override;
  grpc::Status GetUplink(grpc::ServerContext* context, const v1::GetUplinkRequest* request,
                         v1::Uplink* response) override;
  grpc::Status ListUplinks(grpc::ServerContext* context, const v1::ListUplinksRequest* request,
                           v1::ListUplinksResponse* response) override;
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

 private:
  Switch& switch_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_SERVICE_H_

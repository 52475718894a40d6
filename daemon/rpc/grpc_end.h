// GrpcEnd: one gRPC server without a socket of its own. It gets its connections from the front, one
// descriptor each. RpcServer has several, because gRPC can neither tell callers apart nor keep
// threads for some of them. Main thread, but for Take.
#ifndef VMQD_DAEMON_RPC_GRPC_END_H_
#define VMQD_DAEMON_RPC_GRPC_END_H_

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "daemon/rpc/descriptor.h"
#include "grpcpp/grpcpp.h"

namespace grpc {
class CallbackGenericService;
}

namespace vmqd::rpc {

class GrpcEnd {
 public:
  struct Serves {
    grpc::Service* service = nullptr;  // and the health service, when there is one
    bool reflection = false;
    grpc::CallbackGenericService* rest = nullptr;  // all calls that nobody else takes
    int threads = 4;                               // calls in handlers at a time
  };
  // The services outlive it.
  static absl::StatusOr<std::unique_ptr<GrpcEnd>> Start(const Serves& serves);

  // One end of a connected socket pair; not after Shutdown. Any thread.
  void Take(Descriptor connection);

  void SetServing(bool serving);
  // Until `deadline` calls may finish, then they are cancelled; those in a handler are waited for.
  void Shutdown(std::chrono::system_clock::time_point deadline);

 private:
  GrpcEnd() = default;

  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_GRPC_END_H_

// StrangerService: what a client is served whose certificate is good but fits no role. Every call
// of every service, health and reflection included, is refused with the sentence that says why. Any
// thread.
#ifndef VMQD_DAEMON_RPC_STRANGER_H_
#define VMQD_DAEMON_RPC_STRANGER_H_

#include "daemon/rpc/caller.h"
#include "grpcpp/generic/async_generic_service.h"

namespace vmqd::rpc {

class StrangerService final : public grpc::CallbackGenericService {
 public:
  // `callers` outlives it.
  explicit StrangerService(const Callers& callers) : callers_(callers) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

 private:
  const Callers& callers_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_STRANGER_H_

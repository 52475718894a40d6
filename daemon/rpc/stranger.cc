// See stranger.h.
#include "daemon/rpc/stranger.h"

#include <memory>
#include <string>

#include "daemon/rpc/access.h"

namespace vmqd::rpc {
namespace {

class Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerGenericBidiReactor* StrangerService::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  const std::shared_ptr<const Caller> caller = callers_.Find(context->peer());
  const std::string& path = context->method();  // "/vmqd.v1.Vmqd/GetSwitch"
  return new Refusal(Denied(caller.get(), path.substr(path.rfind('/') + 1)));
}

}  // namespace vmqd::rpc

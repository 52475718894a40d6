// Access: who may call what, and the record of who changed what. The service asks it first thing in
// every call. Any thread.
#ifndef VMQD_DAEMON_RPC_ACCESS_H_
#define VMQD_DAEMON_RPC_ACCESS_H_

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "daemon/net/mutex.h"
#include "daemon/rpc/bucket.h"
#include "daemon/rpc/caller.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace vmqd::rpc {

class Access {
 public:
  virtual ~Access() = default;

  // Whether the caller's role allows `method` ("CreatePort"). PERMISSION_DENIED says who the caller
  // is taken for, which role that is, and which would do. A method the table does not know is
  // denied.
  virtual grpc::Status Check(const grpc::ServerContext& context, std::string_view method) = 0;

  // One line for every call that changes something, also for one that was refused. `resource` is
  // its name, "ports/vm1".
  virtual void Audit(const grpc::ServerContext& context, std::string_view method,
                     std::string_view resource, const grpc::Status& outcome) = 0;
};

// By the role of the caller that the front has found for the connection.
class RoleAccess final : public Access {
 public:
  // `callers` outlives it.
  explicit RoleAccess(const Callers& callers) : callers_(callers) {}

  // A changing call must come to Audit after it: until then its caller is remembered, for a call
  // may outlive its connection.
  grpc::Status Check(const grpc::ServerContext& context, std::string_view method)
      ABSL_LOCKS_EXCLUDED(mutex_) override;
  void Audit(const grpc::ServerContext& context, std::string_view method, std::string_view resource,
             const grpc::Status& outcome) ABSL_LOCKS_EXCLUDED(mutex_) override;

 private:
  using CallerPtr = std::shared_ptr<const Caller>;
  CallerPtr Forget(const grpc::ServerContext& context) ABSL_LOCKS_EXCLUDED(mutex_);
  bool LogRefusal() ABSL_LOCKS_EXCLUDED(mutex_);

  const Callers& callers_;
  Mutex mutex_;
  std::map<const grpc::ServerContext*, CallerPtr> changing_ ABSL_GUARDED_BY(mutex_);
  // Lines about calls refused for their role, so that who may nothing cannot fill the log either.
  Bucket refusals_ ABSL_GUARDED_BY(mutex_){10, 100};
  uint64_t unlogged_ ABSL_GUARDED_BY(mutex_) = 0;
};

// PERMISSION_DENIED for `caller`, nullptr where it is gone, which may not call `method`.
grpc::Status Denied(const Caller* caller, std::string_view method);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_ACCESS_H_

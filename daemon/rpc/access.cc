// See access.h.
#include "daemon/rpc/access.h"

#include <spdlog/spdlog.h>

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/roles.h"

namespace vmqd::rpc {
namespace {

constexpr char kWhereTcp[] =
    "roles are given to certificate names under tcp.roles in the daemon's settings "
    "(/etc/vmqd/vmqd.yaml)";
constexpr char kWhereUnix[] =
    "who may open the control socket is admin; its group and mode are under control in the "
    "daemon's settings (/etc/vmqd/vmqd.yaml)";

// absl and gRPC share the canonical codes, number by number.
std::string CodeName(const grpc::Status& status) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
}

// Everything that somebody else chose is quoted and escaped: one call, one line.
std::string CallerFields(const Caller* caller) {
  if (caller == nullptr) return "role=none caller=gone";
  const std::string role = absl::StrCat("role=", RoleName(caller->role));
  if (caller->listener != Listener::kTcp) {
    return absl::StrCat(
        role, " listener=", caller->listener == Listener::kControl ? "control" : "monitor",
        " uid=", caller->uid, " pid=", caller->pid);
  }
  return absl::StrCat(role, " listener=tcp address=", caller->address, " certificate=\"",
                      caller->names.empty() ? "" : absl::CHexEscape(caller->names.front()), "\"");
}

grpc::Status Refused(const char* reason, const std::string& sentence) {
  return ToGrpcStatus(Refuse(absl::StatusCode::kPermissionDenied, reason, "", sentence));
}

}  // namespace

grpc::Status Denied(const Caller* caller, std::string_view method) {
  const std::string name = Quoted(std::string(method));
  if (caller == nullptr) {
    return Refused("CALLER_UNKNOWN",
                   absl::StrCat("the connection of this call of ", name, " is gone"));
  }
  const std::optional<v1::Role> least = LeastRoleFor(method);
  if (!least.has_value() && caller->role != v1::ROLE_UNSPECIFIED) {
    return Refused("METHOD_UNKNOWN", absl::StrCat("no role may call ", name));
  }
  return Refused("ROLE_TOO_LOW",
                 absl::StrCat(caller->ToString(), " has the role ", RoleName(caller->role), "; ",
                              name, " needs ", RoleName(least.value_or(v1::VIEWER)), "; ",
                              caller->listener == Listener::kTcp ? kWhereTcp : kWhereUnix));
}

grpc::Status RoleAccess::Check(const grpc::ServerContext& context, std::string_view method) {
  CallerPtr caller = callers_.Find(context.peer());
  const bool allowed = caller != nullptr && MayCall(caller->role, method);
  grpc::Status answer = allowed ? grpc::Status::OK : Denied(caller.get(), method);
  if (IsChange(method)) {
    MutexLock lock(mutex_);
    changing_[&context] = std::move(caller);
  }
  return answer;
}

void RoleAccess::Audit(const grpc::ServerContext& context, std::string_view method,
                       std::string_view resource, const grpc::Status& outcome) {
  const CallerPtr caller = Forget(context);
  if (outcome.error_code() == grpc::StatusCode::PERMISSION_DENIED && !LogRefusal()) return;
  const std::string line = absl::StrCat(
      "audit: method=", std::string(method), " resource=", Quoted(std::string(resource)),
      " outcome=", CodeName(outcome), " ", CallerFields(caller.get()));
  spdlog::log(outcome.ok() ? spdlog::level::info : spdlog::level::warn, "{}", line);
}

RoleAccess::CallerPtr RoleAccess::Forget(const grpc::ServerContext& context) {
  MutexLock lock(mutex_);
  const auto found = changing_.find(&context);
  if (found == changing_.end()) return callers_.Find(context.peer());
  CallerPtr caller = std::move(found->second);
  changing_.erase(found);
  return caller;
}

bool RoleAccess::LogRefusal() {
  uint64_t unlogged = 0;
  {
    MutexLock lock(mutex_);
    if (refusals_.Level(Bucket::Clock::now()) < 1) {
      ++unlogged_;
      return false;
    }
    refusals_.Take(1);
    std::swap(unlogged, unlogged_);
  }
  if (unlogged != 0) spdlog::warn("audit: {} refused calls before this one have no line", unlogged);
  return true;
}

}  // namespace vmqd::rpc

// See caller.h.
#include "daemon/rpc/caller.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/error.h"

namespace vmqd::rpc {

std::string Caller::ToString() const {
  if (listener == Listener::kTcp) {
    return absl::StrCat("certificate ", names.empty() ? "without a name" : Quoted(names.front()),
                        " from ", address);
  }
  return absl::StrCat("user ", uid, ", process ", pid, ", ",
                      listener == Listener::kControl ? "control" : "monitor", " socket");
}

std::string Caller::Address() const { return listener == Listener::kTcp ? address : ToString(); }

void Callers::Add(const std::string& connection, std::shared_ptr<const Caller> caller) {
  MutexLock lock(mutex_);
  callers_[connection] = std::move(caller);
}

void Callers::Remove(const std::string& connection) {
  MutexLock lock(mutex_);
  callers_.erase(connection);
}

std::shared_ptr<const Caller> Callers::Find(const std::string& connection) const {
  MutexLock lock(mutex_);
  const auto found = callers_.find(connection);
  return found == callers_.end() ? nullptr : found->second;
}

}  // namespace vmqd::rpc

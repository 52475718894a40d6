// Caller: who is at the other end of a connection, as the front found out before it let the first
// byte through; and Callers, where a call finds the caller of its connection.
#ifndef VMQD_DAEMON_RPC_CALLER_H_
#define VMQD_DAEMON_RPC_CALLER_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "daemon/net/mutex.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd::rpc {

enum class Listener { kControl, kMonitor, kTcp };

struct Caller {
  Listener listener = Listener::kControl;
  v1::Role role = v1::ROLE_UNSPECIFIED;
  // Of a unix socket's peer at the moment it connected, by SO_PEERCRED.
  uid_t uid = 0;
  pid_t pid = 0;
  // Of a TCP peer.
  std::string address;             // "192.0.2.7:40112"
  std::vector<std::string> names;  // of its certificate, alternative names first

  // For a log line and for an error's sentence; bytes a certificate could smuggle in are escaped.
  // "user 0, process 4242, control socket"
  // "certificate "orchestrator.example" from 192.0.2.7:40112"
  std::string ToString() const;
  // What is known before a certificate was shown: "192.0.2.7:40112".
  std::string Address() const;
};

// gRPC tells a service its connection's peer address and nothing else. The front gives its side of
// every connection an address of its own, which no other connection ever has, and which leads here.
// Thread-safe.
class Callers {
 public:
  // `connection` is what ServerContext::peer() will say.
  void Add(const std::string& connection, std::shared_ptr<const Caller> caller)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::string& connection) ABSL_LOCKS_EXCLUDED(mutex_);
  // nullptr when the connection is gone.
  std::shared_ptr<const Caller> Find(const std::string& connection) const
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<const Caller>> callers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_CALLER_H_

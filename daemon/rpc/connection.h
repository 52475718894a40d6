// Two ends of a connection that the front makes or meets: whom a client's socket belongs to, and
// the socket pair that leads to gRPC. Any thread.
#ifndef VMQD_DAEMON_RPC_CONNECTION_H_
#define VMQD_DAEMON_RPC_CONNECTION_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/rpc/caller.h"
#include "daemon/rpc/descriptor.h"

namespace vmqd::rpc {

// Who has connected, as far as the socket tells.
struct Visitor {
  Caller caller;         // of a unix socket complete; of TCP without names and role
  std::string peer_key;  // who shares limits: "user 1000", "192.0.2.7", "2001:db8:1:2::/64"
};
// Absent when the client has gone again. Sets the options of a TCP connection.
std::optional<Visitor> VisitorAt(const Descriptor& client, Listener listener);

// A connected pair. `name` is what ServerContext::peer() says of calls that come through `theirs`.
struct NamedEnds {
  Descriptor ours;
  Descriptor theirs;
  std::string name;
};
absl::StatusOr<NamedEnds> NamedPair();

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_CONNECTION_H_

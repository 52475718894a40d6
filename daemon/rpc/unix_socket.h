// The socket file of a unix listener, before and after it is bound (listening.h). Called by
// RpcServer on the main thread, at start and reload.
#ifndef VMQD_DAEMON_RPC_UNIX_SOCKET_H_
#define VMQD_DAEMON_RPC_UNIX_SOCKET_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd::rpc {

// Makes `path` free to bind: creates its directory where only that is missing, and removes a socket
// that nobody listens on. FAILED_PRECONDITION, nothing touched, when the path is something other
// than a socket, or another daemon answers there.
absl::Status ClearSocketPath(const std::string& path);

// Gives the socket at `path` to `group` and then sets `mode`. NOT_FOUND when there is no such
// group; the socket then keeps its group, and has `mode` none the less.
absl::Status ShareSocket(const std::string& path, const std::string& group, mode_t mode);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_UNIX_SOCKET_H_

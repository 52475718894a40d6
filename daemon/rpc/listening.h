// The sockets that strangers connect to. Made by the main thread, accepted from by the front's.
#ifndef VMQD_DAEMON_RPC_LISTENING_H_
#define VMQD_DAEMON_RPC_LISTENING_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "daemon/rpc/descriptor.h"

namespace vmqd::rpc {

// Listens at `path` for the process's own user alone; ShareSocket says who else. See
// ClearSocketPath for what is refused.
absl::StatusOr<Descriptor> ListenUnix(const std::string& path);

// Listens at "192.0.2.1:9443" or "[::1]:9443"; numbers only. With "[::]" also for IPv4.
absl::StatusOr<Descriptor> ListenTcp(const std::string& address);
int PortOf(const Descriptor& listener);  // 0 for a unix socket

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_LISTENING_H_

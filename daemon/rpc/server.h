// RpcServer: listens for gRPC on a unix socket or a TCP address and serves the API, reflection and
// the standard health service. Made, asked and shut down by main.cc on the main thread; the calls
// run on gRPC's own threads, whose number is bounded.
#ifndef VMQD_DAEMON_RPC_SERVER_H_
#define VMQD_DAEMON_RPC_SERVER_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/control/switch.h"

namespace grpc {
class Server;
}

namespace vmqd::rpc {

class VmqdService;

class RpcServer {
 public:
  struct Options {
    mode_t socket_mode = 0660;
    std::string socket_group = "vmqd";
  };

  // `address` is "unix:/path" or "host:port"; port 0 picks one, see port(). `sw` must outlive the
  // server. Changes the process's umask for the moment of binding, so call it before other threads
  // create files. Refuses a path that is no socket or on which somebody answers, and a TCP port
  // that is taken.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const std::string& address, Switch& sw,
                                                          const Options& options);

  // Shuts down within a second if that has not been done.
  ~RpcServer();

  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Takes no more calls, lets those under way finish until `patience` is over, then cancels what
  // waits on the network; a call inside Switch is waited for. The socket file is gone afterwards.
  void Shutdown(std::chrono::milliseconds patience);

  // What the operator should know although the server runs; sentences for the log.
  const std::vector<std::string>& warnings() const { return warnings_; }
  int port() const { return port_; }  // 0 or 1 for a unix socket

 private:
  explicit RpcServer(Switch& sw);
  absl::Status Listen(const std::string& address);

  std::unique_ptr<VmqdService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> warnings_;
  int port_ = 0;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_SERVER_H_

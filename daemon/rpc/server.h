// RpcServer: the API on its public sockets: the control socket, the monitor socket and, where it is
// configured, TCP. It puts together who is let in (front.h), who may what (access.h) and gRPC.
// Made, asked, reloaded and shut down by main.cc on the main thread; the calls run on gRPC's own
// threads, whose number is bounded.
#ifndef VMQD_DAEMON_RPC_SERVER_H_
#define VMQD_DAEMON_RPC_SERVER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/rpc/access.h"
#include "daemon/rpc/caller.h"
#include "daemon/rpc/front.h"
#include "daemon/rpc/grpc_end.h"
#include "grpcpp/impl/service_type.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd::rpc {

inline constexpr char kDefaultSocket[] = "/run/vmqd/vmqd.sock";

// The path in "unix:/run/x" or "unix:///run/x", for settings.control.path. INVALID_ARGUMENT for
// anything else: TCP has its own setting, because it needs certificates.
absl::StatusOr<std::string> ControlPath(const std::string& address);

class RpcServer {
 public:
  // Makes the service; the Access outlives it. All its methods are synchronous ones.
  using MakeService = std::function<std::unique_ptr<grpc::Service>(Access&)>;

  // Listens on settings.control, .monitor and .tcp, within settings.limits. What is left out has
  // its default; a monitor or tcp that is left out is not listened on. Refuses a path that is no
  // socket or on which somebody answers, a TCP address that is taken, and certificates that will
  // not do. Who connects waits for Serve: so what can be refused is refused before a frame is
  // touched.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Listen(const v1::DaemonSettings& settings);

  // Once. What the service refers to must stay until Shutdown.
  absl::Status Serve(const MakeService& make_service);

  // Shuts down within a second if that has not been done.
  ~RpcServer();

  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Takes group and mode of the sockets, certificates, roles and limits from `settings`, and reads
  // the files they name again. TCP connections are closed; their clients come again. On error
  // nothing changed. Paths and addresses stay what they were.
  absl::Status Reload(const v1::DaemonSettings& settings);

  // Tells NOT_SERVING, takes no more calls, lets those under way finish until `patience` is over,
  // then cancels what waits on the network; a call inside Switch is waited for. The socket files
  // are gone afterwards.
  void Shutdown(std::chrono::milliseconds patience);

  // What the operator should know although the server runs, as of the start or the last Reload;
  // sentences for the log.
  const std::vector<std::string>& warnings() const { return warnings_; }
  int port() const { return port_; }  // of the TCP listener; 0: none

 private:
  // The file of a unix listener; removed if it is still the one we made.
  struct SocketFile {
    std::string path;
    dev_t device = 0;
    ino_t inode = 0;
  };
  RpcServer() = default;
  absl::Status ListenTo(const v1::DaemonSettings& settings);
  absl::Status StartGrpc(const MakeService& make_service);
  absl::Status ListenUnixAt(const v1::UnixListener& unix_listener, Listener listener);
  absl::Status ShareSockets(const v1::DaemonSettings& settings);
  absl::StatusOr<Front::Rules> RulesOf(const v1::DaemonSettings& settings);
  void HandOver(const Caller& caller, Descriptor end);

  Callers callers_;
  RoleAccess access_{callers_};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::CallbackGenericService> stranger_service_;
  // For each listener, and for those from TCP who have no role; absent where there is no such
  // listener.
  std::unique_ptr<GrpcEnd> control_;
  std::unique_ptr<GrpcEnd> monitor_;
  std::unique_ptr<GrpcEnd> remote_;
  std::unique_ptr<GrpcEnd> stranger_;
  std::unique_ptr<Front> front_;
  v1::DaemonSettings settings_;  // until Serve, with rules_ and doors_
  Front::Rules rules_;
  std::vector<Front::Door> doors_;
  std::vector<SocketFile> files_;
  std::string control_path_;
  std::string monitor_path_;  // empty: none
  std::vector<std::string> warnings_;
  int port_ = 0;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_SERVER_H_

// One netlink conversation with the kernel: send a request, hear every answer, learn how it ended,
// with the kernel's own words (extended acknowledgement) where it gave any. Used by the link_*.cc
// files and napi.cc.
//
// libnl's message building and parsing is used, its error codes are not: they fold several errnos
// into one and lose the extended acknowledgement. A socket belongs to the network namespace of the
// thread that opened it and is used by one thread.
#ifndef VMQD_DAEMON_XDP_NETLINK_SOCKET_H_
#define VMQD_DAEMON_XDP_NETLINK_SOCKET_H_

#include <netlink/msg.h>
#include <netlink/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

// How the kernel answered a request.
struct KernelAnswer {
  int error = 0;     // errno; 0: done
  std::string text;  // its explanation, often empty
  bool ok() const { return error == 0; }
};

// "<attempted>: <errno in words> (<the kernel's explanation>); <cure>". ENODEV is kNotFound. `cure`
// may be empty; a missing privilege and a missing device have cures of their own.
absl::Status KernelRefusal(const KernelAnswer& answer, const std::string& attempted,
                           std::string cure = "");

struct NetlinkMessageDeleter {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using NetlinkMessage = std::unique_ptr<nl_msg, NetlinkMessageDeleter>;

class NetlinkSocket {
 public:
  // `protocol`: NETLINK_ROUTE, NETLINK_GENERIC.
  static absl::StatusOr<NetlinkSocket> Open(int protocol);

  // Sends `message` and calls `on_reply` for every answer until the request is acknowledged, the
  // dump is complete, or the kernel refuses. Blocking.
  KernelAnswer Transact(nl_msg* message, const std::function<void(nlmsghdr*)>& on_reply = nullptr);

  nl_sock* get() { return socket_.get(); }
  int descriptor() const { return nl_socket_get_fd(socket_.get()); }

 private:
  struct Deleter {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
  };
  explicit NetlinkSocket(nl_sock* socket) : socket_(socket) {}
  std::unique_ptr<nl_sock, Deleter> socket_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NETLINK_SOCKET_H_

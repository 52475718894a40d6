// The kernel's netdev generic netlink family: requests about queues and NAPI instances. The numbers
// are the kernel's (Documentation/netlink/specs/netdev.yaml), which the headers of older
// distributions lack. Used by napi.cc and napi_delay.cc; control threads.
#ifndef VMQD_DAEMON_XDP_NETDEV_FAMILY_H_
#define VMQD_DAEMON_XDP_NETDEV_FAMILY_H_

#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/xdp/netlink_socket.h"

namespace vmqd {

class NetdevFamily {
 public:
  static constexpr uint8_t kQueueGet = 10;  // Linux 6.8, as the next
  static constexpr uint8_t kNapiGet = 11;
  static constexpr uint8_t kNapiSet = 14;  // Linux 6.13

  // Nothing on a kernel without it (before Linux 6.3).
  static std::optional<NetdevFamily> Open() {
    auto socket = NetlinkSocket::Open(NETLINK_GENERIC);
    if (!socket.ok()) return std::nullopt;
    const int id = genl_ctrl_resolve(socket->get(), "netdev");
    if (id < 0) return std::nullopt;
    return NetdevFamily(*std::move(socket), id);
  }

  // Sends `command` with what `fill` puts into it; `on_object` gets the attributes 0..max of each
  // answer.
  KernelAnswer Ask(uint8_t command, int flags, const std::function<void(nl_msg*)>& fill, int max,
                   const std::function<void(nlattr**)>& on_object) {
    NetlinkMessage message(nlmsg_alloc());
    if (message == nullptr || genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, id_, 0, flags,
                                          command, /*version=*/1) == nullptr) {
      return {.error = ENOMEM};
    }
    fill(message.get());
    std::vector<nlattr*> attributes(static_cast<size_t>(max) + 1);
    return socket_.Transact(message.get(), [&](nlmsghdr* header) {
      if (genlmsg_parse(header, 0, attributes.data(), max, nullptr) == 0) {
        on_object(attributes.data());
      }
    });
  }

 private:
  NetdevFamily(NetlinkSocket socket, int id) : socket_(std::move(socket)), id_(id) {}
  NetlinkSocket socket_;
  int id_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NETDEV_FAMILY_H_

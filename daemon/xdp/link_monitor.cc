// The thread that hears of device changes (multicast group RTNLGRP_LINK); the contract is in
// link.h.
//
// The socket is joined to the group before Start returns, in the caller's network namespace: a
// change after Start is never missed. Only the thread calls back, one event at a time; the
// destructor waits for a callback under way, so a callback must not destroy the monitor, nor wait
// for a lock that the destroying thread holds.
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/socket.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

constexpr unsigned kLowerUp = 1 << 16;         // IFF_LOWER_UP
constexpr size_t kLargestMessage = 64 * 1024;  // a device with many virtual functions says a lot

std::optional<LinkMonitor::Event> ParseEvent(nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK) return std::nullopt;
  nlattr* attributes[IFLA_MAX + 1];
  if (nlmsg_parse(header, sizeof(ifinfomsg), attributes, IFLA_MAX, nullptr) < 0) {
    return std::nullopt;
  }
  const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(header));
  // A bridge announces its ports in this group too: leaving a bridge is not being deleted. And
  // wireless events have no MTU; they are no change of the device.
  if (info->ifi_family != AF_UNSPEC || attributes[IFLA_MTU] == nullptr) return std::nullopt;
  return LinkMonitor::Event{.ifindex = info->ifi_index,
                            .removed = header->nlmsg_type == RTM_DELLINK,
                            .up = (info->ifi_flags & IFF_UP) != 0,
                            .carrier = (info->ifi_flags & kLowerUp) != 0,
                            .mtu = nla_get_u32(attributes[IFLA_MTU])};
}

class Monitor final : public LinkMonitor {
 public:
  Monitor(NetlinkSocket socket, int stop, std::function<void(const Event&)> on_event)
      : socket_(std::move(socket)), stop_(stop), on_event_(std::move(on_event)) {
    thread_ = std::thread([this] { Run(); });
  }

  ~Monitor() override {
    const uint64_t one = 1;
    while (write(stop_, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    thread_.join();
    close(stop_);
  }

 private:
  void Run() {
    pthread_setname_np(pthread_self(), "link-monitor");
    sigset_t all;  // signals are the main thread's
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    pollfd wait[2] = {{.fd = stop_, .events = POLLIN},
                      {.fd = socket_.descriptor(), .events = POLLIN}};
    while (wait[0].revents == 0) {
      if (poll(wait, 2, -1) < 0) continue;
      if (wait[0].revents == 0 && wait[1].revents != 0) Receive();
    }
  }

  // One message of the kernel's, if there is one, into the buffer. `lost`: one or more are missing.
  struct Received {
    int length = 0;  // 0: nothing to read
    bool lost = false;
  };
  Received ReceiveMessage() {
    sockaddr_nl sender{};
    iovec place{.iov_base = buffer_.data(), .iov_len = buffer_.size()};
    msghdr message{
        .msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &place, .msg_iovlen = 1};
    for (;;) {
      const ssize_t length = recvmsg(socket_.descriptor(), &message, MSG_DONTWAIT);
      if (length < 0) return {.lost = errno == ENOBUFS};
      if (sender.nl_pid == 0) {
        return {.length = static_cast<int>(length), .lost = (message.msg_flags & MSG_TRUNC) != 0};
      }
    }
  }

  void Receive() {
    const Received received = ReceiveMessage();
    if (received.lost) return RecoverFromLoss();
    int left = received.length;
    auto* header = reinterpret_cast<nlmsghdr*>(buffer_.data());
    for (; nlmsg_ok(header, left); header = nlmsg_next(header, &left)) {
      if (auto event = ParseEvent(header)) on_event_(*event);
    }
  }

  // After an overrun the kernel drops every further message, and does not say so again, until the
  // socket has been emptied. Only then is it true that looking at the devices misses nothing.
  void RecoverFromLoss() {
    for (Received received{.lost = true}; received.lost || received.length > 0;) {
      received = ReceiveMessage();
    }
    on_event_(Event{.overrun = true});
  }

  NetlinkSocket socket_;
  const int stop_;  // an eventfd
  const std::function<void(const Event&)> on_event_;
  std::vector<char> buffer_ = std::vector<char>(kLargestMessage);
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LinkMonitor>> LinkMonitor::Start(
    std::function<void(const Event&)> on_event) {
  auto socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return socket.status();
  const int group = RTNLGRP_LINK;
  if (setsockopt(socket->descriptor(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
      0) {
    return KernelRefusal({.error = errno}, "watching devices: joining the rtnetlink link group");
  }
  const int stop = eventfd(0, EFD_CLOEXEC);
  if (stop < 0) return KernelRefusal({.error = errno}, "watching devices: making an eventfd");
  return std::make_unique<Monitor>(*std::move(socket), stop, std::move(on_event));
}

}  // namespace vmqd

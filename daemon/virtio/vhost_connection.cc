// See vhost_connection.h. A message is read in two steps, header and payload, and never a byte
// beyond it: descriptors travel with the bytes they were sent with, so those of the next message
// stay in the kernel until it is that message's turn.
#include "daemon/virtio/vhost_connection.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

// One more than a message may have, so that nine are told apart from a kernel that ran out of room.
constexpr uint32_t kControlFds = VhostMessage::kMaxFds + 1;

absl::Status Gone(const std::string& why) {
  return absl::UnavailableError(absl::StrCat("the front end has gone: ", why));
}

}  // namespace

absl::Status VhostConnection::TakeFds(const msghdr& received) {
  std::vector<UniqueFd> surplus;
  auto* header = const_cast<msghdr*>(&received);
  for (cmsghdr* part = CMSG_FIRSTHDR(header); part != nullptr; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      if (message_.fd_count < VhostMessage::kMaxFds) {
        message_.fds[message_.fd_count++].Reset(fd);
      } else {
        surplus.emplace_back(fd);
      }
    }
  }
  if (surplus.empty() && (received.msg_flags & MSG_CTRUNC) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a message with more than ", VhostMessage::kMaxFds,
                                                 " file descriptors, or ",
                                                 "with some that could not be opened here"));
}

absl::StatusOr<uint32_t> VhostConnection::Receive(uint8_t* to, uint32_t size) {
  iovec piece = {to, size};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kControlFds * sizeof(int))> control{};
  msghdr received{};
  received.msg_iov = &piece;
  received.msg_iovlen = 1;
  received.msg_control = control.data();
  received.msg_controllen = control.size();
  ssize_t got = -1;
  do {
    got = recvmsg(socket_.get(), &received, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
  if (got < 0) return Gone(std::generic_category().message(errno));
  if (auto status = TakeFds(received); !status.ok()) return status;
  if (got == 0) return Gone(have_ == 0 ? "it closed the connection" : "in the middle of a message");
  return static_cast<uint32_t>(got);
}

absl::StatusOr<std::optional<VhostMessage>> VhostConnection::Read() {
  constexpr uint32_t kHeader = sizeof(VhostHeader);
  while (true) {
    const bool in_header = have_ < kHeader;
    const uint32_t end = in_header ? kHeader : kHeader + message_.header.size;
    uint8_t* to = in_header ? reinterpret_cast<uint8_t*>(&message_.header) + have_
                            : message_.payload.data() + (have_ - kHeader);
    auto got = Receive(to, end - have_);
    if (!got.ok()) return got.status();
    if (*got == 0) return std::nullopt;
    if (have_ == 0) began_ = Clock::now();
    have_ += *got;
    if (have_ < end) continue;
    if (in_header) {
      if (auto status = CheckVhostHeader(message_.header); !status.ok()) return status;
      if (message_.header.size > 0) continue;
    }
    if (auto status = CheckVhostMessage(message_); !status.ok()) return status;
    have_ = 0;
    return std::exchange(message_, VhostMessage());
  }
}

absl::Status VhostConnection::Write(const VhostMessage& message) {
  output_.assign(reinterpret_cast<const char*>(&message.header), sizeof(message.header));
  output_.append(reinterpret_cast<const char*>(message.payload.data()), message.header.size);
  output_began_ = Clock::now();
  return Flush();
}

absl::Status VhostConnection::Flush() {
  while (!output_.empty()) {
    const ssize_t sent =
        send(socket_.get(), output_.data(), output_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      output_.erase(0, static_cast<size_t>(sent));
    } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      break;
    } else if (sent < 0 && errno != EINTR) {
      return Gone(std::generic_category().message(errno));
    }
  }
  return absl::OkStatus();
}

std::optional<VhostConnection::Clock::time_point> VhostConnection::waiting_since() const {
  if (pending() && have_ > 0) return std::min(began_, output_began_);
  if (pending()) return output_began_;
  if (have_ > 0) return began_;
  return std::nullopt;
}

bool VhostConnection::HungUp() const {
  pollfd far_end = {socket_.get(), POLLRDHUP, 0};
  return poll(&far_end, 1, 0) > 0 && (far_end.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace vmqd

// See vhost_port.h.
#include "daemon/virtio/vhost_port.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd {

VhostPort::VhostPort(uint64_t id, std::string socket, VhostRole role, const VhostOptions& options,
                     VhostDeviceOwner& owner, const VhostSocketDirectory& directory,
                     VhostPoll& poll)
    : id_(id),
      socket_(std::move(socket)),
      role_(role),
      directory_(directory),
      poll_(poll),
      device_(options, owner) {}

VhostPort::~VhostPort() {
  Close("", Clock::now());
  if (!listener_.has_value()) return;
  poll_.Remove(listener_key_, listener_->socket.get());
  directory_.Unlink(socket_, *listener_);
}

absl::Status VhostPort::Open(Clock::time_point now) {
  if (role_ == VhostRole::kVmmListens) {
    Connect(now);
    return absl::OkStatus();
  }
  auto listener = directory_.Listen(socket_);
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  listener_key_ = poll_.Add(id_, listener_->socket.get());
  return absl::OkStatus();
}

void VhostPort::Ready(uint64_t key, Clock::time_point now) {
  if (key == listener_key_) {
    Accept(now);
  } else if (connection_ != nullptr && key == connection_key_) {
    Read(now);
  }
}

// One connection a port. A second one is taken only if the first is dead and we had not noticed
// yet, as when a VMM was killed and started again; else it is the second that is closed, so that
// nobody takes a running guest's port away.
void VhostPort::Accept(Clock::time_point now) {
  if (now - second_began_ >= std::chrono::seconds(1)) {
    second_began_ = now;
    accepts_ = 0;
  }
  if (accepts_ >= kAcceptsPerSecond) {
    PauseListener(second_began_ + std::chrono::seconds(1));
    return;
  }
  UniqueFd socket(accept4(listener_->socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) {
    // Without descriptors or memory the listener stays readable: ask again later, not at once.
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      PauseListener(now + kLastRetry);
    }
    return;
  }
  ++accepts_;
  if (connection_ != nullptr && connection_->HungUp()) Close("", now);
  if (connection_ != nullptr) {
    device_.CountRefused();
    return;
  }
  Serve(std::move(socket));
}

void VhostPort::PauseListener(Clock::time_point until) {
  listener_paused_until_ = until;
  poll_.Watch(listener_key_, listener_->socket.get(), 0);
}

void VhostPort::Connect(Clock::time_point now) {
  auto socket = directory_.Connect(socket_);
  if (socket.ok()) {
    connect_at_.reset();
    Serve(*std::move(socket));
    return;
  }
  connect_at_ = now + retry_;
  retry_ = std::min(2 * retry_, kLastRetry);
}

void VhostPort::Serve(UniqueFd socket) {
  connection_ = std::make_unique<VhostConnection>(std::move(socket));
  connection_key_ = poll_.Add(id_, connection_->fd());
  device_.Connect();
}

void VhostPort::Close(const std::string& fault, Clock::time_point now) {
  if (connection_ == nullptr) return;
  poll_.Remove(connection_key_, connection_->fd());
  device_.Disconnect(fault);
  connection_.reset();
  if (role_ != VhostRole::kVmmListens) return;
  // A front end that breaks the protocol will do so again.
  if (!fault.empty()) retry_ = kLastRetry;
  connect_at_ = now + retry_;
  retry_ = std::min(2 * retry_, kLastRetry);
}

void VhostPort::Read(Clock::time_point now) {
  if (connection_->pending()) {
    if (!connection_->Flush().ok()) return Close("", now);
    if (connection_->pending()) {
      if (connection_->HungUp()) Close("", now);
      return;
    }
    poll_.Watch(connection_key_, connection_->fd(), EPOLLIN);
  }
  for (uint32_t i = 0; i < kBurst && !connection_->pending(); ++i) {
    auto message = connection_->Read();
    if (absl::IsUnavailable(message.status())) return Close("", now);
    if (!message.ok()) {
      return Close(absl::StrCat("the front end broke the protocol: ", message.status().message()),
                   now);
    }
    if (!message->has_value()) return;
    retry_ = kFirstRetry;
    if (!Answer(**message, now)) return;
  }
}

bool VhostPort::Answer(VhostMessage& message, Clock::time_point now) {
  VhostAnswer answer = device_.Handle(message);
  bool there = true;
  if (answer.reply.has_value()) there = connection_->Write(*answer.reply).ok();
  if (!answer.status.ok()) {
    Close(absl::StrCat("the front end broke the protocol: ", answer.status.message()), now);
    return false;
  }
  if (!there) {
    Close("", now);
    return false;
  }
  // Until it has read the answer, nothing more is read from it.
  if (connection_->pending()) poll_.Watch(connection_key_, connection_->fd(), EPOLLOUT);
  return true;
}

void VhostPort::Tick(Clock::time_point now) {
  if (listener_paused_until_.has_value() && *listener_paused_until_ <= now) {
    listener_paused_until_.reset();
    poll_.Watch(listener_key_, listener_->socket.get(), EPOLLIN);
  }
  if (connection_ != nullptr) {
    const auto since = connection_->waiting_since();
    if (since.has_value() && *since + kDeadline <= now) {
      Close(absl::StrCat("the front end stopped in the middle of a message for ",
                         kDeadline.count() / 1000, " s"),
            now);
    }
  }
  if (connect_at_.has_value() && *connect_at_ <= now) Connect(now);
}

std::optional<VhostPort::Clock::time_point> VhostPort::Due() const {
  std::optional<Clock::time_point> due = connect_at_;
  const auto by = [&due](std::optional<Clock::time_point> time) {
    if (time.has_value() && (!due.has_value() || *time < *due)) due = time;
  };
  by(listener_paused_until_);
  if (connection_ != nullptr) {
    const auto since = connection_->waiting_since();
    if (since.has_value()) by(*since + kDeadline);
  }
  return due;
}

}  // namespace vmqd

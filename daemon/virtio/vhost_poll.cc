// See vhost_poll.h.
#include "daemon/virtio/vhost_poll.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

constexpr uint64_t kWake = 0;

// Milliseconds for epoll, rounded up: waking early would be waking twice.
int Timeout(std::optional<VhostPoll::Clock::time_point> until) {
  if (!until.has_value()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - VhostPoll::Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
}

}  // namespace

absl::StatusOr<VhostPoll> VhostPoll::Create() {
  VhostPoll poll;
  poll.epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  poll.wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWake;
  if (!poll.epoll_ || !poll.wake_ ||
      epoll_ctl(poll.epoll_.get(), EPOLL_CTL_ADD, poll.wake_.get(), &event) != 0) {
    return absl::Status(absl::ErrnoToStatusCode(errno),
                        absl::StrCat("making what the vhost-user thread waits on: ",
                                     std::generic_category().message(errno)));
  }
  return poll;
}

uint64_t VhostPoll::Add(uint64_t port, int fd) {
  const uint64_t key = next_key_++;
  ports_[key] = port;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = key;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  return key;
}

void VhostPoll::Watch(uint64_t key, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void VhostPoll::Remove(uint64_t key, int fd) {
  ports_.erase(key);
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

std::optional<uint64_t> VhostPoll::PortOf(uint64_t key) const {
  const auto found = ports_.find(key);
  if (found == ports_.end()) return std::nullopt;
  return found->second;
}

const std::vector<uint64_t>& VhostPoll::Wait(std::optional<Clock::time_point> until) {
  std::array<epoll_event, 64> events;
  const int count =
      epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), Timeout(until));
  ready_.clear();
  for (int i = 0; i < count; ++i) {
    if (events[i].data.u64 != kWake) {
      ready_.push_back(events[i].data.u64);
      continue;
    }
    eventfd_t woken = 0;
    eventfd_read(wake_.get(), &woken);
  }
  return ready_;
}

void VhostPoll::Wake() { eventfd_write(wake_.get(), 1); }

}  // namespace vmqd

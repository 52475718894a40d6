// VhostPoll: the descriptors the vhost thread waits for. Each has a key that is never given twice,
// so that an event of a descriptor that was closed meanwhile, and whose number somebody else has by
// now, belongs to nobody. Called with the server's mutex held, Wait apart.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_POLL_H_
#define VMQD_DAEMON_VIRTIO_VHOST_POLL_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/virtio/unique_fd.h"

namespace vmqd {

class VhostPoll {
 public:
  using Clock = std::chrono::steady_clock;

  static absl::StatusOr<VhostPoll> Create();

  // Watches `fd`, of port `port`, for input; the key. 0 is no key.
  uint64_t Add(uint64_t port, int fd);
  // EPOLLIN, EPOLLOUT or 0 (which still tells of a hang-up).
  void Watch(uint64_t key, int fd, uint32_t events);
  void Remove(uint64_t key, int fd);
  // The port that owns the key, unless it has been removed.
  std::optional<uint64_t> PortOf(uint64_t key) const;

  // Waits, without the mutex, until something is ready, `until` (nothing: for ever), or Wake. What
  // is ready, at most 64 at a time.
  const std::vector<uint64_t>& Wait(std::optional<Clock::time_point> until);
  // Ends the present or the next Wait. Any thread.
  void Wake();

 private:
  VhostPoll() = default;

  UniqueFd epoll_;
  UniqueFd wake_;
  uint64_t next_key_ = 1;
  std::unordered_map<uint64_t, uint64_t> ports_;  // by key
  std::vector<uint64_t> ready_;                   // the thread's
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_POLL_H_

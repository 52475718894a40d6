// VhostConnection: one accepted or connected socket, read and written without ever waiting. Puts
// messages together from the pieces they come in, takes the descriptors that come with them, and
// knows since when it has been waiting for the rest of one. The vhost thread's.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_CONNECTION_H_
#define VMQD_DAEMON_VIRTIO_VHOST_CONNECTION_H_

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/virtio/unique_fd.h"
#include "daemon/virtio/vhost_message.h"

namespace vmqd {

class VhostConnection {
 public:
  using Clock = std::chrono::steady_clock;

  // A stream socket that does not block.
  explicit VhostConnection(UniqueFd socket) : socket_(std::move(socket)) {}

  // The next message, checked by CheckVhostMessage; nothing while it is not whole. kUnavailable
  // when the front end has gone, kInvalidArgument, in words, when it sent what the specification
  // forbids (every descriptor that came has been closed).
  absl::StatusOr<std::optional<VhostMessage>> Read();

  // Sends a message without descriptors, now or, if the front end does not read, later by Flush.
  // To be called only while nothing is pending().
  absl::Status Write(const VhostMessage& message);
  absl::Status Flush();
  bool pending() const { return !output_.empty(); }

  // Since when half a message has been lying here, or half an answer has not been read.
  std::optional<Clock::time_point> waiting_since() const;
  // Whether the far end has closed.
  bool HungUp() const;
  int fd() const { return socket_.get(); }

 private:
  // Reads up to `size` bytes and what descriptors come along; 0: none for now.
  absl::StatusOr<uint32_t> Receive(uint8_t* to, uint32_t size);
  absl::Status TakeFds(const msghdr& received);

  UniqueFd socket_;
  VhostMessage message_;  // being put together
  uint32_t have_ = 0;     // bytes of header and payload
  Clock::time_point began_;
  std::string output_;  // not sent yet
  Clock::time_point output_began_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_CONNECTION_H_

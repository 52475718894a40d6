// VhostPort: one port of the VhostServer: its device, its listening socket or the connection it
// tries to get, and when it has to be looked at next. Has no lock and no thread: the server calls
// it with its mutex held.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_PORT_H_
#define VMQD_DAEMON_VIRTIO_VHOST_PORT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "daemon/virtio/vhost_connection.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_poll.h"
#include "daemon/virtio/vhost_role.h"
#include "daemon/virtio/vhost_socket.h"

namespace vmqd {

class VhostPort {
 public:
  using Clock = VhostConnection::Clock;

  // A front end that sent or took half a message and then nothing is closed after this.
  static constexpr std::chrono::milliseconds kDeadline{2000};
  // More connections in a second wait in the socket's backlog.
  static constexpr uint32_t kAcceptsPerSecond = 50;
  // Messages handled before it is other ports' turn.
  static constexpr uint32_t kBurst = 16;
  // When a VMM listens: the pause between two attempts grows from the one to the other.
  static constexpr std::chrono::milliseconds kFirstRetry{200};
  static constexpr std::chrono::milliseconds kLastRetry{1000};

  // All of these outlive it.
  VhostPort(uint64_t id, std::string socket, VhostRole role, const VhostOptions& options,
            VhostDeviceOwner& owner, const VhostSocketDirectory& directory, VhostPoll& poll);
  ~VhostPort();
  VhostPort(const VhostPort&) = delete;
  VhostPort& operator=(const VhostPort&) = delete;

  // Listens, or tries to connect for the first time.
  absl::Status Open(Clock::time_point now);
  // What is ready at the descriptor that VhostPoll knows as `key`.
  void Ready(uint64_t key, Clock::time_point now);
  // What is due by now.
  void Tick(Clock::time_point now);
  // When to call Tick; nothing: not before something else happens.
  std::optional<Clock::time_point> Due() const;
  // Ends the connection, with a fault if it is our doing.
  void Close(const std::string& fault, Clock::time_point now);

  uint64_t id() const { return id_; }
  const std::string& socket() const { return socket_; }
  VhostDevice& device() { return device_; }

 private:
  void Accept(Clock::time_point now);
  void Connect(Clock::time_point now);
  void Serve(UniqueFd socket);
  void Read(Clock::time_point now);
  void PauseListener(Clock::time_point until);
  // False when the front end has gone.
  bool Answer(VhostMessage& message, Clock::time_point now);

  const uint64_t id_;
  const std::string socket_;
  const VhostRole role_;
  const VhostSocketDirectory& directory_;
  VhostPoll& poll_;
  VhostDevice device_;

  std::optional<VhostListener> listener_;
  uint64_t listener_key_ = 0;
  std::optional<Clock::time_point> listener_paused_until_;
  Clock::time_point second_began_;  // accepts are counted from here
  uint32_t accepts_ = 0;

  std::unique_ptr<VhostConnection> connection_;
  uint64_t connection_key_ = 0;
  std::optional<Clock::time_point> connect_at_;
  std::chrono::milliseconds retry_ = kFirstRetry;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_PORT_H_

// VhostServer: the one thread that speaks vhost-user with every front end: listens or connects,
// reads messages without ever waiting for one, and closes what is silent in the middle of a
// message, sends what the specification forbids, or comes too often. It moves no frames.
//
// Public methods: any thread. They take the server's mutex, which the thread holds while it handles
// one message. An owner's StopQueue is called with it held.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_SERVER_H_
#define VMQD_DAEMON_VIRTIO_VHOST_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_role.h"

namespace vmqd {

class VhostServer {
 public:
  struct Options {
    std::string
        directory;  // of all sockets; made if it is not there: 0770 with the group, 0755 without
    std::string group;     // of sockets we listen on; empty: as the process
    uint32_t mode = 0660;  // of sockets we listen on
  };
  // Installs the SIGBUS guard and starts the thread.
  static absl::StatusOr<std::unique_ptr<VhostServer>> Create(const Options& options);
  ~VhostServer();  // every device has been removed

  // `socket` is a name under the directory: 1-63 characters of A-Z a-z 0-9 . _ -, not starting with
  // a dot. A socket file of that name that nobody listens on (an earlier daemon's) is replaced;
  // anything else in its place is refused. `owner` is called until Remove. Errors name the way out.
  absl::Status Add(uint64_t id, const std::string& socket, VhostRole role,
                   const VhostOptions& options, VhostDeviceOwner& owner);
  // Stops its rings, closes the connection, removes the socket file if we listened.
  void Remove(uint64_t id);
  // Closes the connection: a front end that connects again begins anew.
  void Reset(uint64_t id);
  // The rings of the device contradict themselves or a page is gone, `reason` in words: they are
  // stopped; the front end, or the guest's driver, has to start them again. From any thread but a
  // worker's.
  void Fault(uint64_t id, const std::string& reason);

  VhostStatus Status(uint64_t id) const;
  const std::string& directory() const;

 private:
  class Impl;
  explicit VhostServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_SERVER_H_

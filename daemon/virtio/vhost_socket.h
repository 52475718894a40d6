// Sockets of vhost-user ports, by name under one directory: made, found and removed so that neither
// a link nor another file in a socket's place leads anywhere else. Any thread; the file system
// calls are short.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_SOCKET_H_
#define VMQD_DAEMON_VIRTIO_VHOST_SOCKET_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/virtio/unique_fd.h"

namespace vmqd {

// A listening socket and which file it is.
struct VhostListener {
  UniqueFd socket;  // does not block
  dev_t device = 0;
  ino_t inode = 0;
};

class VhostSocketDirectory {
 public:
  // Makes what is missing of `path`, the last directory with mode 0770 and the group, or 0755.
  // `group` (a name, or empty: leave it) and `mode` are those of sockets that are listened on.
  static absl::StatusOr<VhostSocketDirectory> Open(const std::string& path,
                                                   const std::string& group, uint32_t mode);

  // kInvalidArgument unless 1-63 characters of A-Z a-z 0-9 . _ -, not starting with a dot.
  static absl::Status CheckName(const std::string& name);

  // Replaces a socket that nobody listens on; kFailedPrecondition, with the way out, for anything
  // else in its place. At no time does the file have wider permissions than asked for.
  absl::StatusOr<VhostListener> Listen(const std::string& name) const;
  // Removes the file if it is still the one that was bound.
  void Unlink(const std::string& name, const VhostListener& listener) const;
  // A connected socket that does not block. kUnavailable while nobody listens, without waiting.
  absl::StatusOr<UniqueFd> Connect(const std::string& name) const;

  const std::string& path() const { return path_; }

 private:
  absl::Status ClearStale(const std::string& name) const;
  absl::Status SetAccess(int file) const;

  std::string path_;
  UniqueFd directory_;
  gid_t group_ = static_cast<gid_t>(-1);  // -1: leave it
  uint32_t mode_ = 0660;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_SOCKET_H_

// See vhost_socket.h. The directory is held open, and every name is looked up in it: bind and
// connect have no *at form, so they go through /proc/self/fd, which also keeps any directory within
// the 108 bytes of a socket address. A file is opened with O_PATH | O_NOFOLLOW, looked at, and that
// very file is connected to.
#include "daemon/virtio/vhost_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

constexpr int kBacklog = 16;

std::string ErrorText(int error) { return std::generic_category().message(error); }

std::string OpenPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

UniqueFd NewSocket() {
  return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// 0, or the error.
int ConnectTo(int socket, int file) {
  const sockaddr_un address = AddressOf(OpenPath(file));
  return connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0
                                                                                            : errno;
}

}  // namespace

absl::Status VhostSocketDirectory::ClearStale(const std::string& name) const {
  const std::string full = absl::StrCat(path_, "/", name);
  UniqueFd file(openat(directory_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!file && errno == ENOENT) return absl::OkStatus();
  struct stat found {};
  if (!file || fstat(file.get(), &found) != 0) {
    return absl::Status(absl::ErrnoToStatusCode(errno),
                        absl::StrCat("looking at ", full, ": ", ErrorText(errno)));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(full, " is there and is not a socket; remove it, or choose another name"));
  }
  const UniqueFd probe = NewSocket();
  if (const int error = ConnectTo(probe.get(), file.get()); error != ECONNREFUSED) {
    return absl::FailedPreconditionError(absl::StrCat(
        "somebody listens on ", full, " already",
        error == 0 || error == EAGAIN ? "" : absl::StrCat(", or may do (", ErrorText(error), ")"),
        "; stop it, remove the file, or choose another name"));
  }
  // Only a socket that we, or root before us, may have left.
  if (found.st_uid != geteuid() && found.st_uid != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(full, " belongs to user ", found.st_uid,
                     ", so it is not an earlier daemon's; remove it, or choose another name"));
  }
  struct stat now {};
  if (fstatat(directory_.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0 ||
      now.st_ino != found.st_ino || now.st_dev != found.st_dev) {
    return absl::FailedPreconditionError(
        absl::StrCat(full, " changed while it was looked at; try again"));
  }
  unlinkat(directory_.get(), name.c_str(), 0);
  return absl::OkStatus();
}

absl::Status VhostSocketDirectory::SetAccess(int file) const {
  if (group_ != static_cast<gid_t>(-1) &&
      fchownat(file, "", static_cast<uid_t>(-1), group_, AT_EMPTY_PATH) != 0) {
    return absl::Status(absl::ErrnoToStatusCode(errno),
                        absl::StrCat("giving it to group ", group_, ": ", ErrorText(errno),
                                     "; run the daemon with that supplementary group"));
  }
  if (chmod(OpenPath(file).c_str(), mode_) != 0) {
    return absl::Status(absl::ErrnoToStatusCode(errno),
                        absl::StrCat("setting its mode: ", ErrorText(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<VhostListener> VhostSocketDirectory::Listen(const std::string& name) const {
  if (auto status = CheckName(name); !status.ok()) return status;
  if (auto status = ClearStale(name); !status.ok()) return status;
  const std::string attempted = absl::StrCat("listening on ", path_, "/", name, ": ");
  VhostListener listener;
  listener.socket = NewSocket();
  const sockaddr_un address = AddressOf(absl::StrCat(OpenPath(directory_.get()), "/", name));
  // The file is born with the mode its socket has, here none at all, and nobody can connect before
  // listen: when that happens, group and mode are right.
  if (!listener.socket || fchmod(listener.socket.get(), 0) != 0 ||
      bind(listener.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
          0) {
    return absl::Status(absl::ErrnoToStatusCode(errno), absl::StrCat(attempted, ErrorText(errno)));
  }
  const UniqueFd file(openat(directory_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat bound {};
  if (!file || fstat(file.get(), &bound) != 0 || !S_ISSOCK(bound.st_mode)) {
    return absl::InternalError(absl::StrCat(attempted, "the file vanished as soon as it was made"));
  }
  listener.device = bound.st_dev;
  listener.inode = bound.st_ino;
  absl::Status status = SetAccess(file.get());
  if (status.ok() && listen(listener.socket.get(), kBacklog) != 0) {
    status = absl::Status(absl::ErrnoToStatusCode(errno), ErrorText(errno));
  }
  if (status.ok()) return listener;
  Unlink(name, listener);
  return absl::Status(status.code(), absl::StrCat(attempted, status.message()));
}

void VhostSocketDirectory::Unlink(const std::string& name, const VhostListener& listener) const {
  struct stat found {};
  if (fstatat(directory_.get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0 &&
      found.st_dev == listener.device && found.st_ino == listener.inode) {
    unlinkat(directory_.get(), name.c_str(), 0);
  }
}

absl::StatusOr<UniqueFd> VhostSocketDirectory::Connect(const std::string& name) const {
  if (auto status = CheckName(name); !status.ok()) return status;
  const std::string attempted = absl::StrCat("connecting to ", path_, "/", name, ": ");
  const UniqueFd file(openat(directory_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat found {};
  if (!file || fstat(file.get(), &found) != 0) {
    return absl::UnavailableError(absl::StrCat(attempted, ErrorText(errno)));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::UnavailableError(absl::StrCat(attempted, "it is not a socket"));
  }
  UniqueFd socket = NewSocket();
  if (!socket) return absl::UnavailableError(absl::StrCat(attempted, ErrorText(errno)));
  if (const int error = ConnectTo(socket.get(), file.get()); error != 0) {
    return absl::UnavailableError(absl::StrCat(attempted, ErrorText(error)));
  }
  return socket;
}

}  // namespace vmqd

// See unix_socket.h.
#include "daemon/rpc/unix_socket.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vmqd::rpc {
namespace {

std::string ErrorText(int error) { return std::generic_category().message(error); }

absl::Status CreateDirectoryOf(const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  if (directory.empty()) return absl::OkStatus();
  if (mkdir(directory.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot make the directory ", directory.string(),
      " for the control socket: ", ErrorText(errno), "; make it, or listen elsewhere"));
}

// Whether somebody accepts connections at `address`; a full backlog counts as somebody.
absl::StatusOr<bool> SomebodyAnswers(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return absl::InternalError(absl::StrCat("cannot make a socket: ", ErrorText(errno)));
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int error = errno;
  close(fd);
  if (connected || error == EAGAIN || error == EINPROGRESS) return true;
  if (error == ECONNREFUSED || error == ENOENT) return false;
  return absl::FailedPreconditionError(absl::StrCat("cannot tell whether another vmqd listens on ",
                                                    address.sun_path, ": ", ErrorText(error)));
}

}  // namespace

absl::Status ClearSocketPath(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the path of the control socket, \"", path,
                                                   "\", has ", path.size(), " characters; 1-",
                                                   sizeof(address.sun_path) - 1, " are possible"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (auto status = CreateDirectoryOf(path); !status.ok()) return status;

  struct stat file {};
  if (lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("cannot look at ", path, ": ", ErrorText(errno)));
  }
  if (!S_ISSOCK(file.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " exists and is not a socket; remove it, or listen elsewhere"));
  }
  const auto answered = SomebodyAnswers(address);
  if (!answered.ok()) return answered.status();
  if (*answered) {
    return absl::FailedPreconditionError(absl::StrCat("another process already listens on ", path,
                                                      "; stop it, or listen elsewhere"));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot remove the stale socket ", path, ": ", ErrorText(errno)));
  }
  return absl::OkStatus();
}

absl::Status ShareSocket(const std::string& path, const std::string& group, mode_t mode) {
  std::vector<char> buffer(16384);
  struct group entry {};
  struct group* found = nullptr;
  const int error = getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found);
  // Group first: for no moment is the socket open to the group it had by chance.
  if (found != nullptr && chown(path.c_str(), static_cast<uid_t>(-1), found->gr_gid) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot give ", path, " to group ", group, ": ", ErrorText(errno)));
  }
  if (chmod(path.c_str(), mode) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot set the mode of ", path, ": ", ErrorText(errno)));
  }
  if (found != nullptr) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(
      "there is no group \"", group, "\"",
      error == 0 ? "" : absl::StrCat(" (", ErrorText(error), ")"),
      ", so only this process's own user and group can use ", path, "; groupadd --system ", group));
}

}  // namespace vmqd::rpc

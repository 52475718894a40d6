// The directory itself, and which names may be in it. See vhost_socket.h.
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/virtio/vhost_socket.h"

namespace vmqd {
namespace {

constexpr size_t kLongestName = 63;
constexpr gid_t kNoGroup = static_cast<gid_t>(-1);

std::string ErrorText(int error) { return std::generic_category().message(error); }

absl::StatusOr<gid_t> FindGroup(const std::string& name) {
  std::vector<char> buffer(1 << 16);
  group entry{};
  group* found = nullptr;
  const int error = getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found != nullptr) return found->gr_gid;
  return absl::InvalidArgumentError(
      absl::StrCat("there is no group \"", name, "\" on this machine",
                   error != 0 ? absl::StrCat(" (", ErrorText(error), ")") : "",
                   "; create it, or name another one as the group of vhost-user sockets"));
}

// A directory that is made belongs to the group: a VMM that listens makes its socket in it.
absl::Status MakeDirectories(const std::string& path, gid_t group) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0755) == 0) {
      // Whatever the umask is: VMMs have to reach the sockets. Who is no member of the group cannot
      // give it away; then VMMs can only connect.
      const bool shared = end == std::string::npos && group != kNoGroup &&
                          chown(part.c_str(), static_cast<uid_t>(-1), group) == 0;
      chmod(part.c_str(), shared ? 0770 : 0755);
    } else if (errno != EEXIST) {
      return absl::Status(absl::ErrnoToStatusCode(errno),
                          absl::StrCat("creating the directory of vhost-user sockets, ", part, ": ",
                                       ErrorText(errno)));
    }
    if (end == std::string::npos) return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<VhostSocketDirectory> VhostSocketDirectory::Open(const std::string& path,
                                                                const std::string& group,
                                                                uint32_t mode) {
  VhostSocketDirectory result;
  result.path_ = path;
  result.mode_ = mode & 0777;
  if (path.empty() || path.front() != '/') {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", path, "\" is no directory for vhost-user sockets; name it from the root on"));
  }
  if (!group.empty()) {
    auto id = FindGroup(group);
    if (!id.ok()) return id.status();
    result.group_ = *id;
  }
  if (auto status = MakeDirectories(path, result.group_); !status.ok()) return status;
  result.directory_.Reset(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!result.directory_) {
    return absl::Status(absl::ErrnoToStatusCode(errno),
                        absl::StrCat("opening the directory of vhost-user sockets, ", path, ": ",
                                     ErrorText(errno)));
  }
  return result;
}

absl::Status VhostSocketDirectory::CheckName(const std::string& name) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kLongestName && name.front() != '.' &&
      std::all_of(name.begin(), name.end(), allowed)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name.substr(0, 2 * kLongestName), "\" is no name for a socket: 1 to ",
                   kLongestName, " letters, digits, '.', '_' and '-', not starting with a dot; ",
                   "it is a name under one directory, not a path"));
}

}  // namespace vmqd

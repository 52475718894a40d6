// See event_fd.h. The kind is in the name that /proc gives an anonymous inode, which no file can
// take: the name of a file there begins with a slash.
#include "daemon/virtio/event_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace vmqd {

absl::Status AdoptEventFd(int fd) {
  constexpr std::string_view kEventFd = "anon_inode:[eventfd]";
  std::array<char, 64> name{};
  const std::string link = absl::StrCat("/proc/self/fd/", fd);
  const ssize_t length = readlink(link.c_str(), name.data(), name.size());
  if (length < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("what kind of file its descriptor is cannot be read from ", link, ": ",
                     std::generic_category().message(errno)));
  }
  const std::string_view kind(name.data(), static_cast<size_t>(length));
  if (kind != kEventFd) {
    return absl::InvalidArgumentError(
        absl::StrCat("its file descriptor is \"", std::string(kind), "\", not an eventfd"));
  }
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("its eventfd cannot be made not to block: ",
                                                   std::generic_category().message(errno)));
  }
  return absl::OkStatus();
}

}  // namespace vmqd

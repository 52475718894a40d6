// See namespace.h.
#include "tests/bench/namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vmqd::bench {

std::string Error(const std::string& what) { return "error " + what + ": " + std::strerror(errno); }

bool Enter(const std::string& name) {
  const int fd = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool entered = setns(fd, CLONE_NEWNET) == 0;
  close(fd);
  return entered;
}

}  // namespace vmqd::bench

#include "daemon/xdp/pin.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/xdp/xdp_link.h"

namespace vmqd {
namespace {

absl::Status NotUsable(const std::string& dir, const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat(
      dir, " cannot keep XDP programs over a crash: ", what, "; 'mount -t bpf bpf ", dir,
      "' makes it a bpf file system, a directory on /sys/fs/bpf does as well (tmpfiles.d)"));
}

absl::Status NotAllowed(const std::string& dir, const std::string& attempted, int error) {
  return absl::PermissionDeniedError(
      absl::StrCat(attempted, ": ", std::strerror(error), "; the user that runs vmqd has to own ",
                   dir, " and to be allowed to reach it ('chown', tmpfiles.d)"));
}

// 0, ENOTTY when it is on another file system, or why it cannot be told.
int OnBpfFileSystem(const std::string& dir) {
  struct statfs about {};
  if (statfs(dir.c_str(), &about) != 0) return errno;
  return about.f_type == BPF_FS_MAGIC ? 0 : ENOTTY;
}

bool IsRefusal(int error) { return error == EACCES || error == EPERM; }

}  // namespace

std::string PinPath(std::string_view dir, std::string_view kind, std::string_view id) {
  std::string path = absl::StrCat(std::string(dir), "/", std::string(kind), "-");
  for (const char c : id) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_') {
      path += c;
    } else {
      absl::StrAppend(&path, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return path;
}

absl::Status PreparePinDirectory(const std::string& dir) {
  int error = OnBpfFileSystem(dir);
  if (error == ENOENT) {
    const std::string parent = std::filesystem::path(dir).parent_path();
    if (OnBpfFileSystem(parent) == ENOTTY) {
      return NotUsable(
          dir, absl::StrCat("it is not there, and ", parent, " is not on a bpf file system"));
    }
    error = mkdir(dir.c_str(), 0700) == 0 ? OnBpfFileSystem(dir) : errno;
  }
  if (IsRefusal(error)) return NotAllowed(dir, absl::StrCat("looking at ", dir), error);
  if (error == ENOTTY) return NotUsable(dir, "it is not on a bpf file system");
  if (error != 0) return NotUsable(dir, std::strerror(error));
  if (faccessat(AT_FDCWD, dir.c_str(), R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
    return NotAllowed(dir, absl::StrCat("writing to ", dir), errno);
  }
  return absl::OkStatus();
}

std::vector<std::string> PinnedNames(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename();
    // A dot: a file of the kernel's own, which the root of a bpf file system has.
    if (name.find('.') != name.npos) continue;
    // Counters whose link is gone are what a removal that failed half-way has left.
    if (IsCountersPin(name)) name = LinkPin(name);
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

absl::Status RemovePin(const std::string& pin) {
  auto link = XdpLink::OpenPinned(pin);
  if (link.ok()) link->RemoveWithPin();
  unlink(CountersPin(pin).c_str());
  // What is no link, or cannot be opened, can go all the same.
  if (unlink(pin.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  const int error = errno;
  const std::string attempted = absl::StrCat("removing the pin ", pin);
  if (IsRefusal(error)) return NotAllowed(pin.substr(0, pin.rfind('/')), attempted, error);
  return absl::InternalError(absl::StrCat(attempted, ": ", std::strerror(error)));
}

}  // namespace vmqd

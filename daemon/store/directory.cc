// See directory.h. Every name is taken relative to the open directory, so that a path that comes to
// mean something else while the daemon runs does not matter.
#include "daemon/store/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"

namespace vmqd {
namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr off_t kMaxFileBytes = off_t{1} << 30;  // no state is that large; it is read into memory

std::string ErrorText(int error) { return std::generic_category().message(error); }

absl::Status Unusable(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat("the state directory ", path, " ", why));
}

// A new directory has to be written down in its parent, or a power failure takes it all back.
absl::Status Make(const std::string& path) {
  if (mkdir(path.c_str(), kDirectoryMode) != 0) {
    if (errno == EEXIST) return absl::OkStatus();
    return Unusable(path, absl::StrCat("cannot be made: ", ErrorText(errno),
                                       errno == ENOENT ? "; make the directory above it" : ""));
  }
  const std::filesystem::path parent = std::filesystem::path(path + "/..").lexically_normal();
  const File above(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (above.fd() >= 0 && fsync(above.fd()) == 0) return absl::OkStatus();
  return Unusable(path, absl::StrCat("was made, but not durably: ", ErrorText(errno)));
}

std::string HolderOf(int fd) {
  char text[32];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  if (size <= 0) return "another process";
  return absl::StrCat(
      "process ",
      std::string(absl::StripAsciiWhitespace(std::string(text, static_cast<size_t>(size)))));
}

}  // namespace

File::~File() {
  if (fd_ >= 0) close(fd_);
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

int WriteAt(int fd, size_t place, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(place));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return EIO;
    place += static_cast<size_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

absl::StatusOr<Directory> Directory::Open(const std::string& path) {
  if (path.empty()) return absl::FailedPreconditionError("the state directory has no path");
  if (auto status = Make(path); !status.ok()) return status;
  File file(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.fd() >= 0) return Directory(path, std::move(file));
  return Unusable(path, errno == ENOTDIR
                            ? std::string("is not a directory; name another place for the state")
                            : absl::StrCat("cannot be opened: ", ErrorText(errno)));
}

absl::Status Directory::Failure(std::string_view attempt, const std::string& name, int error,
                                size_t bytes) const {
  const std::string what =
      absl::StrCat("cannot ", std::string(attempt), " ", PathOf(name), ": ", ErrorText(error));
  if (error == ENOSPC || error == EDQUOT) {
    struct statvfs disk {};
    const std::string left =
        fstatvfs(file_.fd(), &disk) == 0
            ? absl::StrCat(" and ", uint64_t{disk.f_bavail} * disk.f_frsize, " are left")
            : "";
    return Refuse(
        absl::StatusCode::kResourceExhausted, "DISK_FULL", "",
        absl::StrCat(what, bytes == 0 ? "" : absl::StrCat("; ", bytes, " bytes are needed"),
                     bytes == 0 ? "" : left, "; make room there and try again"));
  }
  return Refuse(absl::StatusCode::kInternal, "STATE_NOT_WRITTEN", "", what);
}

absl::StatusOr<std::vector<std::string>> Directory::List() const {
  const int fd = openat(file_.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fd < 0 ? nullptr : fdopendir(fd), closedir);
  if (directory == nullptr) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return Unusable(path_, absl::StrCat("cannot be listed: ", ErrorText(error)));
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory.get())) names.emplace_back(entry->d_name);
  if (errno != 0) return Unusable(path_, absl::StrCat("cannot be listed: ", ErrorText(errno)));
  return names;
}

absl::StatusOr<std::string> Directory::Read(const std::string& name) const {
  const File file(openat(file_.fd(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) return Failure("open", name, errno);
  if (info.st_size > kMaxFileBytes) return Failure("read", name, EFBIG);
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got =
        pread(file.fd(), bytes.data() + size, bytes.size() - size, static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failure("read", name, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

absl::StatusOr<File> Directory::OpenToWrite(const std::string& name) const {
  File file(openat(file_.fd(), name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.fd() < 0) return Failure("open", name, errno);
  if (fsync(file.fd()) != 0) return Failure("make durable", name, errno);
  if (auto status = Sync(); !status.ok()) return status;
  return file;
}

// `vmqd --cleanup` is run by root on the directory of a service that is not: what it makes there
// has to be the service's.
void Directory::GiveToOwner(int fd) const {
  struct stat directory {};
  if (geteuid() != 0 || fstat(file_.fd(), &directory) != 0) return;
  [[maybe_unused]] const int done = fchown(fd, directory.st_uid, directory.st_gid);
}

absl::StatusOr<File> Directory::Lock(const std::string& name) const {
  File file(openat(file_.fd(), name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (file.fd() < 0) return Unusable(path_, absl::StrCat("cannot be written: ", ErrorText(errno)));
  GiveToOwner(file.fd());
  if (flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Failure("lock", name, errno);
    return Unusable(path_, absl::StrCat("is used by ", HolderOf(file.fd()),
                                        "; stop that daemon, or use another directory"));
  }
  // Only for the sentence above: without it, e.g. on a full disk, the lock holds none the less.
  const std::string holder = absl::StrCat(getpid(), "\n");
  if (ftruncate(file.fd(), 0) == 0) WriteAt(file.fd(), 0, holder);
  return file;
}

Directory::Written Directory::Write(const std::string& name, std::string_view bytes) const {
  const std::string unfinished = absl::StrCat(name, std::string(kUnfinished));
  Written result{.file =
                     File(openat(file_.fd(), unfinished.c_str(),
                                 O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode))};
  if (result.file.fd() < 0) {
    result.status = Failure("make", unfinished, errno, bytes.size());
    return result;
  }
  GiveToOwner(result.file.fd());
  int error = WriteAt(result.file.fd(), 0, bytes);
  if (error == 0 && fsync(result.file.fd()) != 0) error = errno;
  if (error == 0 && renameat(file_.fd(), unfinished.c_str(), file_.fd(), name.c_str()) != 0) {
    error = errno;
  }
  if (error != 0) {
    result.status = Failure("write", name, error, bytes.size());
    Remove(unfinished);
    return result;
  }
  result.in_place = true;
  result.status = Sync();
  return result;
}

absl::Status Directory::Rename(const std::string& from, const std::string& to) const {
  if (renameat(file_.fd(), from.c_str(), file_.fd(), to.c_str()) != 0) {
    return Failure(absl::StrCat("rename to ", to), from, errno);
  }
  return Sync();
}

void Directory::Remove(const std::string& name) const { unlinkat(file_.fd(), name.c_str(), 0); }

absl::Status Directory::Sync() const {
  if (fsync(file_.fd()) == 0) return absl::OkStatus();
  return Failure("make durable the names in", ".", errno);
}

}  // namespace vmqd

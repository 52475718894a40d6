// The files of one directory: whole ones are written so that they are there entirely or not at all,
// whatever happens. Not thread-safe.
//
// Errors are kResourceExhausted where the disk is full, kFailedPrecondition where the directory
// cannot be used, kInternal otherwise; each names the file, what was attempted and the kernel's
// word.
#ifndef VMQD_DAEMON_STORE_DIRECTORY_H_
#define VMQD_DAEMON_STORE_DIRECTORY_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

// Owns a file descriptor; closes it.
class File {
 public:
  explicit File(int fd = -1) : fd_(fd) {}
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  int fd() const { return fd_; }

 private:
  int fd_;
};

class Directory {
 public:
  // Makes the directory, mode 0700, where only its last component is missing.
  static absl::StatusOr<Directory> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string PathOf(const std::string& name) const { return path_ + "/" + name; }

  absl::StatusOr<std::vector<std::string>> List() const;  // in no order
  absl::StatusOr<std::string> Read(const std::string& name) const;

  // Opens a file to go on writing it; what others wrote to it, and its name, are durable then.
  absl::StatusOr<File> OpenToWrite(const std::string& name) const;

  // Takes the lock that makes this process the only one to use the directory, by a file `name`, for
  // as long as the result lives. kFailedPrecondition: another process has it.
  absl::StatusOr<File> Lock(const std::string& name) const;

  // Puts a file of mode 0600 with these bytes in the place of whatever was `name`; durable when it
  // returns OK. On error `name` is what it was, unless `in_place` came out as true: then it is the
  // new file, of which nobody knows whether it outlives a power failure.
  struct Written {
    File file;  // open for writing
    absl::Status status;
    bool in_place = false;
  };
  Written Write(const std::string& name, std::string_view bytes) const;

  absl::Status Rename(const std::string& from, const std::string& to) const;  // durable
  void Remove(const std::string& name) const;                                 // best effort

  // What failed with `error`, an errno, in words. `bytes`: that were to be written, 0 for none.
  absl::Status Failure(std::string_view attempt, const std::string& name, int error,
                       size_t bytes = 0) const;

 private:
  Directory(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {}
  absl::Status Sync() const;
  void GiveToOwner(int fd) const;

  std::string path_;
  File file_;
};

// The name under which Directory::Write makes a file before it is whole ends so.
inline constexpr std::string_view kUnfinished = ".tmp";

// All of `bytes` at `place` of the file, or an errno.
int WriteAt(int fd, size_t place, std::string_view bytes);

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_DIRECTORY_H_

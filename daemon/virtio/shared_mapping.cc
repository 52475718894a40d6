// Checks before mmap, and mmap; the contract is in shared_mapping.h.
#include "daemon/virtio/shared_mapping.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmqd {

absl::StatusOr<MemoryFile> InspectMemoryFile(int fd, uint64_t offset, uint64_t size,
                                             absl::string_view what) {
  const auto refused = [what](const auto&... why) {
    return absl::InvalidArgumentError(absl::StrCat(what, why...));
  };
  struct stat stat {};
  struct statfs system {};
  if (fstat(fd, &stat) != 0 || fstatfs(fd, &system) != 0) {
    return refused(": its file descriptor cannot be examined: ", std::strerror(errno));
  }
  const bool huge = system.f_type == HUGETLBFS_MAGIC;
  if (!S_ISREG(stat.st_mode) || (!huge && system.f_type != TMPFS_MAGIC)) {
    return refused(
        " is not backed by a memory file; share a memfd or a file of tmpfs or hugetlbfs");
  }
  MemoryFile file;
  file.size = static_cast<uint64_t>(stat.st_size);
  file.page =
      huge ? static_cast<uint64_t>(system.f_bsize) : static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (size == 0) return refused(" has no bytes");
  // In this order nothing can wrap.
  if (offset > file.size || size > file.size - offset) {
    return refused(" of ", size, " bytes at offset ", offset,
                   " reaches beyond the end of its file of ", file.size, " bytes");
  }
  const int seals = fcntl(fd, F_GET_SEALS);
  file.sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
  return file;
}

absl::StatusOr<std::unique_ptr<SharedMapping>> SharedMapping::Map(int fd, const MemoryFile& file,
                                                                  uint64_t offset, uint64_t size,
                                                                  absl::string_view what) {
  const uint64_t before = offset % file.page;
  // A file's size is at most 2^63 - 1, so rounding up to a page does not wrap.
  const uint64_t mapped = (before + size + file.page - 1) / file.page * file.page;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                    static_cast<off_t>(offset - before));
  if (base == MAP_FAILED) {
    const int error = errno;
    const std::string message = absl::StrCat(what, " of ", size, " bytes at offset ", offset,
                                             " cannot be mapped: ", std::strerror(error));
    if (error == ENOMEM || error == EAGAIN) return absl::ResourceExhaustedError(message);
    return absl::InvalidArgumentError(
        absl::StrCat(message, "; its file must be open, and not sealed, for writing"));
  }
  GuardedRange* guard = GuardedRange::Add(base, mapped);
  if (guard == nullptr) {
    munmap(base, mapped);
    return absl::ResourceExhaustedError(absl::StrCat(what, " cannot be guarded: ", kGuardedRanges,
                                                     " are mapped already; remove ports first"));
  }
  madvise(base, mapped, MADV_DONTDUMP);  // a guest's secrets do not belong into our core file
  return std::unique_ptr<SharedMapping>(
      new SharedMapping(base, mapped, static_cast<uint8_t*>(base) + before, guard));
}

SharedMapping::~SharedMapping() {
  // Unmapped last: from here on the addresses can be somebody else's.
  GuardedRange::Remove(guard_);
  munmap(base_, mapped_);
}

}  // namespace vmqd

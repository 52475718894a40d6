// See generation.h.
#include "daemon/store/generation.h"

#include <unistd.h>

#include <cerrno>

#include "daemon/store/state_record.h"

namespace vmqd {

absl::Status Generation::Append(const Directory& directory, uint64_t revision_before,
                                uint64_t revision_after, std::string_view change) {
  std::string bytes = MakeRecord(good_end_, revision_before, change);
  const size_t end = good_end_ + bytes.size();
  bytes += MakeRecord(end, revision_after, "");
  int error = WriteAt(file_.fd(), good_end_, bytes);
  if (error == 0 && fdatasync(file_.fd()) != 0) {
    error = errno;
    final_ = true;
  }
  if (error == 0) {
    good_end_ = end;
    return absl::OkStatus();
  }
  // Also where the file is final: the change was refused, so a restart should not find it.
  if (!CutBack(revision_before)) final_ = true;
  return directory.Failure("write to", name_, error, bytes.size());
}

bool Generation::CutBack(uint64_t revision) {
  const std::string mark = MakeRecord(good_end_, revision, "");
  return WriteAt(file_.fd(), good_end_, mark) == 0 &&
         ftruncate(file_.fd(), static_cast<off_t>(good_end_ + mark.size())) == 0 &&
         fdatasync(file_.fd()) == 0;
}

}  // namespace vmqd

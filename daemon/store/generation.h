// The state file that is being written: one generation, open at its end. Not thread-safe.
#ifndef VMQD_DAEMON_STORE_GENERATION_H_
#define VMQD_DAEMON_STORE_GENERATION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/store/directory.h"

namespace vmqd {

class Generation {
 public:
  Generation() = default;  // not usable
  // `good_end`: where the mark of the end is.
  Generation(File file, std::string name, size_t good_end)
      : file_(std::move(file)), name_(std::move(name)), good_end_(good_end) {}

  // Durable when it returns OK. On error the file says what it said before, and further changes may
  // follow, unless usable() has become false.
  absl::Status Append(const Directory& directory, uint64_t revision_before, uint64_t revision_after,
                      std::string_view change);

  // False after an error that leaves unknown what is on disk. The kernel reports a failed
  // write-back once and then forgets it, so a later fdatasync that succeeds would prove nothing.
  bool usable() const { return file_.fd() >= 0 && !final_; }
  size_t bytes() const { return good_end_; }

 private:
  bool CutBack(uint64_t revision);

  File file_;
  std::string name_;
  size_t good_end_ = 0;
  bool final_ = false;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_GENERATION_H_

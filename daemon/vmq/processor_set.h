// The CPUs that workers are dealt to. A value; no I/O.
#ifndef VMQD_DAEMON_VMQ_PROCESSOR_SET_H_
#define VMQD_DAEMON_VMQ_PROCESSOR_SET_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vmqd {

class ProcessorSet {
 public:
  // `allowed` are the CPUs this process may run on, ascending. More than two: all but CPU 0, which
  // the kernel's own housekeeping prefers; else all.
  static ProcessorSet Default(const std::vector<int>& allowed);

  // `list` as in taskset and cpusets: "1-3,6". InvalidArgument when it is malformed, empty, names a
  // CPU twice, or one that is not in `allowed`; the message says which CPUs would do.
  static absl::StatusOr<ProcessorSet> Parse(std::string_view list, const std::vector<int>& allowed);

  // The CPU of the index-th worker: round-robin over the set.
  int CpuFor(size_t index) const { return cpus_[index % cpus_.size()]; }

  const std::vector<int>& cpus() const { return cpus_; }
  std::string ToString() const;  // "1-3,6"

 private:
  explicit ProcessorSet(std::vector<int> cpus) : cpus_(std::move(cpus)) {}
  std::vector<int> cpus_;  // never empty
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_PROCESSOR_SET_H_

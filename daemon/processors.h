// Processors: which CPUs are the workers', and which are left to all other threads of the daemon.
// Built by main.cc before it starts a thread; main thread.
#ifndef VMQD_DAEMON_PROCESSORS_H_
#define VMQD_DAEMON_PROCESSORS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/switch.h"
#include "daemon/vmq/processor_set.h"

namespace vmqd {

class Processors {
 public:
  // `list` as in the settings; empty: the default for this machine. The CPUs that the process may
  // use now are those it may use later. Threads that are started from here on keep off the workers'
  // CPUs, where there are others; workers pin themselves.
  static absl::StatusOr<Processors> Create(const std::string& list);

  const ProcessorSet& set() const { return set_; }

  // Another set, while workers run: those outside of it move into it at once. On error nothing
  // changed.
  absl::Status Change(const std::string& list, Switch& vm_switch);

 private:
  Processors(std::vector<int> allowed, ProcessorSet set)
      : allowed_(std::move(allowed)), set_(std::move(set)) {}
  std::vector<int> LeftBy(const ProcessorSet& set) const;

  std::vector<int> allowed_;
  ProcessorSet set_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PROCESSORS_H_

// Where threads and interrupts run: reading and setting CPU affinity, so that a worker and the
// kernel's side of its queue share a CPU; and how busy the CPUs are. Control threads; blocking.
//
// The old value is read first, by whoever wants to put it back.
#ifndef VMQD_DAEMON_XDP_AFFINITY_H_
#define VMQD_DAEMON_XDP_AFFINITY_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

// The CPUs the calling thread may run on, ascending; never empty.
std::vector<int> AllowedCpus();

// The CPUs that thread `tid` (0: the calling one; kernel threads too) may run on, ascending.
// kNotFound when there is no such thread.
absl::StatusOr<std::vector<int>> ThreadCpus(pid_t tid);
absl::Status SetThreadCpus(pid_t tid, const std::vector<int>& cpus);
absl::Status PinThread(pid_t tid, int cpu);

// The kernel's CPU list of an interrupt, "0-3". kNotFound when there is no such interrupt.
absl::StatusOr<std::string> IrqCpuList(int irq);
// kFailedPrecondition when the kernel does not let this interrupt be moved.
absl::Status SetIrqCpuList(int irq, std::string_view list);
absl::Status PinIrq(int irq, int cpu);

// -1: not known, or no such CPU.
int NumaNodeOfCpu(int cpu);
// The first hyper-thread of its core; -1: not known.
int CoreOfCpu(int cpu);

// Nanoseconds that each CPU was not idle since the machine started, by its number. Niced processes,
// which give way, do not count, unless this one is niced itself.
std::map<int, uint64_t> BusyTimeOfCpus();

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_AFFINITY_H_

// Runs a function in a child process and stops it at each system call that changes a file system:
// there the child goes on, is told an error, or is killed before the call is made. Every point at
// which a daemon can die or a disk can fail is so reached by its number. By seccomp's user
// notification: needs no root, and the calls that go on are the kernel's own.
#ifndef VMQD_TESTS_UNIT_STORE_SYSCALL_GATE_H_
#define VMQD_TESTS_UNIT_STORE_SYSCALL_GATE_H_

#include <functional>
#include <string>

namespace vmqd {

struct GateVerdict {
  enum class What { kGoOn, kFail, kKill } what = What::kGoOn;
  int error = 0;  // errno, of kFail
};

struct GateResult {
  std::string unavailable;  // why the gate cannot be made here; nothing was run then
  bool killed = false;      // by kKill
  int exit_code = -1;       // of the child, when it ended by itself
  std::string said;         // what the child wrote to the descriptor it was given
};

// `child` gets a descriptor to report to; its result is the child's exit code. `verdict` is asked,
// in the calling process, for call number 1, 2, ...; SYS_fsync and the like say which call it is.
// The calling process has one thread.
GateResult RunBehindGate(const std::function<int(int)>& child,
                         const std::function<GateVerdict(int number, long call)>& verdict);

}  // namespace vmqd

#endif  // VMQD_TESTS_UNIT_STORE_SYSCALL_GATE_H_

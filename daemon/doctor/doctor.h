// What will and will not work on this machine, and on one device, said before anything is changed.
// Nothing is: no device is touched, no program attached, no file written. Whoever calls decides
// whose privileges and whose network namespace count: the daemon's own over the API, the operator's
// with `vmqd --doctor`.
//
// Findings have stable names and a fixed order; README.md lists them. A fact that cannot be learned
// is a finding that says so (kNote): nothing is guessed. Control threads; blocking, some tens of
// milliseconds, most of them for having the kernel check vmqd's programs.
#ifndef VMQD_DAEMON_DOCTOR_DOCTOR_H_
#define VMQD_DAEMON_DOCTOR_DOCTOR_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vmqd {

enum class FindingLevel {
  kOk,       // works
  kNote,     // works, with a difference that the operator should know; or could not be learned
  kProblem,  // will not work, or not as it should
};

struct Finding {
  std::string name;  // kebab-case, once in a diagnosis
  FindingLevel level = FindingLevel::kOk;
  std::string subject;  // "machine", or the device
  std::string seen;     // a clause
  std::string advice;   // what to do; empty when nothing is to be done
};

// What the caller knows better than the kernel says. Defaults fit a machine without a daemon.
struct DoctorOptions {
  std::string bpf_directory = "/sys/fs/bpf/vmqd";
  // CPUs that workers are dealt to, "1-3"; empty: what a daemon would take by default.
  std::string processor_set;
  // Devices of the caller's own uplinks and ports: the programs and sockets on them are its own.
  std::vector<std::string> own_devices;
};

// `device` empty: the machine only. kNotFound when there is no such device in this network
// namespace, kInvalidArgument when no device can have that name.
absl::StatusOr<std::vector<Finding>> Diagnose(const std::string& device,
                                              const DoctorOptions& options = {});

}  // namespace vmqd

#endif  // VMQD_DAEMON_DOCTOR_DOCTOR_H_

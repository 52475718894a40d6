// The parts of a diagnosis, in the order in which they are shown; doctor.cc puts them together.
// Each returns the findings of one subject matter. Contracts as in doctor.h.
#ifndef VMQD_DAEMON_DOCTOR_CHECKS_H_
#define VMQD_DAEMON_DOCTOR_CHECKS_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/doctor/device_facts.h"
#include "daemon/doctor/doctor.h"

namespace vmqd::doctor {

std::vector<Finding> CheckKernel();
std::vector<Finding> CheckPrivileges(const DoctorOptions& options);
std::vector<Finding> CheckProcessors(const DoctorOptions& options);
std::vector<Finding> CheckProcesses();

std::vector<Finding> CheckDevice(const DeviceFacts& device, const DoctorOptions& options);
std::vector<Finding> CheckDeviceXdp(const DeviceFacts& device, const DoctorOptions& options);
std::vector<Finding> CheckDeviceOffloads(const DeviceFacts& device);

// Collects the findings about one subject.
class Report {
 public:
  explicit Report(std::string subject) : subject_(std::move(subject)) {}
  void Ok(std::string name, std::string seen) {
    Add(std::move(name), FindingLevel::kOk, std::move(seen), "");
  }
  void Note(std::string name, std::string seen, std::string advice) {
    Add(std::move(name), FindingLevel::kNote, std::move(seen), std::move(advice));
  }
  void Problem(std::string name, std::string seen, std::string advice) {
    Add(std::move(name), FindingLevel::kProblem, std::move(seen), std::move(advice));
  }
  std::vector<Finding> Take() { return std::move(findings_); }

 private:
  void Add(std::string name, FindingLevel level, std::string seen, std::string advice) {
    findings_.push_back({std::move(name), level, subject_, std::move(seen), std::move(advice)});
  }
  std::string subject_;
  std::vector<Finding> findings_;
};

inline constexpr char kMachine[] = "machine";

// The first line of a file of proc or sysfs, blanks around it removed; nothing where it cannot be
// read.
std::optional<std::string> ReadLine(const std::string& path);

// Whether the calling thread has capability `number` in effect; nothing where /proc does not say.
std::optional<bool> HasCapability(int number);

// "1-3,6" -> {1, 2, 3, 6}; what is not a number is left out.
std::vector<int> ParseCpuList(const std::string& list);

// The CPUs that workers are, or would be, dealt to.
std::vector<int> WorkerCpus(const DoctorOptions& options);

}  // namespace vmqd::doctor

#endif  // VMQD_DAEMON_DOCTOR_CHECKS_H_

// The order of a diagnosis, and the small readers its parts share; the contract is in doctor.h.
#include "daemon/doctor/doctor.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "daemon/doctor/checks.h"
#include "daemon/doctor/device_facts.h"
#include "daemon/vmq/processor_set.h"
#include "daemon/xdp/affinity.h"

namespace vmqd {
namespace doctor {

std::optional<std::string> ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file) return std::nullopt;
  std::getline(file, line);
  if (file.bad()) return std::nullopt;
  return std::string(absl::StripAsciiWhitespace(line));
}

std::optional<bool> HasCapability(int number) {
  std::ifstream file("/proc/thread-self/status");
  std::string key;
  std::string value;
  while (file >> key) {
    if (key == "CapEff:" && file >> value) {
      uint64_t mask = 0;
      if (!absl::SimpleHexAtoi(value, &mask)) return std::nullopt;
      return mask >> number & 1;
    }
    std::getline(file, value);
  }
  return std::nullopt;
}

std::vector<int> ParseCpuList(const std::string& list) {
  std::vector<int> cpus;
  for (const auto part : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    const std::pair<std::string, std::string> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) continue;
    int last = first;
    if (!ends.second.empty() && !absl::SimpleAtoi(ends.second, &last)) continue;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> WorkerCpus(const DoctorOptions& options) {
  if (!options.processor_set.empty()) return ParseCpuList(options.processor_set);
  return ProcessorSet::Default(AllowedCpus()).cpus();
}

}  // namespace doctor

absl::StatusOr<std::vector<Finding>> Diagnose(const std::string& device,
                                              const DoctorOptions& options) {
  std::vector<Finding> findings;
  const auto add = [&findings](std::vector<Finding> more) {
    std::move(more.begin(), more.end(), std::back_inserter(findings));
  };
  // First, so that a name that is wrong costs nothing.
  absl::StatusOr<doctor::DeviceFacts> facts = doctor::DeviceFacts();
  if (!device.empty()) facts = doctor::LearnDevice(device);
  if (!facts.ok()) return facts.status();

  add(doctor::CheckKernel());
  add(doctor::CheckPrivileges(options));
  add(doctor::CheckProcessors(options));
  add(doctor::CheckProcesses());
  if (device.empty()) return findings;
  add(doctor::CheckDevice(*facts, options));
  add(doctor::CheckDeviceXdp(*facts, options));
  add(doctor::CheckDeviceOffloads(*facts));
  return findings;
}

}  // namespace vmqd

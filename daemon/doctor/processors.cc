// Where workers will run, and who else is there: the CPU set, isolated CPUs, SMT siblings,
// irqbalance, another vmqd.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/doctor/checks.h"

namespace vmqd::doctor {
namespace {

constexpr char kCpuDirectory[] = "/sys/devices/system/cpu";

void CheckSet(const std::vector<int>& workers, Report& report) {
  const std::string list = absl::StrJoin(workers, ",");
  if (workers.size() == 1) {
    report.Note("processor-set",
                absl::StrCat("workers share the one CPU ", list, " with everything else there"),
                "give vmqd more CPUs (CPUAffinity=, cpuset, processor_set); queues bring nothing "
                "without them");
  } else {
    report.Ok("processor-set",
              absl::StrCat("workers are dealt to ", workers.size(), " CPUs: ", list));
  }
}

void CheckIsolated(const std::vector<int>& workers, Report& report) {
  const auto list = ReadLine(absl::StrCat(kCpuDirectory, "/isolated"));
  if (!list) {
    report.Note("isolated-cpus", "not known: sysfs does not say", "");
    return;
  }
  std::vector<int> unused = ParseCpuList(*list);
  std::erase_if(unused, [&](int cpu) {
    return std::find(workers.begin(), workers.end(), cpu) != workers.end();
  });
  if (list->empty()) {
    report.Ok("isolated-cpus", "no CPUs are isolated, and none need be");
  } else if (unused.empty()) {
    report.Ok("isolated-cpus", absl::StrCat("CPUs ", *list, " are isolated and for workers"));
  } else {
    report.Note(
        "isolated-cpus",
        absl::StrCat("CPUs ", *list, " are isolated, and workers do not get ",
                     absl::StrJoin(unused, ",")),
        "if they are meant for workers, name them: CPUAffinity= in the unit, processor_set");
  }
}

void CheckSiblings(const std::vector<int>& workers, Report& report) {
  std::map<std::string, std::vector<int>> cores;
  for (const int cpu : workers) {
    const auto siblings =
        ReadLine(absl::StrCat(kCpuDirectory, "/cpu", cpu, "/topology/thread_siblings_list"));
    if (!siblings) {
      report.Note("smt", "not known: sysfs does not say", "");
      return;
    }
    cores[*siblings].push_back(cpu);
  }
  std::vector<std::string> shared;
  for (const auto& [siblings, cpus] : cores) {
    if (cpus.size() > 1) shared.push_back(absl::StrJoin(cpus, "+"));
  }
  if (shared.empty()) {
    report.Ok("smt", "no two of the workers' CPUs share a core");
  } else {
    report.Note(
        "smt",
        absl::StrCat("of the workers' CPUs these share a core: ", absl::StrJoin(shared, ", ")),
        "two busy workers on one core get little more than one alone; leave the siblings "
        "out of processor_set where full speed counts");
  }
}

struct Processes {
  bool all_visible = false;
  std::vector<int> pids;  // of the wanted name, without this process
};

Processes FindProcesses(const std::string& name) {
  Processes found;
  // With hidepid= (ProtectProc=invisible) other users' processes are not there at all.
  found.all_visible = geteuid() == 0 || access("/proc/1/comm", R_OK) == 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    int pid = 0;
    if (!absl::SimpleAtoi(entry->path().filename().string(), &pid) || pid == getpid()) continue;
    if (ReadLine(absl::StrCat("/proc/", pid, "/comm")) == name) found.pids.push_back(pid);
  }
  found.all_visible = found.all_visible && !error && access("/proc/1", F_OK) == 0;
  return found;
}

// A service's control group is visible where its processes are hidden.
bool ServiceRuns(const std::string& service) {
  for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    std::ifstream file(absl::StrCat(mount, "/system.slice/", service, "/cgroup.events"));
    std::string key;
    int value = 0;
    while (file >> key >> value) {
      if (key == "populated") return value == 1;
    }
  }
  return false;
}

void CheckIrqbalance(Report& report) {
  const Processes processes = FindProcesses("irqbalance");
  if (!processes.pids.empty() || ServiceRuns("irqbalance.service")) {
    report.Note("irqbalance", "irqbalance runs and moves interrupts away from their workers",
                "systemctl disable --now irqbalance, or ban the NIC's interrupts in its "
                "configuration (--banirq, --policyscript)");
  } else if (processes.all_visible) {
    report.Ok("irqbalance", "irqbalance does not run");
  } else {
    report.Note("irqbalance", "not known: processes of other users are hidden",
                "systemctl is-active irqbalance; it should not run");
  }
}

// The inode of a process's network namespace; 0 where it may not be asked for.
uint64_t NetworkNamespace(const std::string& process) {
  struct stat info {};
  return stat(absl::StrCat("/proc/", process, "/ns/net").c_str(), &info) == 0 ? info.st_ino : 0;
}

void CheckOtherVmqd(Report& report) {
  const Processes processes = FindProcesses("vmqd");
  const uint64_t here = NetworkNamespace("thread-self");
  std::vector<int> beside;
  for (const int pid : processes.pids) {
    const uint64_t there = NetworkNamespace(absl::StrCat(pid));
    if (there == 0 || there == here) beside.push_back(pid);
  }
  if (!beside.empty()) {
    report.Note("other-vmqd",
                absl::StrCat("another vmqd runs: process ", absl::StrJoin(beside, ", ")),
                "two daemons cannot share a device, a state directory or a bpf directory");
  } else if (processes.all_visible) {
    report.Ok("other-vmqd", "no other vmqd runs in this network namespace");
  } else {
    report.Note("other-vmqd", "not known: processes of other users are hidden",
                "systemctl status vmqd");
  }
}

}  // namespace

std::vector<Finding> CheckProcessors(const DoctorOptions& options) {
  Report report(kMachine);
  const std::vector<int> workers = WorkerCpus(options);
  CheckSet(workers, report);
  CheckIsolated(workers, report);
  CheckSiblings(workers, report);
  return report.Take();
}

std::vector<Finding> CheckProcesses() {
  Report report(kMachine);
  CheckIrqbalance(report);
  CheckOtherVmqd(report);
  return report.Take();
}

}  // namespace vmqd::doctor

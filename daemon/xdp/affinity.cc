// CPU affinity of threads and interrupts; the contract is in the header. /proc/irq and
// /sys/devices/system/cpu are the same in every network namespace.
#include "daemon/xdp/affinity.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vmqd {
namespace {

// Wide enough for the largest CPU count that Linux can be built for (8192).
constexpr int kMostCpus = 8192;
using CpuMask = std::array<cpu_set_t, kMostCpus / CPU_SETSIZE>;

absl::Status Failed(int error, const std::string& attempted, const std::string& cure) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(attempted, ": ", std::generic_category().message(error),
                                   cure.empty() ? "" : "; ", cure));
}

std::string IrqPath(int irq) { return absl::StrCat("/proc/irq/", irq, "/smp_affinity_list"); }

}  // namespace

std::vector<int> AllowedCpus() {
  auto cpus = ThreadCpus(0);
  return cpus.ok() && !cpus->empty() ? *cpus : std::vector<int>{0};
}

absl::StatusOr<std::vector<int>> ThreadCpus(pid_t tid) {
  CpuMask mask{};
  if (sched_getaffinity(tid, sizeof(mask), mask.data()) < 0) {
    return Failed(errno, absl::StrCat("reading the CPUs of thread ", tid), "");
  }
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMostCpus; ++cpu) {
    if (CPU_ISSET_S(cpu, sizeof(mask), mask.data())) cpus.push_back(cpu);
  }
  return cpus;
}

absl::Status SetThreadCpus(pid_t tid, const std::vector<int>& cpus) {
  const std::string attempted =
      absl::StrCat("moving thread ", tid, " to CPU ", absl::StrJoin(cpus, ","));
  CpuMask mask{};
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= kMostCpus) {
      return absl::InvalidArgumentError(absl::StrCat(attempted, ": there is no CPU ", cpu));
    }
    CPU_SET_S(cpu, sizeof(mask), mask.data());
  }
  if (sched_setaffinity(tid, sizeof(mask), mask.data()) == 0) return absl::OkStatus();
  const int error = errno;
  return Failed(error, attempted,
                error == EINVAL
                    ? absl::StrCat("this process may use CPU ", absl::StrJoin(AllowedCpus(), ","))
                    : "");
}

absl::Status PinThread(pid_t tid, int cpu) { return SetThreadCpus(tid, {cpu}); }

absl::StatusOr<std::string> IrqCpuList(int irq) {
  std::ifstream file(IrqPath(irq));
  std::string list;
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("reading the CPUs of interrupt ", irq, ": ", IrqPath(irq),
                     " cannot be opened; /proc/interrupts lists the interrupts in use"));
  }
  if (!std::getline(file, list)) {
    return absl::UnavailableError(
        absl::StrCat("reading the CPUs of interrupt ", irq, ": ", IrqPath(irq), " is empty"));
  }
  return list;
}

absl::Status SetIrqCpuList(int irq, std::string_view list) {
  const std::string attempted =
      absl::StrCat("moving interrupt ", irq, " to CPU ", std::string(list));
  const int fd = open(IrqPath(irq).c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return Failed(errno, attempted, "/proc/interrupts lists the interrupts in use");
  const ssize_t written = write(fd, list.data(), list.size());
  const int error = written < 0 ? errno : 0;
  close(fd);
  if (error == 0) return absl::OkStatus();
  if (error == EIO || error == EPERM) {  // opening would have failed for want of privilege
    return absl::FailedPreconditionError(absl::StrCat(
        attempted, ": the kernel does not let it be moved (managed by its driver, or per CPU)"));
  }
  return Failed(error, attempted, "");
}

absl::Status PinIrq(int irq, int cpu) { return SetIrqCpuList(irq, absl::StrCat(cpu)); }

int NumaNodeOfCpu(int cpu) {
  std::error_code error;
  const std::string directory = absl::StrCat("/sys/devices/system/cpu/cpu", cpu);
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (!name.starts_with("node")) continue;
    int node = -1;
    const auto [rest, bad] = std::from_chars(name.data() + 4, name.data() + name.size(), node);
    if (bad == std::errc() && rest == name.data() + name.size()) return node;
  }
  return -1;
}

int CoreOfCpu(int cpu) {
  // "0,4" or "0-1", ascending.
  std::ifstream file(
      absl::StrCat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
  int first = -1;
  return file >> first ? first : -1;
}

std::map<int, uint64_t> BusyTimeOfCpus() {
  // cpuN user nice system idle iowait irq softirq steal, in ticks; what guests had is in user.
  std::map<int, uint64_t> busy;
  const bool niced = getpriority(PRIO_PROCESS, 0) > 0;
  const auto tick_ns = static_cast<uint64_t>(1'000'000'000 / sysconf(_SC_CLK_TCK));
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line) && line.starts_with("cpu");) {
    std::istringstream fields(line.substr(3));
    if (line[3] == ' ') continue;  // all CPUs together
    int cpu = 0;
    std::array<uint64_t, 8> ticks{};
    fields >> cpu;
    for (uint64_t& field : ticks) fields >> field;
    const uint64_t all = std::accumulate(ticks.begin(), ticks.end(), uint64_t{0});
    busy[cpu] = (all - ticks[3] - ticks[4] - (niced ? 0 : ticks[1])) * tick_ns;
  }
  return busy;
}

}  // namespace vmqd

// What this process may do: capabilities, locked memory, the bpf file system, the tap device,
// writing interrupt affinities.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/control/model.h"
#include "daemon/doctor/checks.h"

namespace vmqd::doctor {
namespace {

constexpr int kCapBpf = 39;  // the headers of a library may be older

void CheckCapabilities(Report& report) {
  const std::vector<std::pair<int, const char*>> needed = {
      {CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {CAP_NET_RAW, "CAP_NET_RAW"}, {kCapBpf, "CAP_BPF"}};
  std::vector<std::string> missing;
  for (const auto& [number, name] : needed) {
    const auto has = HasCapability(number);
    if (!has) {
      report.Note("capabilities", "not known: /proc does not say", "mount /proc");
      return;
    }
    if (*has || (number == kCapBpf && HasCapability(CAP_SYS_ADMIN).value_or(false))) continue;
    missing.push_back(name);
  }
  if (missing.empty()) {
    report.Ok("capabilities", "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF are in effect");
  } else {
    report.Problem("capabilities", absl::StrCat("missing: ", absl::StrJoin(missing, ", ")),
                   "run vmqd as its unit does, or as root");
  }
}

// Every device whose rings the queue's memory serves has it pinned once more: the uplink's queue
// itself, and each port at home there.
void CheckMemlock(Report& report) {
  constexpr uint64_t kMiB = 1 << 20;
  constexpr uint64_t kEach = kDefaultBuffersPerQueue * uint64_t{2048} / kMiB;
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    report.Ok("memlock", "locked memory is not limited");
  } else if (HasCapability(CAP_IPC_LOCK).value_or(false)) {
    report.Ok("memlock", "locked memory is limited, but CAP_IPC_LOCK exempts from it");
  } else {
    const uint64_t fit = limit.rlim_cur / kMiB / kEach;
    const std::string seen =
        absl::StrCat("the limit of ", limit.rlim_cur / kMiB, " MiB holds the buffers of ", fit,
                     " queues or ports of ", kEach, " MiB each");
    const std::string advice = "LimitMEMLOCK=infinity in the unit, ulimit -l unlimited in a shell";
    fit < 2 ? report.Problem("memlock", seen, advice) : report.Note("memlock", seen, advice);
  }
}

// `directory`, or the nearest one above it that exists.
std::string Existing(std::filesystem::path directory) {
  std::error_code error;
  while (!std::filesystem::exists(directory, error) && directory.has_relative_path()) {
    directory = directory.parent_path();
  }
  return directory;
}

void CheckBpfDirectory(const std::string& directory, Report& report) {
  if (directory.empty()) {
    report.Note("bpf-directory", "pinning is switched off: classification ends with the daemon",
                "set bpf_directory");
    return;
  }
  const std::string existing = Existing(directory);
  struct statfs system {};
  if (statfs(existing.c_str(), &system) != 0) {
    report.Note("bpf-directory", absl::StrCat(existing, ": ", std::strerror(errno)),
                "without it classification ends with the daemon");
  } else if (static_cast<uint32_t>(system.f_type) != BPF_FS_MAGIC) {
    report.Note("bpf-directory",
                absl::StrCat(directory,
                             " is not on a bpf file system, so classification ends with "
                             "the daemon"),
                absl::StrCat("mount -t bpf bpf ", directory.starts_with("/sys/fs/bpf")
                                                      ? "/sys/fs/bpf"
                                                      : "at its parent directory"));
  } else if (faccessat(AT_FDCWD, existing.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    report.Note("bpf-directory",
                absl::StrCat(existing, " is on a bpf file system, but not writable"),
                absl::StrCat("as root: mkdir -p ", directory, " && chown vmqd: ", directory));
  } else {
    report.Ok("bpf-directory", absl::StrCat(existing, " is on a bpf file system and writable"));
  }
}

// Whether the kernel has the tun driver now: opening the device would load it.
bool TunIsLoaded() {
  std::ifstream file("/proc/misc");
  if (!file) return true;
  std::string word;
  while (file >> word) {
    if (word == "tun") return true;
  }
  return false;
}

void CheckTun(Report& report) {
  constexpr char kPath[] = "/dev/net/tun";
  const bool allowed = faccessat(AT_FDCWD, kPath, R_OK | W_OK, AT_EACCESS) == 0;
  int error = allowed ? 0 : errno;
  if (allowed && !TunIsLoaded()) {
    report.Note("tap", "/dev/net/tun is there, its driver is not loaded yet", "modprobe tun");
    return;
  }
  if (allowed) {
    const int fd = open(kPath, O_RDWR | O_CLOEXEC);
    error = fd < 0 ? errno : 0;
    if (fd >= 0) close(fd);
  }
  if (error == 0) {
    report.Ok("tap", "tap devices can be made");
  } else {
    report.Problem("tap", absl::StrCat("/dev/net/tun: ", std::strerror(error)),
                   error == ENOENT || error == ENODEV
                       ? "modprobe tun"
                       : "allow the device: DeviceAllow=/dev/net/tun rw in the unit");
  }
}

void CheckIrqAffinity(Report& report) {
  constexpr char kPath[] = "/proc/irq/default_smp_affinity";
  if (access(kPath, F_OK) != 0) {
    report.Note("irq-affinity", "not known: /proc/irq is not visible", "");
  } else if (faccessat(AT_FDCWD, kPath, W_OK, AT_EACCESS) == 0) {
    report.Ok("irq-affinity", "interrupts can be moved to the CPU of their worker");
  } else {
    report.Note("irq-affinity", "interrupts cannot be moved by this user",
                "move each queue's interrupt to its worker's CPU yourself (queue show says where "
                "they are), or run vmqd with User=root");
  }
}

}  // namespace

std::vector<Finding> CheckPrivileges(const DoctorOptions& options) {
  Report report(kMachine);
  CheckCapabilities(report);
  CheckMemlock(report);
  CheckBpfDirectory(options.bpf_directory, report);
  CheckTun(report);
  CheckIrqAffinity(report);
  report.Ok("huge-pages", "none are needed");
  return report.Take();
}

}  // namespace vmqd::doctor

// This process as /proc/self tells; the contract is in families.h.
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "daemon/metrics/families.h"

namespace vmqd::metrics {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void AddOne(Family family, double value, Families& families) {
  family.Add({}, value);
  family.MoveTo(families);
}

}  // namespace

void AddProcess(Families& families) {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    AddOne(
        Family::Counter("process_cpu_seconds_total", "CPU time of the daemon, workers included."),
        Seconds(usage.ru_utime) + Seconds(usage.ru_stime), families);
  }
  uint64_t all = 0;
  uint64_t resident = 0;
  if (std::ifstream("/proc/self/statm") >> all >> resident) {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    AddOne(Family::Gauge("process_resident_memory_bytes", "Memory of the daemon in RAM."),
           static_cast<double>(resident * page), families);
    AddOne(Family::Gauge("process_virtual_memory_bytes", "Address space of the daemon."),
           static_cast<double>(all * page), families);
  }
  std::error_code error;
  std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  if (!error) {
    AddOne(Family::Gauge("process_open_fds", "Open file descriptors."),
           static_cast<double>(std::distance(begin(descriptors), end(descriptors))), families);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    AddOne(Family::Gauge("process_max_fds", "Most file descriptors that may be open."),
           static_cast<double>(limit.rlim_cur), families);
  }
}

}  // namespace vmqd::metrics

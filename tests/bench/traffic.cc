// vmqd_bench_traffic [-c CPU]: what is outside the switch in a benchmark, behind a pipe. It reads
// commands from standard input, one a line, and answers each with one line:
//   sink NAMESPACE DEVICE       a VM: what arrives at DEVICE is counted and dropped       -> ok
//   counts                      -> pkts N octets N first NS last NS (CLOCK_MONOTONIC) sent N at NS
//   reset                       counts start from 0                                       -> ok
//   send NAMESPACE DEVICE FROM TO PORTS FLOWS SIZE RATE PROBE
//                               frames leave DEVICE until stop, as load.h has them; SIZE up to 1514
//                               -> ok
//   stop                                                                                   -> ok
//   flood NAMESPACE DEVICE MAC SIZE WARMUP SECONDS
//                               64 flows of SIZE bytes without FCS for MAC leave DEVICE as fast as
//                               one CPU can send -> pkts N sent N seconds S cpu S (of this process)
//   round_trips                 of probes since the last time: pairs of bucket and count
// All sinks of a process count together, and answer probes. An error is answered with "error
// SENTENCE". The main thread does everything but sending, which is sender.h's, on the same CPU.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/bench/sender.h"

#include "bench.skel.h"  // needs load.h
#include "tests/bench/namespace.h"

namespace {

using vmqd::bench::Enter;
using vmqd::bench::Error;

constexpr uint32_t kReceived = 0, kSent = 1;  // keys of `tallies`
constexpr uint32_t kShortest = 60, kLongest = 1514;
constexpr uint32_t kFlows = 64;  // of a flood

struct Tally {
  uint64_t pkts = 0, octets = 0, first_ns = 0, last_ns = 0;
};

double Seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

class Traffic {
 public:
  explicit Traffic(bench_bpf* programs) : programs_(programs), sender_(programs) {}

  std::string Run(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "sink") return Sink(words);
    if (verb == "flood") return Flood(words);
    if (verb == "send") return Send(words);
    if (verb == "stop") return sender_.Stop();
    if (verb == "reset") return Reset();
    if (verb == "counts") return Counts();
    if (verb == "round_trips") return RoundTrips();
    return "error commands are sink, counts, reset, send, stop, flood and round_trips";
  }

 private:
  int map() const { return bpf_map__fd(programs_->maps.tallies); }

  Tally Read(uint32_t key) const {
    std::vector<Tally> cpus(static_cast<size_t>(libbpf_num_possible_cpus()));
    bpf_map_lookup_elem(map(), &key, cpus.data());
    Tally sum;
    for (const Tally& cpu : cpus) {
      sum.pkts += cpu.pkts;
      sum.octets += cpu.octets;
      if (cpu.first_ns != 0 && (sum.first_ns == 0 || cpu.first_ns < sum.first_ns)) {
        sum.first_ns = cpu.first_ns;
      }
      sum.last_ns = std::max(sum.last_ns, cpu.last_ns);
    }
    return sum;
  }

  std::string Counts() const {
    const Tally got = Read(kReceived);
    const uint64_t sent = Read(kSent).pkts;
    const auto now = static_cast<uint64_t>(Seconds(CLOCK_MONOTONIC) * 1e9);
    std::ostringstream line;
    line << "pkts " << got.pkts << " octets " << got.octets << " first " << got.first_ns << " last "
         << got.last_ns << " sent " << sent << " at " << now;
    return line.str();
  }

  std::string Reset() {
    const std::vector<Tally> zero(static_cast<size_t>(libbpf_num_possible_cpus()));
    for (const uint32_t key : {kReceived, kSent}) {
      if (bpf_map_update_elem(map(), &key, zero.data(), BPF_ANY) != 0) return Error("reset");
    }
    return "ok";
  }

  std::string Sink(std::istringstream& words) {
    std::string space, device;
    words >> space >> device;
    if (!Enter(space)) return Error("enter " + space);
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(if_nametoindex(device.c_str())),
                .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = bpf_program__fd(programs_->progs.bench_receive),
                .handle = 1, .priority = 1);
    if (hook.ifindex == 0) return Error(device);
    bpf_tc_hook_create(&hook);  // there may be one already; attaching says the rest
    return bpf_tc_attach(&hook, &options) == 0 ? "ok" : Error("attach to " + device);
  }

  std::string RoundTrips() const {
    const int fd = bpf_map__fd(programs_->maps.round_trips);
    const uint64_t none = 0;
    std::string line = "0 0";
    for (uint32_t bucket = 0; bucket < BENCH_BUCKETS; ++bucket) {
      uint64_t count = 0;
      if (bpf_map_lookup_elem(fd, &bucket, &count) != 0 || count == 0) continue;
      bpf_map_update_elem(fd, &bucket, &none, BPF_ANY);
      line += " " + std::to_string(bucket) + " " + std::to_string(count);
    }
    return line;
  }

  std::string Send(std::istringstream& words) {
    std::string space, device;
    bench_load load{};
    if (!(words >> space >> device >> load.from >> load.to >> load.ports >> load.flows >>
          load.size >> load.rate >> load.probe_each) ||
        load.ports == 0 || load.size > kLongest || (load.size != 0 && load.size < kShortest)) {
      return "error send takes NAMESPACE DEVICE FROM TO PORTS FLOWS SIZE RATE PROBE";
    }
    sender_.Start(space, device, load);
    return "ok";
  }

  std::string Flood(std::istringstream& words) {
    std::string space, device, text;
    bench_load load{.from = BENCH_WIRE, .ports = 1, .flows = kFlows};
    double warmup = 0, seconds = 0;
    ether_addr mac{};
    if (!(words >> space >> device >> text >> load.size >> warmup >> seconds) ||
        load.size < kShortest || load.size > kLongest ||
        ether_aton_r(text.c_str(), &mac) == nullptr) {
      return "error flood takes NAMESPACE DEVICE MAC SIZE WARMUP SECONDS, SIZE 60 to 1514";
    }
    load.to = static_cast<uint32_t>(mac.ether_addr_octet[4] << 8 | mac.ether_addr_octet[5]);
    sender_.Start(space, device, load);
    usleep(static_cast<useconds_t>(warmup * 1e6));
    const std::string measured = Measure(seconds), ended = sender_.Stop();
    return ended == "ok" ? measured : ended;
  }

  std::string Measure(double seconds) const {
    const uint64_t pkts = Read(kReceived).pkts, sent = Read(kSent).pkts;
    const double start = Seconds(CLOCK_MONOTONIC), cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID);
    usleep(static_cast<useconds_t>(seconds * 1e6));
    std::ostringstream line;
    line << "pkts " << Read(kReceived).pkts - pkts << " sent " << Read(kSent).pkts - sent
         << " seconds " << Seconds(CLOCK_MONOTONIC) - start << " cpu "
         << Seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return line.str();
  }

  bench_bpf* const programs_;
  vmqd::bench::Sender sender_;
};

}  // namespace

int main(int argc, char** argv) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (argc == 3 && std::strcmp(argv[1], "-c") == 0) {
    CPU_SET(static_cast<size_t>(std::atoi(argv[2])), &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) argc = -1;
  }
  if (argc != 1 && argc != 3) {
    std::fprintf(stderr, "usage: vmqd_bench_traffic [-c CPU], a CPU this process may use\n");
    return 2;
  }
  bench_bpf* const programs = bench_bpf__open_and_load();
  if (programs == nullptr) {
    std::cout << Error("load programs (needs root)") << std::endl;
    return 1;
  }
  Traffic traffic(programs);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << traffic.Run(line) << std::endl;
  }
}

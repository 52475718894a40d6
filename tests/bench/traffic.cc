// vmqd_bench_traffic [-c CPU]: what is outside the switch in a benchmark, behind a pipe. It reads
// commands from standard input, one a line, and answers each with one line:
//   sink NAMESPACE DEVICE       a VM: what arrives at DEVICE is counted and dropped       -> ok
//   counts                      -> pkts N octets N first NS last NS (CLOCK_MONOTONIC) sent N
//   reset                       counts start from 0                                       -> ok
//   flood NAMESPACE DEVICE MAC SIZE WARMUP SECONDS
//                               UDP frames of SIZE bytes without FCS for MAC leave DEVICE as fast
//                               as one CPU can send -> pkts N sent N seconds S cpu S (of this
//                               process)
// All sinks of a process count together. An error is answered with "error SENTENCE". The main
// thread does everything but sending; a flood is a thread of its own, on the same CPU.
//
// The sender is one endless BPF_PROG_TEST_RUN with live frames, ended by a signal: setting a call
// up takes some 20 ms. Frames enter the other end of the veth as XDP frames; no skb is made for
// them.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bench.skel.h"
#include "tests/lab/generator.h"

namespace {

using vmqd::lab::Frame;
using vmqd::lab::Mac;

constexpr uint32_t kReceived = 0, kSent = 1;  // keys of `tallies`

struct Tally {
  uint64_t pkts = 0, octets = 0, first_ns = 0, last_ns = 0;
};

std::string Error(const std::string& what) { return "error " + what + ": " + std::strerror(errno); }

double Seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The calling thread works in `name` from now on.
bool Enter(const std::string& name) {
  const int fd = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool entered = setns(fd, CLONE_NEWNET) == 0;
  close(fd);
  return entered;
}

class Traffic {
 public:
  explicit Traffic(bench_bpf* programs) : programs_(programs) {}

  std::string Run(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "sink") return Sink(words);
    if (verb == "flood") return Flood(words);
    if (verb == "reset") return Reset();
    if (verb == "counts") return Counts();
    return "error commands are sink, counts, reset and flood";
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
    std::ostringstream line;
    line << "pkts " << got.pkts << " octets " << got.octets << " first " << got.first_ns << " last "
         << got.last_ns << " sent " << Read(kSent).pkts;
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

  std::string Flood(std::istringstream& words) {
    std::string space, device, text;
    size_t size = 0;
    double warmup = 0, seconds = 0;
    ether_addr mac{};
    if (!(words >> space >> device >> text >> size >> warmup >> seconds) || size < 60 ||
        size > 1514 || ether_aton_r(text.c_str(), &mac) == nullptr) {
      return "error flood takes NAMESPACE DEVICE MAC SIZE WARMUP SECONDS, SIZE 60 to 1514";
    }
    Mac destination;
    std::copy_n(mac.ether_addr_octet, destination.size(), destination.begin());
    const Frame frame = vmqd::lab::UdpFrame(destination, 0, size);
    std::string error;
    sending_ = true;
    std::thread sender([&] { error = SendUntilTold(space, device, frame); });
    usleep(static_cast<useconds_t>(warmup * 1e6));
    const std::string answer = Measure(seconds);
    sending_ = false;
    // The signal may come between two calls of the sender: until it has ended.
    while (!sender_ended_.exchange(false)) {
      pthread_kill(sender.native_handle(), SIGUSR1);
      usleep(1000);
    }
    sender.join();
    return error.empty() ? answer : error;
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

  // The sending thread.
  std::string SendUntilTold(const std::string& space, const std::string& device,
                            const Frame& frame) {
    std::string error;
    if (!Enter(space)) error = Error("enter " + space);
    xdp_md context{};
    context.data_end = static_cast<uint32_t>(frame.size());
    context.ingress_ifindex = if_nametoindex(device.c_str());
    while (sending_ && error.empty()) {
      LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
                  .data_size_in = static_cast<uint32_t>(frame.size()), .ctx_in = &context,
                  .ctx_size_in = sizeof(context), .repeat = 1 << 30,
                  .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
      const int failed =
          bpf_prog_test_run_opts(bpf_program__fd(programs_->progs.bench_send), &options);
      if (failed != 0 && failed != -EINTR && failed != -EAGAIN) {
        errno = -failed;
        error = Error("send from " + device);
      }
    }
    sender_ended_ = true;
    return error;
  }

  bench_bpf* const programs_;
  std::atomic<bool> sending_{false};
  std::atomic<bool> sender_ended_{false};
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
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};  // without SA_RESTART: it is there to interrupt
  sigaction(SIGUSR1, &ignore, nullptr);
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

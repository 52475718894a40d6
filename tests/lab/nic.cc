// vmqd_lab_nic: a process that is a NIC. It makes a multi-queue tap DEVICE and holds its
// descriptors: a frame written to descriptor q arrives on receive queue q of DEVICE, and what the
// switch sends on queue q comes out of descriptor q. Its own table (destination MAC -> queue, else
// queue 0) chooses the queue, as a NIC's filters do. The cable is a second tap, WIRE; whoever
// starts this program moves WIRE into the namespace that plays the network.
//
// Three threads: the relay carries frames between WIRE and DEVICE; the main thread reads commands
// from standard input, one a line, and answers each with one line on standard output; `send` runs
// on a thread of its own, which may be pinned and, because a NIC does not wait for a CPU,
// real-time.
//   steer MAC QUEUE                      frames for MAC arrive on QUEUE from now on   -> ok
//   send SECONDS RATE SIZE MAC...        UDP frames of SIZE bytes without FCS to the MACs in turn,
//                                        RATE a second in all, 0: as fast as it goes
//                                        -> sent FRAMES refused FRAMES seconds SECONDS cpu SECONDS
//   counts                               -> wire_in N nic_in N... (one a queue)
// An error is answered with "error SENTENCE". End of input ends the program, and with it both taps:
// nothing outlives the test that started it. The table is behind a mutex that `send` takes once.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/lab/generator.h"

namespace {

using vmqd::lab::Load;
using vmqd::lab::Mac;
using vmqd::lab::Send;
using vmqd::lab::UdpFrame;

constexpr size_t kMaxFrame = 65536;
constexpr int kFlowsPerMac = 16;  // what RSS would see as different connections
constexpr size_t kBurst = 32;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "vmqd_lab_nic: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

// One descriptor of tap `name`, made if it is not there. Without IFF_VNET_HDR the kernel finishes
// checksums before a frame comes out, as a NIC does before a frame is on the wire.
int OpenTap(const std::string& name, bool multi_queue) {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) Die("open /dev/net/tun");
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | (multi_queue ? IFF_MULTI_QUEUE : 0);
  if (ioctl(fd, TUNSETIFF, &request) != 0) Die("make tap " + name);
  return fd;
}

bool ParseMac(const std::string& text, Mac& mac) {
  ether_addr parsed{};
  if (ether_aton_r(text.c_str(), &parsed) == nullptr) return false;
  std::copy_n(parsed.ether_addr_octet, mac.size(), mac.begin());
  return true;
}

class Nic {
 public:
  Nic(const std::string& device, int queues, const std::string& wire)
      : wire_(OpenTap(wire, false)), from_queue_(static_cast<size_t>(queues)) {
    for (int queue = 0; queue < queues; ++queue) queues_.push_back(OpenTap(device, true));
  }

  size_t queues() const { return queues_.size(); }
  int descriptor(size_t queue) const { return queues_[queue]; }

  void Steer(const Mac& mac, size_t queue) {
    const std::lock_guard<std::mutex> lock(mutex_);
    table_[mac] = queue;
  }

  size_t QueueOf(const uint8_t* destination) const {
    Mac mac;
    std::copy_n(destination, mac.size(), mac.begin());
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = table_.find(mac);
    return entry == table_.end() ? 0 : entry->second;
  }

  // The relay thread: for ever.
  void Relay() {
    std::vector<pollfd> waits = {{wire_, POLLIN, 0}};
    for (const int fd : queues_) waits.push_back({fd, POLLIN, 0});
    while (poll(waits.data(), waits.size(), -1) >= 0 || errno == EINTR) {
      if (waits[0].revents & POLLIN) FromWire();
      for (size_t queue = 0; queue < queues_.size(); ++queue) {
        if (waits[queue + 1].revents & POLLIN) FromDevice(queue);
      }
      // An interface that is down answers POLLERR at once; do not spin on it.
      const bool down = std::any_of(waits.begin(), waits.end(),
                                    [](const pollfd& wait) { return wait.revents & POLLERR; });
      if (down) usleep(10000);
    }
    Die("poll");
  }

  std::string Counts() const {
    std::string line = "wire_in " + std::to_string(from_wire_) + " nic_in";
    for (const auto& count : from_queue_) line += " " + std::to_string(count);
    return line;
  }

 private:
  void FromWire() {
    for (size_t i = 0; i < kBurst; ++i) {
      const ssize_t length = read(wire_, buffer_.data(), buffer_.size());
      if (length < static_cast<ssize_t>(sizeof(Mac))) return;
      ++from_wire_;
      // A frame that the switch's side refuses is lost, as on a NIC whose ring is full.
      (void)!write(queues_[QueueOf(buffer_.data())], buffer_.data(), static_cast<size_t>(length));
    }
  }

  void FromDevice(size_t queue) {
    for (size_t i = 0; i < kBurst; ++i) {
      const ssize_t length = read(queues_[queue], buffer_.data(), buffer_.size());
      if (length <= 0) return;
      ++from_queue_[queue];
      (void)!write(wire_, buffer_.data(), static_cast<size_t>(length));
    }
  }

  const int wire_;
  std::vector<int> queues_;
  mutable std::mutex mutex_;
  std::map<Mac, size_t> table_;                                    // under mutex_
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kMaxFrame);  // the relay's
  std::atomic<uint64_t> from_wire_{0};
  std::vector<std::atomic<uint64_t>> from_queue_;
};

struct Options {
  std::string device, wire;
  int queues = 1;
  int cpu = -1;            // of `send`; -1: any
  bool real_time = false;  // `send` runs under SCHED_FIFO
};

void PlaceThisThread(const Options& options) {
  if (options.cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(options.cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
      Die("pin to CPU " + std::to_string(options.cpu));
  }
  const sched_param priority = {1};
  if (options.real_time && sched_setscheduler(0, SCHED_FIFO, &priority) != 0) Die("SCHED_FIFO");
}

std::string RunSend(Nic& nic, const Options& options, std::istringstream& words) {
  Load load;
  size_t size = 0;
  std::string text;
  if (!(words >> load.seconds >> load.rate >> size) || size < vmqd::lab::kMinSize ||
      size > kMaxFrame) {
    return "error send takes SECONDS RATE SIZE MAC..., SIZE at least 60";
  }
  std::vector<Mac> macs;
  while (words >> text) {
    if (!ParseMac(text, macs.emplace_back())) return "error not a MAC: " + text;
  }
  if (macs.empty()) return "error send takes at least one MAC";
  for (int flow = 0; flow < kFlowsPerMac; ++flow) {
    for (const Mac& mac : macs) {
      load.flows.push_back({UdpFrame(mac, flow, size), nic.descriptor(nic.QueueOf(mac.data()))});
    }
  }
  std::string answer;
  std::thread([&] {
    PlaceThisThread(options);
    answer = Send(load);
  }).join();
  return answer;
}

std::string RunCommand(Nic& nic, const Options& options, const std::string& line) {
  std::istringstream words(line);
  std::string verb, text;
  words >> verb;
  if (verb == "send") return RunSend(nic, options, words);
  if (verb == "counts") return nic.Counts();
  if (verb != "steer") return "error commands are steer, send and counts";
  Mac mac;
  size_t queue = 0;
  if (!(words >> text >> queue) || !ParseMac(text, mac) || queue >= nic.queues()) {
    return "error steer takes MAC QUEUE, QUEUE below " + std::to_string(nic.queues());
  }
  nic.Steer(mac, queue);
  return "ok";
}

Options ParseArguments(int argc, char** argv) {
  Options options;
  for (int opt; (opt = getopt(argc, argv, "c:r")) != -1;) {
    if (opt == 'c') options.cpu = std::atoi(optarg);
    if (opt == 'r') options.real_time = true;
  }
  if (argc - optind == 3) {
    options.device = argv[optind];
    options.queues = std::atoi(argv[optind + 1]);
    options.wire = argv[optind + 2];
  }
  const auto usable = [](const std::string& name) {
    return !name.empty() && name.size() < IFNAMSIZ;
  };
  if (!usable(options.device) || !usable(options.wire) || options.queues < 1) {
    std::fprintf(stderr, "usage: vmqd_lab_nic [-c CPU] [-r] DEVICE QUEUES WIRE\n");
    std::exit(2);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseArguments(argc, argv);
  Nic nic(options.device, options.queues, options.wire);
  std::thread([&nic] { nic.Relay(); }).detach();
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << RunCommand(nic, options, line) << std::endl;
  }
  // The relay still uses `nic`; leave without unwinding and let the kernel close the descriptors.
  std::_Exit(0);
}

// vmqd_bench_ends [-c CPU]: ends of wires that are not the kernel's: VMs at taps and on virtqueues,
// a NIC's wire, a packet socket. Reads commands from standard input, one a line, and answers each
// with one line. N is a number that the caller gives an end:
//   tap N NAMESPACE DEVICE        a VM that opens this tap                            -> ok
//   nic N NAMESPACE DEVICE QUEUES the wire of a NIC, a tap, made here                 -> ok
//   packet N NAMESPACE DEVICE     sends out of DEVICE, hears nothing                  -> ok
//   vhost N PATH JUMBO            a guest, 1: that takes frames of 9014 bytes         -> ok
//   send N FROM TO PORTS FLOWS SIZE RATE PROBE   frames leave, as load.h has them     -> ok
//   stream N FROM TO RATE SEGMENTS               TCP frames leave, RATE a second, uncut -> ok
//   quiet N                       nothing more is sent                                -> ok
//   watch | rest                  ends are served | nothing happens                   -> ok
//   counts                        -> sent N pkts N refused N at NS, of all ends (CLOCK_MONOTONIC)
//   round_trips                   of probes since the last time: pairs of bucket and count
//   close N                                                                           -> ok
// An error is answered with "error SENTENCE". One thread polls all ends. While none of them sends,
// it naps between looks, and then comes before everybody else on its CPU: a sender there must not
// starve it.
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "tests/bench/e2e/file_end.h"
#include "tests/bench/e2e/ring_end.h"
#include "tests/bench/namespace.h"

namespace vmqd::bench {
namespace {

constexpr timespec kNap = {0, 50000};

class Ends {
 public:
  std::string Obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    int number = 0;
    words >> verb;
    if (verb == "counts") return Counted();
    if (verb == "round_trips") return RoundTrips();
    if (verb == "watch" || verb == "rest") return Watch(verb == "watch");
    if (!(words >> number)) return "error no such command: " + line;
    if (verb == "tap" || verb == "nic" || verb == "packet" || verb == "vhost") {
      return Open(verb, number, words);
    }
    if (ends_.count(number) == 0) return "error no such end: " + line;
    std::string answer = "ok";
    if (verb == "send") answer = Send(*ends_[number], words);
    if (verb == "stream") answer = Stream(*ends_[number], words);
    if (verb == "quiet") ends_[number]->Quiet();
    if (verb == "close") ends_.erase(number);
    Schedule();
    return answer;
  }

  // A turn of every end; false: there is nothing to do until the next command.
  bool Turn() {
    if (!watching_) return false;
    uint32_t frames = 0;
    for (const auto& [number, end] : ends_) frames += end->Turn();
    if (frames == 0 && relaxed()) nanosleep(&kNap, nullptr);
    return true;
  }

 private:
  std::string Open(const std::string& verb, int number, std::istringstream& words) {
    std::string space, device;
    int extra = 0;
    if (verb == "vhost") {
      if (words >> device >> extra) ends_[number] = RingEnd::Connect(device, extra != 0);
    } else if (words >> space >> device && Enter(space)) {
      if (verb == "tap") ends_[number] = FileEnd::Tap(device);
      if (verb == "packet") ends_[number] = FileEnd::Packet(device);
      if (verb == "nic" && words >> extra) ends_[number] = FileEnd::Nic(device, extra);
    }
    if (ends_[number] != nullptr) return "ok";
    ends_.erase(number);
    return Error(verb + " " + device);
  }

  static std::string Send(End& end, std::istringstream& words) {
    bench_load load{};
    if (!(words >> load.from >> load.to >> load.ports >> load.flows >> load.size >> load.rate >>
          load.probe_each) ||
        load.ports == 0 || load.size > kLongest || (load.size != 0 && load.size < kShortest)) {
      return "error send takes N FROM TO PORTS FLOWS SIZE RATE PROBE";
    }
    end.Send(load);
    return "ok";
  }

  static std::string Stream(End& end, std::istringstream& words) {
    bench_load load{.ports = 1};
    uint32_t segments = 0;
    const bool read = static_cast<bool>(words >> load.from >> load.to >> load.rate >> segments);
    if (read && load.rate == 0) return end.Quiet(), "ok";
    return read && end.Stream(load, segments) ? "ok" : "error stream takes N FROM TO RATE SEGMENTS";
  }

  std::string Watch(bool watching) {
    watching_ = watching;
    Schedule();
    return "ok";
  }

  std::string Counted() const {
    Counts sum;
    for (const auto& [number, end] : ends_) {
      sum.sent += end->counts().sent;
      sum.received += end->counts().received;
      sum.refused += end->counts().refused;
    }
    return "sent " + std::to_string(sum.sent) + " pkts " + std::to_string(sum.received) +
           " refused " + std::to_string(sum.refused) + " at " + std::to_string(NowNs());
  }

  std::string RoundTrips() {
    std::string line = "0 0";
    for (const auto& [number, end] : ends_) {
      auto& counts = end->round_trips();
      for (size_t bucket = 0; bucket < counts.size(); ++bucket) {
        if (counts[bucket] == 0) continue;
        line += " " + std::to_string(bucket) + " " + std::to_string(counts[bucket]);
      }
      counts.fill(0);
    }
    return line;
  }

  bool sending() const {
    return std::any_of(ends_.begin(), ends_.end(),
                       [](const auto& item) { return item.second->sending(); });
  }

  bool relaxed() const {
    return std::all_of(ends_.begin(), ends_.end(),
                       [](const auto& item) { return item.second->relaxed(); });
  }

  void Schedule() const {
    const bool first = watching_ && !sending();
    const sched_param priority = {first ? 10 : 0};
    sched_setscheduler(0, first ? SCHED_FIFO : SCHED_OTHER, &priority);
  }

  std::map<int, std::unique_ptr<End>> ends_;
  bool watching_ = false;
};

bool RunOn(const char* cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(std::atoi(cpu)), &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

// Commands as they come, turns of the ends in between.
void Serve(Ends& ends) {
  std::string pending;
  bool busy = false;
  while (true) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, busy ? 0 : -1) > 0) {
      char buffer[4096];
      const ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
      if (got <= 0) return;
      pending.append(buffer, static_cast<size_t>(got));
      for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
        std::cout << ends.Obey(pending.substr(0, end)) << std::endl;
      }
    }
    for (int turn = 0; turn < 16; ++turn) {
      busy = ends.Turn();
      if (!busy) break;
    }
  }
}

}  // namespace
}  // namespace vmqd::bench

int main(int argc, char** argv) {
  if (argc > 1 && (argc != 3 || std::strcmp(argv[1], "-c") != 0 || !vmqd::bench::RunOn(argv[2]))) {
    std::cout << "error usage: vmqd_bench_ends [-c CPU], a CPU this process may use" << std::endl;
    return 2;
  }
  prctl(PR_SET_TIMERSLACK, 1000);
  vmqd::bench::Ends ends;
  std::cout << "ready" << std::endl;
  vmqd::bench::Serve(ends);
}

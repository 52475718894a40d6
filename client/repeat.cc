// See repeat.h.
#include "client/repeat.h"

#include <algorithm>
#include <iostream>

#include "client/interrupt.h"

namespace vmqd::cli {

void AddRepetition(CLI::App& verb, Repetition& repetition) {
  verb.add_option("--interval", repetition.seconds, "Seconds from one look to the next")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  verb.add_option("--count", repetition.count, "End after so many looks; 0: with Ctrl-C")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

int Repeat(Connection& connection, const Repetition& repetition,
           const std::function<grpc::Status()>& look) {
  Interrupt interrupt;
  connection.EndBy(interrupt);
  bool ever = false, lost = false;
  auto next = std::chrono::steady_clock::now();
  for (uint64_t looks = 0;;) {
    const grpc::Status status = look();
    std::cout.flush();
    if (interrupt.came() || !std::cout) return kDone;
    if (!status.ok() && (!ever || !MayPass(status))) return Fail(connection, status);
    if (status.ok() && lost) std::cerr << "vmqd-cli: connected again\n";
    if (!status.ok() && !lost) {
      std::cerr << "vmqd-cli: lost the connection to vmqd; waiting for it to come back\n";
    }
    lost = !status.ok();
    ever = ever || !lost;
    if (!lost && ++looks == repetition.count) return kDone;
    next = std::max(next + repetition.interval(), std::chrono::steady_clock::now());
    while (!interrupt.came() && std::chrono::steady_clock::now() < next) interrupt.Sleep(next);
    if (interrupt.came()) return kDone;
  }
}

}  // namespace vmqd::cli

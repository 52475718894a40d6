// Verbs that look again and again: --interval, --count, and how they go on when the daemon goes
// away.
#ifndef VMQD_CLIENT_REPEAT_H_
#define VMQD_CLIENT_REPEAT_H_

#include <chrono>
#include <cstdint>
#include <functional>

#include "client/command.h"

namespace vmqd::cli {

struct Repetition {
  double seconds = 1;  // from one look to the next
  uint64_t count = 0;  // of looks; 0: until Ctrl-C
  std::chrono::steady_clock::duration interval() const {
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::duration<double>(seconds));
  }
};

// `repetition` lives as long as `verb`.
void AddRepetition(CLI::App& verb, Repetition& repetition);

// Calls `look`, which prints, once per interval. When the daemon goes away after a first look, says
// so and waits for it. Returns the exit code.
int Repeat(Connection& connection, const Repetition& repetition,
           const std::function<grpc::Status()>& look);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_REPEAT_H_

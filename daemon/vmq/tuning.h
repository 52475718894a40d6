// The balancer's numbers. Where a figure decides between reaction and unrest, it was chosen with
// tests/bench/simulator; README.md has its table.
#ifndef VMQD_DAEMON_VMQ_TUNING_H_
#define VMQD_DAEMON_VMQ_TUNING_H_

#include <chrono>
#include <cstddef>

namespace vmqd {

inline constexpr double kBusy = 0.7;        // above this a CPU has strain: bursts need room
inline constexpr double kQuiet = 0.4;       // up to this, CPUs are coalesced
inline constexpr double kRoomAtHome = 0.5;  // up to this a CPU near the NIC takes a queue back
inline constexpr double kUsed = 0.01;       // a CPU or port with less is idle
inline constexpr double kWantsQueue = 0.1;  // what makes a port worth a queue of its own
inline constexpr size_t kRecent = 2;        // seconds
inline constexpr double kFade = 0.95;       // of strain, per second: a half after 14 s
inline constexpr double kTooMuch = 0.15;    // strain: 2 s at 98 %, or 5 s at 90 %
inline constexpr double kUnrest = 1;  // times as much strain, for each move per CPU in kRemember
inline constexpr double kMostBurden = 0.3;  // of what a move relieves one CPU of, for the other

inline constexpr std::chrono::seconds kSettle{3};  // of both CPUs of a move; before a deal
inline constexpr std::chrono::seconds kCalm{10};   // between two deals, and before coalescing
inline constexpr std::chrono::seconds kRest{10};   // of what was moved; doubled for each move more
inline constexpr std::chrono::seconds kLongestRest{240};
inline constexpr std::chrono::seconds kRemember{600};  // how long a move counts for that
inline constexpr std::chrono::seconds kCoalesceAfterSpread{300};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_TUNING_H_

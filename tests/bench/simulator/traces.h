// Made-up days: what each of the 64 VMs needs in each second. The same ones each time.
#ifndef VMQD_TESTS_BENCH_SIMULATOR_TRACES_H_
#define VMQD_TESTS_BENCH_SIMULATOR_TRACES_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tests/bench/simulator/host.h"

namespace vmqd::simulator {

inline constexpr size_t kDay = 24 * 3600;

struct Trace {
  std::string name;
  std::vector<float> demand;  // [second * kVms + vm], shares of a CPU
  std::span<const float> At(size_t second) const { return {&demand[second * kVms], kVms}; }
};

// Ten VMs are busy, the others nearly idle; every few hours one changes its part.
Trace Steady();
// Each VM is quiet for minutes and busy for seconds, at no time that can be foreseen.
Trace Bursty();
// Offices by day, homes in the evening, backups at night.
Trace Diurnal();
// Half of the VMs are busy, then the other half, for 5 to 130 s at a time: just when a balancer has
// adapted to one half it meets the other. Every hour they are divided anew; in the first, those
// busy together share CPUs.
Trace FlipFlop();

}  // namespace vmqd::simulator

#endif  // VMQD_TESTS_BENCH_SIMULATOR_TRACES_H_

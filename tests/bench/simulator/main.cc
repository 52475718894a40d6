// Replays days of load against the rules of placement and prints a Markdown table, the one in
// daemon/vmq/README.md. Always the same one.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/simulator/host.h"
#include "tests/bench/simulator/policies.h"
#include "tests/bench/simulator/traces.h"

namespace vmqd::simulator {
namespace {

struct Figures {
  size_t unbalanced = 0;        // seconds in which one CPU was over 95 % and another under 50 %
  std::vector<double> busiest;  // of each second
  double needed = 0;
  double lost = 0;
  double cpus_used = 0;
};

Figures Replay(const Trace& trace, Policy& policy) {
  Figures figures;
  for (size_t second = 0; second < kDay; ++second) {
    const std::span<const float> demand = trace.At(second);
    policy.Foresee(demand);
    Second result = Serve(policy.placement(), demand);
    const auto [least, most] = std::minmax_element(result.needed.begin(), result.needed.end());
    figures.unbalanced += *most > 0.95 && *least < 0.5;
    figures.busiest.push_back(*most);
    for (size_t vm = 0; vm < kVms; ++vm) {
      figures.needed += demand[vm];
      figures.lost += demand[vm] * (1 - result.served[vm]);
    }
    figures.cpus_used += std::count_if(result.needed.begin(), result.needed.end(),
                                       [](double share) { return share > 0.01; });
    policy.Look(demand, result);
  }
  return figures;
}

void Print(const Trace& trace, Policy& policy) {
  Figures figures = Replay(trace, policy);
  double sum = 0;
  for (double share : figures.busiest) sum += share;
  const size_t p95 = kDay * 95 / 100;
  std::nth_element(figures.busiest.begin(), figures.busiest.begin() + p95, figures.busiest.end());
  const bool counts_moves = dynamic_cast<Optimum*>(&policy) == nullptr;
  std::printf("| %s | %s | %.2f | %s | %.0f | %.0f | %.2f | %.1f |\n", trace.name.c_str(),
              policy.name().c_str(), 100.0 * static_cast<double>(figures.unbalanced) / kDay,
              counts_moves ? std::to_string(policy.moves()).c_str() : "-", 100 * sum / kDay,
              100 * figures.busiest[p95], 100 * figures.lost / figures.needed,
              figures.cpus_used / kDay);
}

void Run() {
  std::puts(
      "| trace | rule | unbalanced, % of time | moves | busiest CPU, mean % | 95th percentile % "
      "| lost work % | CPUs in use |");
  std::puts("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const auto& make : {Steady, Bursty, Diurnal, FlipFlop}) {
    const Trace trace = make();
    const std::unique_ptr<Policy> policies[] = {
        std::make_unique<Static>(), std::make_unique<OvsRule>(OvsRule::Deal::kCycles),
        std::make_unique<OvsRule>(OvsRule::Deal::kGroup), std::make_unique<Dynamic>(),
        std::make_unique<Optimum>()};
    for (const auto& policy : policies) Print(trace, *policy);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace vmqd::simulator

int main() { vmqd::simulator::Run(); }

// Who decides where the VMs are served. A policy sees what a switch can see of a second.
#ifndef VMQD_TESTS_BENCH_SIMULATOR_POLICIES_H_
#define VMQD_TESTS_BENCH_SIMULATOR_POLICIES_H_

#include <array>
#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "daemon/vmq/scene.h"
#include "tests/bench/simulator/host.h"

namespace vmqd::simulator {

class Policy {
 public:
  virtual ~Policy() = default;
  virtual std::string name() const = 0;
  const Placement& placement() const { return placement_; }
  size_t moves() const { return moves_; }
  // Before a second that needs `demand`; only the optimum looks.
  virtual void Foresee(std::span<const float>) {}
  // After it.
  virtual void Look(std::span<const float> demand, const Second& second) = 0;

 protected:
  Placement placement_ = RoundRobin();
  size_t moves_ = 0;
};

// Static VMQ.
class Static : public Policy {
 public:
  std::string name() const override { return "round-robin"; }
  void Look(std::span<const float>, const Second&) override {}
};

// What Open vSwitch's documentation says of its PMD auto load balance, with its default figures: a
// CPU over 95 % at each 10 s sample for a minute; then all receive queues (here: VMs) are dealt
// anew among the CPUs of their NUMA node by what they took in that minute; done if the variance of
// the CPUs' loads falls by at least 25 %; once a minute at most.
class OvsRule : public Policy {
 public:
  enum class Deal {
    kCycles,  // largest first, in alternating order over the CPUs
    kGroup,   // largest first, each to the least loaded CPU
  };
  explicit OvsRule(Deal deal);
  std::string name() const override;
  void Look(std::span<const float> demand, const Second& second) override;

 private:
  void DealNode(size_t node, std::span<const double> load, Placement& placement) const;
  void Rebalance();

  const Deal deal_;
  size_t seconds_ = 0;
  size_t next_rebalance_ = 60;
  std::array<double, kCpus> busy_{};                       // in this sample
  std::array<size_t, kCpus> overloaded_{};                 // samples in a row
  std::array<double, kVms> taken_{};                       // in this sample
  std::deque<std::array<double, kVms>> taken_in_samples_;  // of the last minute
};

// vmqd's balancer, as control is to call it.
class Dynamic : public Policy {
 public:
  Dynamic();
  std::string name() const override { return "vmqd"; }
  void Look(std::span<const float> demand, const Second& second) override;

 private:
  void Note(std::span<const float> demand, const Second& second);

  Scene scene_;
  std::array<double, kVms> frame_cost_;  // CPU seconds; the balancer does not know them
};

// A bound: every second all VMs are dealt anew, largest first, each to the least loaded CPU of the
// host, both NICs near to all, the second's demands known before it begins. Nobody can do that.
class Optimum : public Policy {
 public:
  std::string name() const override { return "optimum"; }
  void Foresee(std::span<const float> demand) override;
  void Look(std::span<const float>, const Second&) override {}
};

}  // namespace vmqd::simulator

#endif  // VMQD_TESTS_BENCH_SIMULATOR_POLICIES_H_

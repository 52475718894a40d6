// The simulated host: who shares a CPU, and what each VM gets of it in a second. One NIC on each of
// two NUMA nodes, 8 queues each; 8 CPUs on each node; 64 VMs, the even ones on the first NIC.
#ifndef VMQD_TESTS_BENCH_SIMULATOR_HOST_H_
#define VMQD_TESTS_BENCH_SIMULATOR_HOST_H_

#include <array>
#include <cstddef>
#include <span>

namespace vmqd::simulator {

inline constexpr size_t kVms = 64;
inline constexpr size_t kNodes = 2;
inline constexpr size_t kCpus = 16;
inline constexpr size_t kCpusPerNode = kCpus / kNodes;
inline constexpr size_t kQueues = 16;
inline constexpr size_t kQueuesPerNic = kQueues / kNodes;
// What a frame costs more on the far node. The balancer takes it for 1.25.
inline constexpr double kFarCost = 1.35;

inline size_t NicOf(size_t vm) { return vm % kNodes; }
inline size_t NodeOf(size_t cpu) { return cpu / kCpusPerNode; }

// A worker is a thread on one CPU and serves some VMs.
struct Placement {
  std::array<size_t, kVms> worker_of{};  // by VM
  std::array<size_t, kVms> cpu_of{};     // by worker
  bool all_near = false;                 // no NUMA: only the optimum has that
  size_t CpuOf(size_t vm) const { return cpu_of[worker_of[vm]]; }
  double CostOf(size_t vm) const {
    return all_near || NodeOf(CpuOf(vm)) == NicOf(vm) ? 1 : kFarCost;
  }
};

// Where everybody begins: VMs are dealt to the queues of their NIC, each queue has a CPU.
Placement RoundRobin();

struct Second {
  std::array<double, kCpus> needed{};  // shares of the CPU; above 1: more than it has
  std::array<double, kVms> served{};   // part of what the VM needed, 0 to 1
};

// `demand` by VM: share of a CPU near its NIC. The workers of a CPU get equal shares of it, and
// what one does not need goes to the others; likewise the VMs of a worker.
Second Serve(const Placement& placement, std::span<const float> demand);

}  // namespace vmqd::simulator

#endif  // VMQD_TESTS_BENCH_SIMULATOR_HOST_H_

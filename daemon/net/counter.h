// A counter with one writer thread and any number of readers: plain loads and stores, no locked
// instruction.
#ifndef VMQD_DAEMON_NET_COUNTER_H_
#define VMQD_DAEMON_NET_COUNTER_H_

#include <atomic>
#include <cstdint>

namespace vmqd {

class Counter {
 public:
  void Add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void Subtract(uint64_t n) { Add(~n + 1); }
  void Set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_COUNTER_H_

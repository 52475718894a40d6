// The sender of the benchmarks that is in the kernel: one endless BPF_PROG_TEST_RUN with live
// frames on a thread of its own, ended by a signal: setting a call up takes some 20 ms. Frames
// enter the other end of a veth as XDP frames; no skb is made for them.
#ifndef VMQD_TESTS_BENCH_SENDER_H_
#define VMQD_TESTS_BENCH_SENDER_H_

#include <linux/types.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include "tests/bench/load.h"

struct bench_bpf;

namespace vmqd::bench {

class Sender {
 public:
  // `programs` is borrowed.
  explicit Sender(bench_bpf* programs);
  ~Sender() { Stop(); }

  // From DEVICE in a namespace, until Stop(). `load.size` is up to 1514. One at a time.
  void Start(const std::string& space, const std::string& device, const bench_load& load);
  // "ok", or an error of the thread. Without Start() nothing happens.
  std::string Stop();

 private:
  void Run(const std::string& space, const std::string& device, uint32_t length);

  bench_bpf* const programs_;
  std::optional<std::thread> thread_;
  std::string answer_;  // the thread's, until it ends
  std::atomic<bool> sending_{false}, ended_{false};
};

}  // namespace vmqd::bench

#endif  // VMQD_TESTS_BENCH_SENDER_H_

// A guest of a vhost-user port: VMM, network driver and memory are tests/support's, without a VM
// around them. It polls, so no interrupt reaches it.
#ifndef VMQD_TESTS_BENCH_E2E_RING_END_H_
#define VMQD_TESTS_BENCH_E2E_RING_END_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/bench/e2e/end.h"
#include "tests/support/front_end.h"

namespace vmqd::bench {

class RingEnd : public End {
 public:
  // Connects to a switch that listens at `path`; nullptr: it refused. `jumbo`: buffers take the
  // longest frame, else 2 KiB with its header.
  static std::unique_ptr<RingEnd> Connect(const std::string& path, bool jumbo);

 protected:
  bool SendOne(uint64_t number) override;
  void SendsDone() override;
  uint32_t Receive() override;
  void Answer(const uint8_t* frame, size_t length) override;

 private:
  explicit RingEnd(uint32_t buffer_bytes);

  void Post(uint64_t buffer);
  // A free transmit buffer's number, or -1.
  int Slot();
  void Transmit(int slot, size_t length);
  uint64_t At(int slot) const;

  const uint32_t buffer_bytes_;
  testing::FrontEnd front_;
  std::vector<int> free_;            // transmit buffers
  std::vector<int> slot_of_;         // by chain
  std::vector<uint64_t> buffer_of_;  // by chain: receive buffer
};

}  // namespace vmqd::bench

#endif  // VMQD_TESTS_BENCH_E2E_RING_END_H_

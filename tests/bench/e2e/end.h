// One end of a wire of the end-to-end benchmark: a VM at a tap or on virtqueues, a NIC's wire, a
// packet socket. It sends the frames of load.h at a rate, counts what comes, and answers probes.
// Used by the one thread of ends.cc, which polls it.
#ifndef VMQD_TESTS_BENCH_E2E_END_H_
#define VMQD_TESTS_BENCH_E2E_END_H_

#include <linux/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "tests/bench/load.h"

namespace vmqd::bench {

inline constexpr uint32_t kShortest = 60, kLongest = 9014;  // bytes without FCS

uint64_t NowNs();  // CLOCK_MONOTONIC

struct Counts {
  uint64_t sent = 0;  // frames, probes included and echoes not, as in `received`
  uint64_t received = 0;
  uint64_t refused = 0;  // that the end could not take when they were due
};

class End {
 public:
  End() = default;
  virtual ~End() = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  // Until Quiet(), from now on.
  void Send(const bench_load& load);
  // TCP frames of so many segments, cut by whoever takes them; load.rate, not 0, counts frames
  // uncut. False: this kind of end cannot.
  virtual bool Stream(const bench_load& load, uint32_t segments);
  void Quiet() { sending_ = false; }
  bool sending() const { return sending_; }
  // It sends so little that its thread may nap in between.
  bool relaxed() const {
    return !sending_ || (load_.rate != 0 && load_.rate <= kRelaxed && load_.probe_each == 0);
  }

  // A burst each way; frames that were received.
  uint32_t Turn();

  const Counts& counts() const { return counts_; }
  // By bench_bucket().
  std::array<uint64_t, BENCH_BUCKETS>& round_trips() { return round_trips_; }

 protected:
  static constexpr uint32_t kBurst = 32;
  static constexpr uint64_t kRelaxed = 200000;  // frames a second

  // Makes the frame with this number leave. False: there is no room.
  virtual bool SendOne(uint64_t number) = 0;
  virtual void SendsDone() {}  // of a burst
  virtual uint32_t Receive() = 0;
  // An answer, copied; a loss is a loss.
  virtual void Answer(const uint8_t* frame, size_t length) = 0;

  // For Receive(): a frame that came.
  void Took(uint8_t* frame, size_t length);

  bench_load load_{};

 private:
  void SendDue();

  Counts counts_;
  std::array<uint64_t, BENCH_BUCKETS> round_trips_{};
  uint64_t sent_ = 0;  // since Send()
  bool sending_ = false;
};

}  // namespace vmqd::bench

#endif  // VMQD_TESTS_BENCH_E2E_END_H_

// See end.h.
#include "tests/bench/e2e/end.h"

#include <time.h>

#include <algorithm>
#include <cstring>

namespace vmqd::bench {

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

void End::Send(const bench_load& load) {
  load_ = load;
  load_.start_ns = NowNs();
  sent_ = 0;
  sending_ = true;
}

bool End::Stream(const bench_load&, uint32_t) { return false; }

uint32_t End::Turn() {
  if (sending_) SendDue();
  return Receive();
}

// At a rate, what finds no room is lost: a wire does not wait. Without one it is tried again.
void End::SendDue() {
  uint64_t due = kBurst;
  if (load_.rate != 0) due = std::min<uint64_t>(due, bench_due(&load_, sent_, NowNs()));
  for (; due > 0; --due) {
    const bool taken = SendOne(sent_);
    ++(taken ? counts_.sent : counts_.refused);
    if (!taken && load_.rate == 0) break;
    ++sent_;
  }
  SendsDone();
}

void End::Took(uint8_t* frame, size_t length) {
  if (length < BENCH_STAMPED) return;
  const int port = frame[36] << 8 | frame[37];
  if (port == BENCH_ECHO) {
    uint64_t stamp;
    std::memcpy(&stamp, frame + BENCH_HEADERS, sizeof(stamp));
    ++round_trips_[bench_bucket(NowNs() - stamp)];
  } else if (port == BENCH_DATA || port == BENCH_PROBE) {
    ++counts_.received;
    if (port == BENCH_DATA) return;
    bench_turn(frame);
    Answer(frame, length);
  }
}

}  // namespace vmqd::bench

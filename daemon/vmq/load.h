// What a worker, a queue or a port did lately: windows over counters that only grow, read once a
// second. A value of fixed size; sampling allocates nothing. Control threads.
#ifndef VMQD_DAEMON_VMQ_LOAD_H_
#define VMQD_DAEMON_VMQ_LOAD_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace vmqd {

// Counted since the worker or port began; all but `backlog` only grow.
struct LoadReading {
  // Time spent in turns that moved a frame, not time spent polling, and only time that the thread
  // had the CPU: where several workers share one, the lesser of this and the thread's CPU time.
  uint64_t busy_ns = 0;
  uint64_t frames = 0;  // both directions
  uint64_t bytes = 0;
  uint64_t lost = 0;  // frames that came while the ring which the worker empties was full
  uint64_t wakeups = 0;
  uint64_t backlog = 0;  // frames that lie in that ring now
};

struct Load {
  double busy = 0;  // share of one CPU, 0 to 1
  double frames_per_second = 0;
  double bytes_per_second = 0;
  double lost_per_second = 0;
  double wakeups_per_second = 0;
  double backlog = 0;  // frames, mean of the samples

  Load& operator+=(const Load& other);  // of several workers together
};

class LoadWindows {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr size_t kSeconds = 60;  // the longest window

  // Once a second or so; `now` is later than the last time. A counter that went back (the worker is
  // a new one) begins all windows anew.
  void Sample(Time now, const LoadReading& reading);

  // Over the last `seconds`, 1 to kSeconds, or over what there is when that is less; zero before
  // the second sample.
  Load Over(size_t seconds) const;

 private:
  struct Point {
    Time time;
    LoadReading reading;  // backlog: the sum of all samples
  };
  const Point& Back(size_t samples) const {
    return points_[(newest_ + points_.size() - samples) % points_.size()];
  }

  std::array<Point, kSeconds + 1> points_;
  size_t newest_ = 0;
  size_t count_ = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_LOAD_H_

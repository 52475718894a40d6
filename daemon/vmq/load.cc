// The windows: a ring of cumulative samples; a window is the difference of two.
#include "daemon/vmq/load.h"

#include <algorithm>
#include <chrono>

namespace vmqd {
namespace {

bool WentBack(const LoadReading& before, const LoadReading& now) {
  return now.busy_ns < before.busy_ns || now.frames < before.frames || now.bytes < before.bytes ||
         now.lost < before.lost || now.wakeups < before.wakeups;
}

}  // namespace

Load& Load::operator+=(const Load& other) {
  busy += other.busy;
  frames_per_second += other.frames_per_second;
  bytes_per_second += other.bytes_per_second;
  lost_per_second += other.lost_per_second;
  wakeups_per_second += other.wakeups_per_second;
  backlog += other.backlog;
  return *this;
}

void LoadWindows::Sample(Time now, const LoadReading& reading) {
  if (count_ > 0 && WentBack(Back(0).reading, reading)) count_ = 0;
  Point next{now, reading};
  if (count_ > 0) next.reading.backlog += Back(0).reading.backlog;
  newest_ = (newest_ + 1) % points_.size();
  points_[newest_] = next;
  count_ = std::min(count_ + 1, points_.size());
}

Load LoadWindows::Over(size_t seconds) const {
  if (count_ < 2) return {};
  const Point& last = Back(0);
  // Ticks come late and early: half a second decides which sample is meant.
  const auto length = std::chrono::milliseconds(1000 * seconds - 500);
  size_t samples = 1;
  while (samples + 1 < count_ && last.time - Back(samples).time < length) ++samples;
  const Point& first = Back(samples);
  const double passed = std::chrono::duration<double>(last.time - first.time).count();
  if (passed <= 0) return {};
  const auto rate = [&](uint64_t LoadReading::*counter) {
    return static_cast<double>(last.reading.*counter - first.reading.*counter) / passed;
  };
  return {
      .busy = std::min(1.0, rate(&LoadReading::busy_ns) * 1e-9),
      .frames_per_second = rate(&LoadReading::frames),
      .bytes_per_second = rate(&LoadReading::bytes),
      .lost_per_second = rate(&LoadReading::lost),
      .wakeups_per_second = rate(&LoadReading::wakeups),
      .backlog = static_cast<double>(last.reading.backlog - first.reading.backlog) /
                 static_cast<double>(samples),
  };
}

}  // namespace vmqd

// Windows over counters.
#include "daemon/vmq/load.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vmqd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LoadTest : public ::testing::Test {
 protected:
  // A second with so much of everything.
  void Pass(uint64_t busy_ms, uint64_t frames, milliseconds length = seconds(1)) {
    now_ += length;
    reading_.busy_ns += busy_ms * 1000000;
    reading_.frames += frames;
    reading_.bytes += 64 * frames;
    reading_.lost += frames / 10;
    reading_.wakeups += 5;
    reading_.backlog = frames / 100;
    windows_.Sample(now_, reading_);
  }

  LoadWindows::Time now_{};
  LoadReading reading_;
  LoadWindows windows_;
};

TEST_F(LoadTest, NothingBeforeTwoSamples) {
  EXPECT_EQ(windows_.Over(1).busy, 0);
  Pass(500, 100);
  EXPECT_EQ(windows_.Over(1).busy, 0);
  EXPECT_EQ(windows_.Over(60).frames_per_second, 0);
}

TEST_F(LoadTest, RatesOfOneSecond) {
  Pass(0, 0);
  Pass(250, 1000);
  const Load load = windows_.Over(1);
  EXPECT_DOUBLE_EQ(load.busy, 0.25);
  EXPECT_DOUBLE_EQ(load.frames_per_second, 1000);
  EXPECT_DOUBLE_EQ(load.bytes_per_second, 64000);
  EXPECT_DOUBLE_EQ(load.lost_per_second, 100);
  EXPECT_DOUBLE_EQ(load.wakeups_per_second, 5);
  EXPECT_DOUBLE_EQ(load.backlog, 10);
}

TEST_F(LoadTest, WindowsOfOneTenAndSixtySeconds) {
  Pass(0, 0);
  for (int i = 0; i < 100; ++i) Pass(i < 95 ? 100 : 900, 0);
  EXPECT_DOUBLE_EQ(windows_.Over(1).busy, 0.9);
  EXPECT_DOUBLE_EQ(windows_.Over(10).busy, 0.5);
  EXPECT_NEAR(windows_.Over(60).busy, (55 * 0.1 + 5 * 0.9) / 60, 1e-12);
}

TEST_F(LoadTest, ShorterWhileThereIsLess) {
  Pass(0, 0);
  Pass(100, 0);
  Pass(300, 0);
  EXPECT_DOUBLE_EQ(windows_.Over(60).busy, 0.2);
}

TEST_F(LoadTest, TicksThatAreLateOrEarly) {
  Pass(0, 0);
  for (int i = 0; i < 20; ++i) Pass(i % 2 ? 550 : 450, 0, milliseconds(i % 2 ? 1100 : 900));
  EXPECT_NEAR(windows_.Over(1).busy, 0.5, 1e-9);
  EXPECT_NEAR(windows_.Over(10).busy, 0.5, 1e-9);
  Pass(1500, 0, seconds(3));
  EXPECT_NEAR(windows_.Over(1).busy, 0.5, 1e-9);
}

TEST_F(LoadTest, BeginsAnewWhenACounterGoesBack) {
  Pass(0, 0);
  Pass(900, 5000);
  reading_ = {};
  Pass(100, 10);
  EXPECT_EQ(windows_.Over(10).busy, 0);
  Pass(200, 10);
  EXPECT_DOUBLE_EQ(windows_.Over(10).busy, 0.2);
}

}  // namespace
}  // namespace vmqd

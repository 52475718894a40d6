// Minutes, and whose work a busy second was.
#include "daemon/vmq/demand.h"

#include <gtest/gtest.h>

#include <vector>

namespace vmqd {
namespace {

TEST(MinuteTest, TheNewestSecondIsFirst) {
  Minute minute;
  minute.Push(0.5);
  minute.Push(1.5);
  EXPECT_FLOAT_EQ(minute.seconds[0], 1.5);
  EXPECT_FLOAT_EQ(minute.seconds[1], 0.5);
  EXPECT_DOUBLE_EQ(minute.Mean(2), 1);
  EXPECT_DOUBLE_EQ(minute.Mean(4), 0.5);
  EXPECT_DOUBLE_EQ(minute.Peak(), 1.5);
  for (int i = 0; i < 60; ++i) minute.Push(0.25);
  EXPECT_DOUBLE_EQ(minute.Peak(), 0.25);
}

struct Row {
  const char* what;
  QueueSecond queue;
  std::vector<PortSecond> ports;
  std::vector<double> demand;
  double own;
};

TEST(SplitDemandTest, Table) {
  const Row rows[] = {
      {"idle", {}, {{}, {}}, {0, 0}, 0},
      {"by frames", {.busy = 0.6, .frames = 300}, {{100}, {200}}, {0.2, 0.4}, 0},
      {"the rest is the queue's", {.busy = 0.6, .frames = 600}, {{100}}, {0.1}, 0.5},
      {"no frame of a port", {.busy = 0.1}, {{}}, {0}, 0.1},
      {"from port to port", {.busy = 0.6, .frames = 100}, {{100}, {100}}, {0.3, 0.3}, 0},
      {"far from the NIC", {.busy = 0.5, .frames = 10, .remote = true}, {{10}}, {0.4}, 0},
      {"losses on a CPU with room are not its fault",
       {.busy = 0.5, .frames = 10},
       {{.frames = 10, .lost = 10, .backlog = true}},
       {0.5},
       0},
      {"full: what was lost",
       {.busy = 1, .frames = 20, .cpu_full = true},
       {{.frames = 10, .lost = 30, .backlog = true}, {.frames = 10}},
       {2, 0.5},
       0},
      {"full: a backlog only",
       {.busy = 0.5, .frames = 10, .cpu_full = true},
       {{.frames = 10, .backlog = true}},
       {0.75},
       0},
      {"full: a backlog only, up to a CPU",
       {.busy = 0.9, .frames = 10, .cpu_full = true},
       {{.frames = 10, .backlog = true}},
       {1},
       0},
      {"full: a flood is not a hundred CPUs",
       {.busy = 1, .frames = 10, .cpu_full = true},
       {{.frames = 10, .lost = 10000}},
       {8},
       0},
      {"full: nothing moved, nothing known",
       {.busy = 1, .frames = 10, .cpu_full = true},
       {{.frames = 0, .lost = 50, .backlog = true}, {.frames = 10}},
       {0, 1},
       0},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    std::vector<double> demand(row.ports.size());
    EXPECT_NEAR(SplitDemand(row.queue, row.ports, demand), row.own, 1e-9);
    ASSERT_EQ(demand.size(), row.demand.size());
    for (size_t i = 0; i < demand.size(); ++i) EXPECT_NEAR(demand[i], row.demand[i], 1e-9);
  }
}

}  // namespace
}  // namespace vmqd

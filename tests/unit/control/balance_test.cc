// What Balance remembers and when it speaks, on scenes that tests make up.
#include "daemon/control/balance.h"

#include <gmock/gmock.h>

#include "daemon/vmq/tuning.h"

namespace vmqd {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Two CPUs; queues 0 and 1 of one uplink on CPU 0, a VM at home on each.
class BalanceTest : public ::testing::Test {
 protected:
  BalanceTest() {
    scene_.now = Balance::Time(seconds(1000));
    scene_.cpus = {{.cpu = 0}, {.cpu = 1}};
    scene_.uplinks = {{}};
    scene_.queues = {{.name = "uplinks/up/queues/0", .number = 0},
                     {.name = "uplinks/up/queues/1", .number = 1}};
    scene_.ports = {{.name = "ports/vm0", .queue = 0}, {.name = "ports/vm1", .queue = 1}};
  }
  // Each queue was busy for its VM.
  void Pass(double busy0, double busy1, double lost0 = 0) {
    scene_.now += seconds(1);
    balance_.Note(scene_,
                  {.queues = {{.busy = busy0, .frames = 1000}, {.busy = busy1, .frames = 1000}},
                   .ports = {{.frames = 1000, .lost = lost0}, {.frames = 1000}}});
  }
  Scene Complete() { return balance_.Complete(scene_); }
  Move ToCpu1(size_t queue) {
    return {.subject = queue, .from = {0, 1.2, 0.6}, .to = {1, 0, 0.6}, .why = "because"};
  }

  Balance balance_;
  Scene scene_;
};

TEST_F(BalanceTest, RemembersWhatWasNeeded) {
  Pass(0.2, 0.1);
  Pass(0.4, 0.1);
  const Scene scene = Complete();
  EXPECT_FLOAT_EQ(scene.ports[0].demand.seconds[0], 0.4f);
  EXPECT_FLOAT_EQ(scene.ports[0].demand.seconds[1], 0.2f);
  EXPECT_FLOAT_EQ(scene.ports[1].demand.seconds[0], 0.1f);
  EXPECT_FLOAT_EQ(scene.queues[0].own.seconds[0], 0);
}

TEST_F(BalanceTest, LossCountsOnAFullCpuOnly) {
  Pass(0.4, 0.4, 1000);
  EXPECT_FLOAT_EQ(Complete().ports[0].demand.seconds[0], 0.4f);
  Pass(0.5, 0.5, 1000);
  EXPECT_FLOAT_EQ(Complete().ports[0].demand.seconds[0], 1.0f);
  EXPECT_FLOAT_EQ(Complete().ports[1].demand.seconds[0], 0.5f);
  scene_.cpus[0].other = 0.2;  // others fill a CPU as well
  Pass(0.4, 0.4, 1000);
  EXPECT_FLOAT_EQ(Complete().ports[0].demand.seconds[0], 0.8f);
}

TEST_F(BalanceTest, APortKeepsItsMinuteWhenItMoves) {
  Pass(0.4, 0.1);
  scene_.ports[0].queue = 1;
  Pass(0.1, 0.6);
  const Scene scene = Complete();
  EXPECT_FLOAT_EQ(scene.ports[0].demand.seconds[1], 0.4f);
  EXPECT_FLOAT_EQ(scene.ports[0].demand.seconds[0], 0.3f);
  EXPECT_FLOAT_EQ(scene.queues[0].own.seconds[0], 0.1f);
}

TEST_F(BalanceTest, ForgetsWhatIsGone) {
  Pass(0.4, 0.1);
  const Scene before = scene_;
  scene_.ports.erase(scene_.ports.begin());
  scene_.now += seconds(1);
  balance_.Note(scene_, {.queues = {{}, {}}, .ports = {{}}});
  scene_ = before;
  EXPECT_EQ(Complete().ports[0].demand.Peak(), 0);
}

TEST_F(BalanceTest, KnowsHowLongItHasWatched) {
  for (int i = 0; i < 70; ++i) Pass(0.1, 0.1);
  EXPECT_EQ(Complete().watched, Minute::kSeconds);
  scene_.queues[1].name = "uplinks/other/queues/0";
  Pass(0.1, 0.1);
  EXPECT_EQ(Complete().watched, 1u);
}

TEST_F(BalanceTest, OthersAreTheMeanOfSomeSeconds) {
  scene_.cpus[0].other = 1;
  Pass(0, 0);
  EXPECT_DOUBLE_EQ(Complete().cpus[0].other, 1);
  scene_.cpus[0].other = 0;
  Pass(0, 0);
  EXPECT_DOUBLE_EQ(Complete().cpus[0].other, 0.5);
  for (int i = 0; i < 10; ++i) Pass(0, 0);
  EXPECT_DOUBLE_EQ(Complete().cpus[0].other, 0);
}

TEST_F(BalanceTest, TellsAGainOnceAndAfterItHasSettled) {
  for (int i = 0; i < 5; ++i) Pass(0.6, 0.6);
  balance_.Moved(scene_, ToCpu1(1));
  EXPECT_THAT(Complete().history, SizeIs(1));
  EXPECT_EQ(balance_.queue_moves(), 1u);
  scene_.queues[1].cpu = 1;
  Pass(0.6, 0.6);
  EXPECT_THAT(balance_.Gains(Complete()), IsEmpty());
  Pass(0.6, 0.6);
  Pass(0.6, 0.6);
  EXPECT_THAT(
      balance_.Gains(Complete()),
      ElementsAre(AllOf(
          Field(&Balance::Told::resource, "uplinks/up/queues/1"),
          Field(&Balance::Told::message,
                "uplinks/up/queues/1 moved to CPU 1: the busier of CPU 0 and CPU 1 needed 120 %, "
                "and 60 % 3 s later; gained 60 points, expected 60"))));
  EXPECT_THAT(balance_.Gains(Complete()), IsEmpty());
}

TEST_F(BalanceTest, WhatFailedIsLeftAloneForAWhile) {
  EXPECT_FALSE(Complete().queues[1].pinned);
  balance_.Failed(scene_, ToCpu1(1));
  EXPECT_TRUE(Complete().queues[1].pinned);
  EXPECT_FALSE(Complete().queues[0].pinned);
  EXPECT_THAT(Complete().history, IsEmpty());
  scene_.now += Balance::kFailedRest;
  EXPECT_FALSE(Complete().queues[1].pinned);
}

TEST_F(BalanceTest, HistoryIsOfAnHour) {
  balance_.Moved(scene_, ToCpu1(0));
  scene_.now += seconds(3600);
  balance_.Moved(scene_, ToCpu1(1));
  EXPECT_THAT(Complete().history, ElementsAre(Field(&PastMove::name, "uplinks/up/queues/1")));
}

TEST_F(BalanceTest, RemarksAreToldWhenTheyAreNew) {
  Plan plan;
  plan.remarks = {{"CPU 0", "CPU 0 needed 98 %"}};
  EXPECT_THAT(balance_.NewRemarks(plan, scene_.now), SizeIs(1));
  plan.remarks = {{"CPU 0", "CPU 0 needed 97 %"}, {"ports/vm1", "ports/vm1 alone needs 140 %"}};
  EXPECT_THAT(balance_.NewRemarks(plan, scene_.now + seconds(30)),
              ElementsAre(AllOf(Field(&Balance::Told::resource, "ports/vm1"),
                                Field(&Balance::Told::message, HasSubstr("140 %")))));
  EXPECT_THAT(balance_.NewRemarks(plan, scene_.now + seconds(80)), IsEmpty());
  EXPECT_THAT(balance_.NewRemarks(plan, scene_.now + seconds(150)), SizeIs(2));
}

}  // namespace
}  // namespace vmqd

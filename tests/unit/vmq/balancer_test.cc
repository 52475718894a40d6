// What the balancer does about made-up minutes.
#include "daemon/vmq/balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/balancer_laws.h"

namespace vmqd {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Minute Always(double share) {
  Minute minute;
  minute.seconds.fill(static_cast<float>(share));
  return minute;
}

Minute Lately(double share, size_t length) {
  Minute minute;
  for (size_t i = 0; i < length; ++i) minute.seconds[i] = static_cast<float>(share);
  return minute;
}

// One uplink. Queue numbers, and indices of queues and ports, are in the order of their adding.
class BalancerTest : public ::testing::Test {
 protected:
  BalancerTest() {
    scene_.now += std::chrono::hours(5);
    scene_.uplinks.push_back({});
  }

  void Cpus(size_t count) {
    for (size_t i = 0; i < count; ++i) scene_.cpus.push_back({.cpu = static_cast<int>(i)});
  }
  QueueView& Queue(int cpu) {
    const size_t number = scene_.queues.size();
    scene_.queues.push_back({.name = absl::StrCat("uplinks/eth0/queues/", number),
                             .number = static_cast<uint32_t>(number),
                             .cpu = cpu});
    return scene_.queues.back();
  }
  PortView& Port(size_t queue, const Minute& demand, uint32_t weight = 100) {
    scene_.ports.push_back({.name = absl::StrCat("ports/vm", scene_.ports.size()),
                            .queue = queue,
                            .weight = weight,
                            .demand = demand});
    return scene_.ports.back();
  }
  void Past(const std::string& name, seconds ago, MoveAim aim = MoveAim::kSpread) {
    scene_.history.push_back({.name = name, .aim = aim, .time = scene_.now - ago});
  }

  // "queue 1 to CPU 2", "vm0 to queue 3"
  std::vector<std::string> Moves() {
    EXPECT_EQ(testing::BrokenLaw(scene_), "");
    std::vector<std::string> moves;
    for (const Move& move : MakePlan(scene_).moves) {
      moves.push_back(move.kind == Move::Kind::kQueueToCpu
                          ? absl::StrCat("queue ", move.subject, " to CPU ", move.to.cpu)
                          : absl::StrCat("vm", move.subject, " to queue ", move.to_queue));
    }
    return moves;
  }

  Scene scene_;
};

// --- spread ---

// The two VMs of Hyper-V's story: queues 0 and 1 on one CPU, another CPU idle.
class TwoBusyVms : public BalancerTest {
 protected:
  TwoBusyVms() {
    Cpus(2);
    Queue(0);
    Queue(0);
    Port(0, Lately(1, 2));
    Port(1, Lately(0.98, 2));
  }
};

TEST_F(TwoBusyVms, AreSeparatedAfterTwoSeconds) {
  EXPECT_THAT(Moves(), ElementsAre("queue 0 to CPU 1"));
  const Plan plan = MakePlan(scene_);
  EXPECT_EQ(
      plan.moves[0].why,
      "CPU 0 needed 198 % and was over 70 % in 2 of the last 60 s; uplinks/eth0/queues/0 moves "
      "to CPU 1; expected: CPU 0 198 % -> 98 %, CPU 1 0 % -> 100 %");
  ASSERT_THAT(plan.forecast, SizeIs(2));
  EXPECT_NEAR(plan.forecast[0].before, 1.98, 1e-6);
  EXPECT_NEAR(plan.forecast[0].after, 0.98, 1e-6);
  EXPECT_NEAR(plan.forecast[1].after, 1, 1e-6);
  EXPECT_LT(plan.strain_after, plan.strain_before / 5);
}

TEST_F(TwoBusyVms, StayTogetherForASecond) {
  scene_.ports[0].demand = scene_.ports[1].demand = Lately(1, 1);
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(TwoBusyVms, AreSeparatedAlsoWhenTheirDemandIsHidden) {
  // Both wait for the CPU, nothing is lost: half as much again is presumed.
  scene_.ports[0].demand = scene_.ports[1].demand = Lately(0.75, 2);
  EXPECT_THAT(Moves(), SizeIs(1));
  // Not even that is seen: it takes longer.
  scene_.ports[0].demand = scene_.ports[1].demand = Lately(0.5, 3);
  EXPECT_THAT(Moves(), SizeIs(1));
}

TEST_F(TwoBusyVms, StayWhenTheyAreBusyByTurns) {
  for (size_t i = 0; i < Minute::kSeconds; ++i) {
    scene_.ports[0].demand.seconds[i] = i % 2 ? 0 : 0.65f;
    scene_.ports[1].demand.seconds[i] = i % 2 ? 0.65f : 0;
  }
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(TwoBusyVms, ModesAndPins) {
  scene_.uplinks[0].mode = BalanceMode::kStatic;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.asked = true;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.uplinks[0].mode = BalanceMode::kManual;
  EXPECT_THAT(Moves(), ElementsAre("queue 0 to CPU 1"));
  scene_.asked = false;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.uplinks[0].mode = BalanceMode::kDynamic;
  scene_.queues[0].pinned = true;
  EXPECT_THAT(Moves(), ElementsAre("queue 1 to CPU 1"));
  scene_.queues[1].pinned = true;
  EXPECT_THAT(Moves(), IsEmpty());
  const std::vector<Remark> remarks = MakePlan(scene_).remarks;
  ASSERT_THAT(remarks, SizeIs(1));
  EXPECT_EQ(remarks[0].about, "ports/vm0");
  EXPECT_THAT(remarks[0].text, HasSubstr("needed 198 %"));
}

TEST_F(TwoBusyVms, WaitForTheirCpusToSettle) {
  Past("ports/other", seconds(2));
  scene_.history[0].from.cpu = 7;
  scene_.history[0].to.cpu = 8;
  EXPECT_THAT(Moves(), SizeIs(1));
  scene_.history[0].to.cpu = 1;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.asked = true;
  EXPECT_THAT(Moves(), SizeIs(1));
  scene_.asked = false;
  scene_.history[0].time -= seconds(1);
  EXPECT_THAT(Moves(), SizeIs(1));
}

TEST_F(TwoBusyVms, WhatWasMovedRestsLongerEachTime) {
  scene_.queues[1].pinned = true;
  Past(scene_.queues[0].name, seconds(9));
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.history[0].time -= seconds(1);
  EXPECT_THAT(Moves(), SizeIs(1));
  Past(scene_.queues[0].name, seconds(19));
  scene_.history[0].time = scene_.history[1].time;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.history[1].time -= seconds(1);
  scene_.history[0].time -= seconds(1);
  EXPECT_THAT(Moves(), SizeIs(1));
}

TEST_F(TwoBusyVms, TheMoreWasMovedTheMoreItTakes) {
  for (int i = 0; i < 40; ++i) Past("ports/other", seconds(100));
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.ports[0].demand = Lately(1, 30);
  scene_.ports[1].demand = Lately(1, 30);
  EXPECT_THAT(Moves(), SizeIs(1));
}

TEST_F(TwoBusyVms, GoToAnotherCoreNotToASibling) {
  scene_.cpus = {
      {.cpu = 0, .core = 0}, {.cpu = 1, .core = 0}, {.cpu = 2, .core = 1}, {.cpu = 3, .core = 1}};
  EXPECT_THAT(Moves(), ElementsAre("queue 0 to CPU 2"));
  scene_.queues[1].cpu = 1;  // a sibling is the same place
  EXPECT_THAT(Moves(), ElementsAre("queue 0 to CPU 2"));
  scene_.cpus.resize(2);
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(TwoBusyVms, StayNearTheNic) {
  scene_.uplinks[0].node = 1;
  scene_.cpus = {{.cpu = 0, .node = 1}, {.cpu = 1, .node = 0}, {.cpu = 2, .node = 1}};
  EXPECT_THAT(Moves(), ElementsAre("queue 0 to CPU 2"));
  // Others have taken that one: better far than not at all.
  scene_.cpus[2].other = 0.95;
  EXPECT_THAT(Moves(), ElementsAre("queue 1 to CPU 1"));
}

TEST_F(BalancerTest, AHotVmAloneIsNotMoved) {
  Cpus(2);
  Queue(0);
  Queue(1);
  Port(0, Always(1.4));
  EXPECT_THAT(Moves(), IsEmpty());
  const std::vector<Remark> remarks = MakePlan(scene_).remarks;
  ASSERT_THAT(remarks, SizeIs(1));
  EXPECT_EQ(remarks[0].about, "ports/vm0");
  EXPECT_THAT(remarks[0].text,
              AllOf(HasSubstr("ports/vm0 alone needs 140 %"), HasSubstr("queue pairs")));
  // Whoever shares its queue is helped.
  Port(0, Always(0.2));
  EXPECT_THAT(Moves(), ElementsAre("vm1 to queue 1"));
}

TEST_F(BalancerTest, WhatOthersDoToACpuIsRemarkedWhereSomebodySuffers) {
  Cpus(1);
  scene_.cpus[0].other = 0.97;
  Queue(0);
  Port(0, Always(0.05));
  EXPECT_THAT(MakePlan(scene_).remarks, IsEmpty());
  Port(0, Always(0.1));
  EXPECT_THAT(MakePlan(scene_).remarks, SizeIs(1));
}

TEST_F(BalancerTest, OneThatCannotBeHelpedDoesNotKeepOthersWaiting) {
  Cpus(3);
  Queue(0);
  Queue(1);
  Queue(1);
  Port(0, Always(2));
  Port(1, Lately(0.8, 5));
  Port(2, Lately(0.8, 5));
  EXPECT_THAT(Moves(), ElementsAre("queue 1 to CPU 2"));
}

TEST_F(BalancerTest, APortIsMovedWhenNoQueueMoveHelps) {
  Cpus(2);
  Queue(0);
  Queue(1);
  Port(0, Always(0.6));
  Port(0, Always(0.5));
  Port(1, Always(0.1));
  EXPECT_THAT(Moves(), ElementsAre("vm1 to queue 1"));
  scene_.ports[1].pinned = true;
  EXPECT_THAT(Moves(), ElementsAre("vm0 to queue 1"));
  scene_.ports[0].weight = 0;
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(BalancerTest, ManySmallVmsAreSpreadStepByStep) {
  Cpus(2);
  Queue(0);
  Queue(1);
  for (int i = 0; i < 40; ++i) Port(0, Always(0.04));
  EXPECT_THAT(Moves(), SizeIs(kMovesPerPlan));
  scene_.asked = true;
  EXPECT_THAT(Moves(), SizeIs(kMovesPerAskedPlan));
}

TEST_F(BalancerTest, TroubleIsNotPassedOn) {
  Cpus(2);
  Queue(0);
  Queue(1);
  Port(0, Always(0.3));
  Port(0, Always(0.3));
  Port(0, Always(0.33));
  Port(1, Always(0.3));
  Port(1, Always(0.3));
  EXPECT_THAT(Moves(), IsEmpty());  // 93 and 60 % would become 63 and 90 %
}

TEST_F(BalancerTest, NobodyComesToAHeavierVmsOwnQueue) {
  Cpus(3);
  Queue(0);
  Queue(1);
  Queue(2);
  Port(0, Always(0.6), 50);
  Port(0, Always(0.5), 50);
  Port(1, Always(0.1), 100);
  Port(2, Always(0.2), 50);
  EXPECT_THAT(Moves(), ElementsAre("vm1 to queue 2"));
}

TEST_F(BalancerTest, WhatAMoveGained) {
  Cpus(2);
  Queue(0);
  Queue(1);
  Port(0, Always(0.6));
  Port(1, Always(0.7));
  const PastMove past{.from = {0, 1.3, 0.6}, .to = {1, 0, 0.7}};
  EXPECT_NEAR(GainedBy(past, scene_), 0.6, 1e-6);
}

// --- the processor set ---

TEST_F(BalancerTest, QueuesEnterTheProcessorSet) {
  Cpus(2);
  Queue(0);
  Queue(7);
  Port(0, Always(0.3));
  EXPECT_THAT(Moves(), ElementsAre("queue 1 to CPU 1"));
  scene_.queues[1].pinned = true;
  EXPECT_THAT(Moves(), IsEmpty());
}

// --- queues by weight ---

TEST_F(BalancerTest, AnIdleVmGivesItsQueueBack) {
  Cpus(3);
  for (int cpu = 0; cpu < 3; ++cpu) Queue(cpu);
  Port(1, Always(0));
  Port(2, Always(0.3));
  Port(2, Always(0.2));
  EXPECT_THAT(Moves(), ElementsAre("vm0 to queue 0", "vm1 to queue 1"));
  const Plan plan = MakePlan(scene_);
  EXPECT_EQ(plan.moves[0].aim, MoveAim::kGiveBack);
  EXPECT_THAT(plan.moves[0].why, HasSubstr("ports/vm0 was idle for a minute"));
  // The heavier one gets it.
  scene_.ports[1].weight = 10;
  EXPECT_THAT(Moves(), ElementsAre("vm0 to queue 0", "vm2 to queue 1"));
  // A second of work, and it is not idle.
  scene_.ports[0].demand.seconds[50] = 0.5;
  scene_.ports[1].weight = 100;
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(BalancerTest, AnEmptyQueueIsTaken) {
  Cpus(2);
  Queue(0);
  Queue(1);
  Port(0, Always(0.4));
  Port(0, Always(0.3));
  EXPECT_THAT(Moves(), ElementsAre("vm0 to queue 1"));
  scene_.uplinks[0].mode = BalanceMode::kStatic;
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(BalancerTest, WeightDecidesWhoHasAQueue) {
  Cpus(3);
  for (int cpu = 0; cpu < 3; ++cpu) Queue(cpu);
  Port(1, Always(0.45), 50);
  Port(2, Always(0.25), 100);
  Port(2, Always(0.2), 80);
  EXPECT_THAT(Moves(), ElementsAre("vm0 to queue 2", "vm1 to queue 1"));
  scene_.ports[0].pinned = true;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.ports[0].pinned = false;
  scene_.ports[0].weight = 100;
  EXPECT_THAT(Moves(), IsEmpty());
}

// --- quiet ---

TEST_F(BalancerTest, QuietQueuesCoalesce) {
  Cpus(4);
  for (int cpu = 0; cpu < 4; ++cpu) {
    Queue(cpu);
    Port(cpu, Always(0.12 + 0.01 * cpu));
  }
  EXPECT_THAT(Moves(), ElementsAre("queue 0 to CPU 3", "queue 1 to CPU 2"));
  scene_.watched = Minute::kSeconds - 1;
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.watched = Minute::kSeconds;
  Past("ports/other", seconds(299), MoveAim::kSpread);
  EXPECT_THAT(Moves(), IsEmpty());
  scene_.history[0].time -= seconds(1);
  EXPECT_THAT(Moves(), SizeIs(2));
  scene_.ports[1].demand.seconds[30] = 0.75;
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(BalancerTest, CoalescingIsNotAboutWhatOthersTake) {
  Cpus(2);
  scene_.cpus[0].other = 0.25;
  scene_.cpus[1].other = 0.2;
  Queue(0);
  Queue(1);
  Port(0, Always(0.05));
  EXPECT_THAT(Moves(), IsEmpty());  // the other CPU is as much in use
  Port(1, Always(0.05));
  EXPECT_THAT(Moves(), ElementsAre("queue 1 to CPU 0"));
}

TEST_F(BalancerTest, CoalescingStaysNearTheNic) {
  scene_.uplinks[0].node = 0;
  scene_.cpus = {{.cpu = 0, .node = 0}, {.cpu = 1, .node = 1}};
  Queue(0);
  Port(0, Always(0.1));
  scene_.uplinks.push_back({.node = 1});
  Queue(1).uplink = 1;
  Port(1, Always(0.1));
  EXPECT_THAT(Moves(), IsEmpty());
}

TEST_F(BalancerTest, QueuesReturnToTheNodeOfTheNic) {
  scene_.uplinks[0].node = 0;
  scene_.cpus = {{.cpu = 0, .node = 0}, {.cpu = 1, .node = 1}};
  Queue(0);
  Queue(1);
  Port(0, Always(0.3));
  Port(1, Always(0.3));
  EXPECT_THAT(Moves(), IsEmpty());  // 60 % is too much to come back to
  scene_.ports[0].demand = Always(0.15);
  EXPECT_THAT(Moves(), ElementsAre("queue 1 to CPU 0"));
}

}  // namespace
}  // namespace vmqd

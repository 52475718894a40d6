// CPU affinity of threads and interrupts.
#include "daemon/xdp/affinity.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <thread>

#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::Contains;
using ::testing::ElementsAre;

constexpr pid_t kNoSuchThread = 1 << 30;  // beyond the kernel's largest pid

TEST(AffinityTest, AllowedCpusAreAscendingAndRunnable) {
  const std::vector<int> cpus = AllowedCpus();
  ASSERT_FALSE(cpus.empty());
  EXPECT_TRUE(std::is_sorted(cpus.begin(), cpus.end()));
  EXPECT_THAT(cpus, Contains(sched_getcpu()));
}

TEST(AffinityTest, PinsAThreadAndPutsItBack) {
  auto before = ThreadCpus(0);
  ASSERT_OK(before);
  for (const int cpu : *before) {
    ASSERT_OK(PinThread(gettid(), cpu));
    EXPECT_THAT(AllowedCpus(), ElementsAre(cpu));
    EXPECT_EQ(sched_getcpu(), cpu);
  }
  ASSERT_OK(SetThreadCpus(0, *before));
  EXPECT_EQ(AllowedCpus(), *before);
}

TEST(AffinityTest, RefusesWithReason) {
  EXPECT_REFUSED(ThreadCpus(kNoSuchThread), StatusCode::kNotFound, "thread 1073741824");
  EXPECT_REFUSED(PinThread(kNoSuchThread, 0), StatusCode::kNotFound, "thread 1073741824");
  EXPECT_REFUSED(PinThread(0, -1), StatusCode::kInvalidArgument, "there is no CPU -1");
  EXPECT_REFUSED(PinThread(0, 8192), StatusCode::kInvalidArgument, "there is no CPU 8192");
  EXPECT_REFUSED(PinThread(0, 8191), StatusCode::kInvalidArgument, "this process may use CPU");
  EXPECT_REFUSED(IrqCpuList(99999), StatusCode::kNotFound, "/proc/interrupts");
  EXPECT_REFUSED(PinIrq(99999, 0), StatusCode::kNotFound, "interrupt 99999");
}

// Writes back what is there: every interrupt either takes it or says why not.
TEST(AffinityTest, ReadsAndWritesInterrupts) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to write /proc/irq";
  int taken = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/irq")) {
    const std::string name = entry.path().filename();
    if (!std::isdigit(static_cast<unsigned char>(name[0]))) continue;
    auto list = IrqCpuList(std::stoi(name));
    ASSERT_OK(list);
    EXPECT_FALSE(list->empty());
    const absl::Status status = SetIrqCpuList(std::stoi(name), *list);
    if (status.ok()) {
      ++taken;
      EXPECT_EQ(*IrqCpuList(std::stoi(name)), *list);
    } else {
      EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
    }
  }
  if (taken == 0) GTEST_SKIP() << "this machine has no interrupt that can be moved";
}

TEST(AffinityTest, KnowsNumaNodes) {
  const int cpu = AllowedCpus().front();
  const bool shown = std::filesystem::exists("/sys/devices/system/node/node0");
  if (!shown) GTEST_SKIP() << "this kernel shows no NUMA nodes";
  const int node = NumaNodeOfCpu(cpu);
  ASSERT_GE(node, 0);
  EXPECT_TRUE(std::filesystem::exists("/sys/devices/system/node/node" + std::to_string(node) +
                                      "/cpu" + std::to_string(cpu)));
}

TEST(AffinityTest, NoNumaNodeWithoutTheCpu) { EXPECT_EQ(NumaNodeOfCpu(99999), -1); }

}  // namespace
}  // namespace vmqd

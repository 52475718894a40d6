// Which NAPI serves which queue, and moving its kernel thread to a CPU.
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <fstream>

#include "daemon/xdp/affinity.h"
#include "daemon/xdp/link.h"
#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;

class NapiTest : public OwnNamespace {
 protected:
  // A veth end of four queues whose NAPIs run.
  void MakeFourQueues() {
    ASSERT_TRUE(
        Ip("link add va numtxqueues 4 numrxqueues 4 type veth peer name vb numtxqueues 4 "
           "numrxqueues 4"));
    auto link = FindLink("vb");
    ASSERT_OK(link);
    ifindex_ = link->ifindex;
    ASSERT_OK(SetLinkUp(ifindex_));
    ASSERT_OK(SetFeature("vb", "rx-gro", true));
    if (QueueNapis(ifindex_, 4)[0].id == 0) GTEST_SKIP() << "this kernel does not list NAPIs";
  }
  int ifindex_ = 0;
};

TEST_F(NapiTest, NoneBeforeGroOneAfterwards) {
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  const std::vector<Napi> near = QueueNapis(FindLink("va")->ifindex, 1);
  ASSERT_EQ(near.size(), 1u);
  EXPECT_EQ(near[0].id, 0u);
  const std::vector<Napi> far = QueueNapis(FindLink("vb")->ifindex, 1);
  ASSERT_EQ(far.size(), 1u);
  if (far[0].id == 0) GTEST_SKIP() << "this kernel does not list NAPIs";
  EXPECT_EQ(far[0].thread, 0);
  EXPECT_EQ(far[0].irq, -1);
}

TEST_F(NapiTest, NthNapiIsTakenForQueueN) {
  MakeFourQueues();
  if (IsSkipped() || HasFatalFailure()) return;
  const std::vector<Napi> napis = QueueNapis(ifindex_, 4);
  ASSERT_EQ(napis.size(), 4u);
  for (size_t i = 1; i < 4; ++i) EXPECT_LT(napis[i - 1].id, napis[i].id);
}

TEST_F(NapiTest, OtherNumberOfNapisSaysNothing) {
  MakeFourQueues();
  if (IsSkipped() || HasFatalFailure()) return;
  for (const uint32_t queues : {0u, 3u, 5u}) {
    const std::vector<Napi> napis = QueueNapis(ifindex_, queues);
    ASSERT_EQ(napis.size(), queues);
    for (const Napi& napi : napis) EXPECT_EQ(napi.id, 0u);
  }
}

TEST_F(NapiTest, MissingDeviceHasNone) {
  const std::vector<Napi> napis = QueueNapis(99999, 2);
  ASSERT_EQ(napis.size(), 2u);
  EXPECT_EQ(napis[0].id, 0u);
}

TEST_F(NapiTest, KernelThreadsAreListedAndPinned) {
  MakeFourQueues();
  if (IsSkipped() || HasFatalFailure()) return;
  // `threaded` is a sysfs file, and sysfs shows the namespace it was mounted in.
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount("sysfs", "/sys", "sysfs", 0, nullptr), 0) << std::strerror(errno);
  ASSERT_TRUE(std::ofstream("/sys/class/net/vb/threaded") << 1 << std::flush);
  for (const Napi& napi : QueueNapis(ifindex_, 4)) {
    ASSERT_GT(napi.thread, 0);
    const int cpu = AllowedCpus().back();
    ASSERT_OK(PinThread(napi.thread, cpu));
    auto cpus = ThreadCpus(napi.thread);
    ASSERT_OK(cpus);
    EXPECT_THAT(*cpus, ElementsAre(cpu));
  }
}

}  // namespace
}  // namespace vmqd

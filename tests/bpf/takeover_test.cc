// The crash rule, with traffic on the wire: what a dead daemon leaves behind works, and the next
// one takes it over without a frame going astray.
#include <gmock/gmock.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/xdp/pin.h"
#include "tests/bpf/pin_lab.h"

namespace vmqd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;
using testing::ProgramExists;
using testing::ProgramGoes;
using testing::ProgramOn;
using testing::Traffic;
using Running = Attachment::Running;

class TakeoverTest : public testing::PinLab {
 protected:
  // A daemon that attaches with this pin and dies.
  std::string LiveAndCrash(uid_t user = 0) {
    return Live(
        End::kCrash,
        [&] {
          Uplink daemon = Attach(Pin("uplink-eth0"));
          if (!daemon.status.ok()) return daemon.status.ToString();
          std::string complaint(daemon.program->attachment()->pin_status().message());
          static_cast<void>(daemon.program.release());  // nothing is put back
          return complaint;
        },
        user);
  }
};

TEST_F(TakeoverTest, WithoutAPinTheProgramEndsWithTheDaemon) {
  ASSERT_EQ(Live(End::kCrash,
                 [&] {
                   Uplink daemon = Attach("");
                   return daemon.status.ok() && ProgramOn(uplink()) != 0 ? "" : "not attached";
                 }),
            "");
  EXPECT_EQ(ProgramOn(uplink()), 0u);
}

TEST_F(TakeoverTest, ACrashLeavesVmFramesDroppedAndTheHostsPassing) {
  Traffic traffic;
  ASSERT_TRUE(traffic.Burst());
  ASSERT_EQ(traffic.leaked(), 32u);  // no switch: the host stack gets everything
  ASSERT_EQ(LiveAndCrash(), "");
  const uint32_t left = ProgramOn(uplink());
  ASSERT_NE(left, 0u);
  EXPECT_THAT(PinnedNames(dir()), ElementsAre("uplink-eth0"));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(traffic.Burst());
  EXPECT_EQ(traffic.leaked(), 32u);

  Uplink next = Attach(Pin("uplink-eth0"));
  ASSERT_OK(next.status);
  EXPECT_TRUE(next.program->attachment()->taken_over());
  EXPECT_EQ(next.program->attachment()->Look().running, Running::kOurs);
  EXPECT_NE(ProgramOn(uplink()), left);
  EXPECT_TRUE(ProgramGoes(left));
  ASSERT_TRUE(next.program->InheritedCounters().has_value());
  EXPECT_EQ(next.program->InheritedCounters()->drops[VMQD_DROP_NO_SOCKET], 3200u);
  EXPECT_GE(next.program->InheritedCounters()->to_host, 100u);
  ASSERT_TRUE(traffic.Burst());
  EXPECT_EQ(traffic.leaked(), 32u);
  EXPECT_EQ(next.program->Counters().drops[VMQD_DROP_NO_SOCKET], 32u);

  const uint32_t last = ProgramOn(uplink());
  next.program.reset();
  EXPECT_EQ(ProgramOn(uplink()), 0u);
  EXPECT_THAT(PinnedNames(dir()), IsEmpty());
  EXPECT_TRUE(ProgramGoes(last));
  ASSERT_TRUE(traffic.Burst());
  EXPECT_EQ(traffic.leaked(), 64u);
}

// Daemon after daemon dies while frames come without a pause. Every VM frame was seen by one of
// their programs, and every host frame came through.
TEST_F(TakeoverTest, NoFrameGoesAstrayWhenProgramsChange) {
  ASSERT_EQ(LiveAndCrash(), "");
  Traffic traffic;
  traffic.Start();
  uint64_t inherited = 0;
  for (int i = 0; i < 20; ++i) {
    const uint64_t before = traffic.vm_frames();
    while (traffic.vm_frames() < before + 320 && traffic.host_lost() == 0) usleep(100);
    const std::string said = Live(End::kCrash, [&] {
      Uplink daemon = Attach(Pin("uplink-eth0"));
      if (!daemon.status.ok()) return daemon.status.ToString();
      if (!daemon.program->attachment()->taken_over()) return std::string("not taken over");
      const uint64_t seen = daemon.program->InheritedCounters()->drops[VMQD_DROP_NO_SOCKET];
      static_cast<void>(daemon.program.release());
      return absl::StrCat(seen);
    });
    uint64_t seen = 0;
    ASSERT_TRUE(absl::SimpleAtoi(said, &seen)) << said;
    EXPECT_GT(seen, 0u);
    inherited += seen;
  }
  traffic.Stop();
  Uplink last = Attach(Pin("uplink-eth0"));
  ASSERT_OK(last.status);
  inherited += last.program->InheritedCounters()->drops[VMQD_DROP_NO_SOCKET];
  EXPECT_EQ(inherited, traffic.vm_frames());
  EXPECT_EQ(traffic.leaked(), 0u);
  EXPECT_EQ(traffic.host_lost(), 0u);
}

TEST_F(TakeoverTest, ThreeCapabilitiesAreEnough) {
  constexpr uid_t kService = 65534;
  const std::string own = Pin("own");
  ASSERT_EQ(mkdir(own.c_str(), 0700), 0);
  ASSERT_EQ(chown(own.c_str(), kService, kService), 0);
  ASSERT_EQ(chmod(dir().c_str(), 0755), 0);
  const std::string pin = own + "/uplink-eth0";
  ASSERT_EQ(Live(
                End::kCrash,
                [&] {
                  absl::Status status = PreparePinDirectory(own);
                  Uplink daemon = Attach(pin);
                  status.Update(daemon.status);
                  if (status.ok()) status.Update(daemon.program->attachment()->pin_status());
                  static_cast<void>(daemon.program.release());
                  return std::string(status.message());
                },
                kService),
            "");
  Traffic traffic;
  ASSERT_TRUE(traffic.Burst());
  EXPECT_EQ(traffic.leaked(), 0u);
  const uint32_t left = ProgramOn(uplink());
  ASSERT_EQ(Live(
                End::kExit,
                [&] {
                  absl::Status status = CheckNoProgram(uplink(), "uplink", pin);
                  Uplink daemon = Attach(pin);
                  status.Update(daemon.status);
                  if (!status.ok()) return status.ToString();
                  const Attachment& attachment = *daemon.program->attachment();
                  if (!attachment.taken_over()) return std::string("not taken over");
                  if (attachment.Look() != Attachment::State{}) return std::string("not ours");
                  if (!daemon.program->InheritedCounters()) return std::string("no counters");
                  if (PinnedNames(own).size() != 1) return std::string("not one pin");
                  daemon.program->Detach();
                  return std::string(PinnedNames(own).empty() ? "" : "left a pin");
                },
                kService),
            "");
  EXPECT_EQ(ProgramOn(uplink()), 0u);
  EXPECT_TRUE(ProgramGoes(left));
}

TEST_F(TakeoverTest, ACrashedPortStaysCutOffAndIsTakenOver) {
  const std::string pin = Pin("port-vm1");
  const vmqd_port_device device{.slot = 3, .first = 0, .queues = 1, .max_frame_len = 1792};
  ASSERT_EQ(Live(End::kCrash,
                 [&] {
                   auto program = PortProgram::Load();
                   if (!program.ok()) return program.status().ToString();
                   absl::Status status = (*program)->SetDevice(uplink(), device);
                   auto attachment = (*program)->Attach(uplink(), "uplink", pin);
                   status.Update(attachment.status());
                   if (status.ok()) static_cast<void>(attachment->release());
                   return std::string(status.message());
                 }),
            "");
  Traffic traffic;
  traffic.Send();
  auto program = PortProgram::Load();
  ASSERT_OK(program);
  ASSERT_OK((*program)->SetDevice(uplink(), device));
  const uint32_t left = ProgramOn(uplink());
  {
    auto attachment = (*program)->Attach(uplink(), "uplink", pin);
    ASSERT_OK(attachment);
    EXPECT_TRUE((*attachment)->taken_over());
    EXPECT_EQ((*attachment)->Look().running, Running::kOurs);
    EXPECT_TRUE(ProgramGoes(left));
    traffic.Send();
    // A veth's frames come a moment after they were sent, some of the first burst here perhaps.
    const auto dropped = [&] {
      return (*program)->Counters(device.slot).drops[VMQD_DROP_NO_SOCKET];
    };
    for (int i = 0; i < 50'000 && dropped() < 33; ++i) usleep(100);
    EXPECT_THAT(dropped(), AllOf(Ge(33u), Le(66u)));
  }
  EXPECT_EQ(ProgramOn(uplink()), 0u);
  EXPECT_THAT(PinnedNames(dir()), IsEmpty());
  ASSERT_TRUE(traffic.Burst());
  EXPECT_EQ(traffic.heard(), 33u);  // what came before went nowhere, not even the host's own
}

TEST_F(TakeoverTest, AnOrphanIsRemovedWhole) {
  ASSERT_EQ(LiveAndCrash(), "");
  const uint32_t left = ProgramOn(uplink());
  ASSERT_NE(left, 0u);
  ASSERT_OK(RemovePin(dir() + "/uplink-eth0"));
  EXPECT_EQ(ProgramOn(uplink()), 0u);
  EXPECT_TRUE(ProgramGoes(left));
  EXPECT_NE(access(Pin("uplink-eth0+counters").c_str(), F_OK), 0);
  EXPECT_OK(RemovePin(dir() + "/uplink-eth0"));
}

}  // namespace
}  // namespace vmqd

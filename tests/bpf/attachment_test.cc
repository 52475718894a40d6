// Attaching beside others: foreign programs, devices that go, modes that change, and what Look
// says of it.
#include "daemon/xdp/attachment.h"

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/pin.h"
#include "daemon/xdp/xdp_link.h"
#include "tests/bpf/pin_lab.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ProgramGoes;
using testing::ProgramOn;
using Running = Attachment::Running;
using State = Attachment::State;

class AttachmentTest : public testing::PinLab {
 protected:
  const std::string pin_name_ = "uplink-eth0";
  std::string pin() const { return Pin(pin_name_); }

  // The id of the link that is pinned.
  uint32_t PinnedLinkId() const {
    const int fd = bpf_obj_get(pin().c_str());
    bpf_link_info info{};
    __u32 size = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
    close(fd);
    return info.id;
  }
};

TEST_F(AttachmentTest, ForeignProgramsAreRefusedAndLeftAlone) {
  for (const uint32_t flags : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE}) {
    const uint32_t foreign = AttachForeign("uplink", flags);
    ASSERT_NE(foreign, 0u);
    for (const AttachMode mode : {AttachMode::kNative, AttachMode::kGeneric}) {
      EXPECT_REFUSED(Attach(pin(), mode).status, StatusCode::kFailedPrecondition,
                     absl::StrCat("already carries an XDP program (id ", foreign, ")"));
    }
    EXPECT_REFUSED(CheckNoProgram(uplink(), "uplink", pin()), StatusCode::kFailedPrecondition,
                   "bpftool net show dev uplink");
    EXPECT_EQ(ProgramOn(uplink()), foreign);
    EXPECT_THAT(PinnedNames(dir()), IsEmpty());
    ASSERT_TRUE(Ip("link set uplink xdpdrv off && ip link set uplink xdpgeneric off"));
  }
  EXPECT_OK(Attach(pin()).status);
}

// A link of a daemon that is gone does not make somebody else's program its own.
TEST_F(AttachmentTest, AForeignProgramBesideAStalePinIsRefused) {
  Uplink first = Attach(pin());
  ASSERT_OK(first.status);
  ASSERT_EQ(std::system(absl::StrCat("bpftool link detach id ", PinnedLinkId()).c_str()), 0);
  const uint32_t foreign = AttachForeign("uplink", XDP_FLAGS_DRV_MODE);
  EXPECT_EQ(first.program->attachment()->Look(),
            (State{.running = Running::kReplaced, .program_id = foreign}));
  EXPECT_REFUSED(Attach(pin()).status, StatusCode::kFailedPrecondition, "already carries");
  EXPECT_REFUSED(CheckNoProgram(uplink(), "uplink", pin()), StatusCode::kFailedPrecondition, "id");
  first.program->Detach();
  EXPECT_EQ(ProgramOn(uplink()), foreign);
}

TEST_F(AttachmentTest, OurOwnPinnedProgramIsNotForeign) {
  const Uplink first = Attach(pin());
  ASSERT_OK(first.status);
  EXPECT_OK(CheckNoProgram(uplink(), "uplink", pin()));
  EXPECT_REFUSED(CheckNoProgram(uplink(), "uplink"), StatusCode::kFailedPrecondition, "carries");
  EXPECT_REFUSED(CheckNoProgram(uplink(), "uplink", Pin("uplink-eth1")),
                 StatusCode::kFailedPrecondition, "carries");
  EXPECT_REFUSED(Attach(Pin("uplink-eth1")).status, StatusCode::kFailedPrecondition, "carries");
  EXPECT_EQ(first.program->attachment()->Look(), State{});
}

TEST_F(AttachmentTest, WhatCannotHappenToALinkDoesNot) {
  const Uplink daemon = Attach(pin());
  ASSERT_OK(daemon.status);
  EXPECT_FALSE(Ip("link set uplink xdp off 2>/dev/null"));
  EXPECT_FALSE(Ip("link set uplink xdpdrv off 2>/dev/null"));
  EXPECT_EQ(daemon.program->attachment()->Look(), State{});
}

TEST_F(AttachmentTest, DetachingByAnotherHandIsNoticedAndHealed) {
  Uplink daemon = Attach(pin());
  ASSERT_OK(daemon.status);
  ASSERT_EQ(std::system(absl::StrCat("bpftool link detach id ", PinnedLinkId()).c_str()), 0);
  EXPECT_EQ(daemon.program->attachment()->Look(), State{.running = Running::kDetached});
  EXPECT_EQ(Attachment::PinnedMode(uplink(), pin()), std::nullopt);
  ASSERT_OK(daemon.program->Attach(uplink(), "uplink", AttachMode::kNative, pin()));
  EXPECT_EQ(daemon.program->attachment()->Look(), State{});
  EXPECT_THAT(PinnedNames(dir()), ElementsAre(pin_name_));
  EXPECT_EQ(XdpLink::OpenPinned(pin())->ifindex(), uplink());
}

TEST_F(AttachmentTest, AnotherProgramInOurLinkIsNoticed) {
  Uplink ours = Attach(pin());
  ASSERT_OK(ours.status);
  const Uplink theirs = Attach(pin());  // what `bpf_link_update` through the pin does
  ASSERT_OK(theirs.status);
  EXPECT_EQ(ours.program->attachment()->Look(),
            (State{.running = Running::kReplaced, .program_id = ProgramOn(uplink())}));
  EXPECT_EQ(theirs.program->attachment()->Look(), State{});
}

TEST_F(AttachmentTest, ADeletedDeviceLeavesAPinThatIsReplaced) {
  Uplink daemon = Attach(pin());
  ASSERT_OK(daemon.status);
  ASSERT_TRUE(Ip("link del uplink"));
  EXPECT_EQ(daemon.program->attachment()->Look(), State{.running = Running::kDeviceGone});
  EXPECT_EQ(Attachment::PinnedMode(ifindex_, pin()), std::nullopt);
  ASSERT_TRUE(Ip("link add uplink type veth peer name wire"));
  ifindex_ = static_cast<int>(if_nametoindex("uplink"));
  const Uplink next = Attach(pin());
  ASSERT_OK(next.status);
  EXPECT_FALSE(next.program->attachment()->taken_over());
  EXPECT_EQ(next.program->attachment()->Look(), State{});
  EXPECT_EQ(XdpLink::OpenPinned(pin())->ifindex(), uplink());
}

// The name, and even the index, can come back without the program.
TEST_F(AttachmentTest, ADeviceThatCameBackWithTheSameIndexCarriesNothing) {
  Uplink daemon = Attach(pin());
  ASSERT_OK(daemon.status);
  ASSERT_TRUE(Ip("link del uplink"));
  ASSERT_TRUE(Ip(absl::StrCat("link add uplink index ", ifindex_, " type veth peer name wire")));
  EXPECT_EQ(daemon.program->attachment()->Look(), State{.running = Running::kDetached});
}

// A process that holds a network namespace open until it is destroyed.
class OtherNamespace {
 public:
  OtherNamespace() {
    int ready[2];
    if (pipe(ready) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      const char done = unshare(CLONE_NEWNET) == 0 ? 1 : 0;
      if (write(ready[1], &done, 1) == 1) pause();
      _exit(0);
    }
    char done = 0;
    EXPECT_EQ(read(ready[0], &done, 1), 1);
    close(ready[0]);
    close(ready[1]);
  }
  ~OtherNamespace() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::string pid() const { return absl::StrCat(pid_); }

 private:
  pid_t pid_ = -1;
};

TEST_F(AttachmentTest, AMovedDeviceIsGoneAndCanBeLeft) {
  const OtherNamespace elsewhere;
  Uplink daemon = Attach(pin());
  ASSERT_OK(daemon.status);
  const uint32_t id = ProgramOn(uplink());
  ASSERT_TRUE(Ip("link set uplink netns " + elsewhere.pid()));
  EXPECT_EQ(daemon.program->attachment()->Look(), State{.running = Running::kDeviceGone});
  // Another one in its place, with its index even, is not the one that carries the program.
  ASSERT_TRUE(Ip(absl::StrCat("link add uplink index ", ifindex_, " type veth peer name wire2")));
  EXPECT_EQ(daemon.program->attachment()->Look(), State{.running = Running::kDeviceGone});
  EXPECT_EQ(Attachment::PinnedMode(uplink(), pin()), std::nullopt);
  EXPECT_OK(CheckNoProgram(uplink(), "uplink", pin()));
  const Uplink next = Attach(pin());
  ASSERT_OK(next.status);
  EXPECT_FALSE(next.program->attachment()->taken_over());
  daemon.program.reset();
  EXPECT_TRUE(ProgramGoes(id));
  EXPECT_EQ(next.program->attachment()->Look(), State{});
}

TEST_F(AttachmentTest, AnotherModeIsAttachedAfresh) {
  const Uplink generic = Attach(pin(), AttachMode::kGeneric);
  ASSERT_OK(generic.status);
  EXPECT_EQ(Attachment::PinnedMode(uplink(), pin()), AttachMode::kGeneric);
  const Uplink again = Attach(pin(), AttachMode::kGeneric);
  ASSERT_OK(again.status);
  EXPECT_TRUE(again.program->attachment()->taken_over());
  const Uplink native = Attach(pin(), AttachMode::kNative);
  ASSERT_OK(native.status);
  EXPECT_FALSE(native.program->attachment()->taken_over());
  EXPECT_EQ(Attachment::PinnedMode(uplink(), pin()), AttachMode::kNative);
  EXPECT_EQ(again.program->attachment()->Look().running, Running::kReplaced);
}

TEST_F(AttachmentTest, ALinkOnAnotherDeviceIsMoved) {
  const Uplink first = Attach(pin());
  ASSERT_OK(first.status);
  const int other = static_cast<int>(if_nametoindex("wire"));
  auto program = UplinkProgram::Load(1792);
  ASSERT_OK(program);
  ASSERT_OK((*program)->Attach(other, "wire", AttachMode::kNative, pin()));
  EXPECT_FALSE((*program)->attachment()->taken_over());
  EXPECT_EQ(ProgramOn(uplink()), 0u);
  EXPECT_EQ((*program)->attachment()->Look(), State{});
}

TEST_F(AttachmentTest, WithoutAPlaceToPinItIsAttachedAllTheSame) {
  const Uplink daemon = Attach("/tmp/uplink-eth0");
  ASSERT_OK(daemon.status);
  EXPECT_EQ(daemon.program->attachment()->Look(), State{});
  EXPECT_REFUSED(daemon.program->attachment()->pin_status(), StatusCode::kFailedPrecondition,
                 "pinning the XDP program to /tmp/uplink-eth0");
}

TEST_F(AttachmentTest, DirectoriesArePreparedOrRefused) {
  EXPECT_OK(PreparePinDirectory(dir()));
  EXPECT_OK(PreparePinDirectory(Pin("vmqd")));
  EXPECT_EQ(access(Pin("vmqd").c_str(), W_OK), 0);
  EXPECT_OK(PreparePinDirectory(Pin("vmqd")));
  EXPECT_REFUSED(PreparePinDirectory("/tmp"), StatusCode::kFailedPrecondition,
                 "'mount -t bpf bpf /tmp'");
  EXPECT_REFUSED(PreparePinDirectory("/tmp/no-such-vmqd"), StatusCode::kFailedPrecondition,
                 "/tmp is not on a bpf file system");
  EXPECT_REFUSED(PreparePinDirectory("/no-such/vmqd"), StatusCode::kFailedPrecondition, "vmqd");
  ASSERT_EQ(chmod(dir().c_str(), 0755), 0);
  EXPECT_THAT(Live(
                  End::kExit, [&] { return PreparePinDirectory(Pin("vmqd")).ToString(); }, 65534),
              HasSubstr("PERMISSION_DENIED"));
  EXPECT_THAT(Live(
                  End::kExit, [&] { return PreparePinDirectory(Pin("new")).ToString(); }, 65534),
              HasSubstr("PERMISSION_DENIED"));
  EXPECT_THAT(PinnedNames("/no-such/vmqd"), IsEmpty());
}

TEST_F(AttachmentTest, EveryIdMakesAPin) {
  const std::string path = PinPath(dir(), "uplink", "eth0.100");
  EXPECT_EQ(path, dir() + "/uplink-eth0%2e100");
  EXPECT_NE(PinPath(dir(), "uplink", "eth0_2e100"), path);
  const Uplink daemon = Attach(path);
  ASSERT_OK(daemon.status);
  EXPECT_OK(daemon.program->attachment()->pin_status());
}

int Fences(const std::string& device) {
  FILE* filters = popen(("tc filter show dev " + device + " ingress").c_str(), "r");
  int fences = 0;
  for (char line[512]; std::fgets(line, sizeof(line), filters) != nullptr;) {
    if (std::strstr(line, "vmqd_fence") != nullptr) ++fences;
  }
  pclose(filters);
  return fences;
}

TEST_F(AttachmentTest, TheFenceOutlivesTheDaemonAndIsReplaced) {
  const auto fence = [&] {
    auto program = PortProgram::Load();
    if (!program.ok()) return program.status().ToString();
    return std::string((*program)->Fence(uplink(), "uplink").message());
  };
  ASSERT_EQ(Live(End::kCrash, fence), "");
  EXPECT_EQ(Fences("uplink"), 1);
  ASSERT_EQ(Live(End::kExit, fence), "");
  ASSERT_EQ(fence(), "");
  EXPECT_EQ(Fences("uplink"), 1);
}

}  // namespace
}  // namespace vmqd

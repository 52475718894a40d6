// A switch with vhost-user ports, each with a front end of the test's own, and a look at what the
// process holds: at the end of every test all frames are accounted for, and all descriptors,
// mappings and buffers are back.
#ifndef VMQD_TESTS_SWITCH_VHOST_FIXTURE_H_
#define VMQD_TESTS_SWITCH_VHOST_FIXTURE_H_

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "daemon/net/drop_reason.h"
#include "tests/support/front_end.h"
#include "tests/switch/switch_fixture.h"

namespace vmqd::testing {

class VhostSwitchTest : public SwitchTest {
 protected:
  void SetUpVhost() override {
    char name[] = "/tmp/vhost_switch.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    auto server = VhostServer::Create({directory_, "", 0660});
    ASSERT_OK(server);
    vhost_ = *std::move(server);
  }

  void SetUp() override {
    SwitchTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // Threads that start hold some for a moment.
    fds_before_ = OpenFds();
    for (int i = 0; i < 10; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      fds_before_ = std::min(fds_before_, OpenFds());
    }
    maps_before_ = GuestMappings();
  }

  void TearDown() override {
    if (switch_ != nullptr && !IsSkipped()) ExpectNothingIsLeft();
    switch_.reset();
    vhost_.reset();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  // A vhost-user port vm<n> with the socket of that name.
  absl::Status AddVhost(uint8_t n, uint32_t queue = 0, uint32_t vlan = 0, uint32_t pairs = 1) {
    PortConfig config;
    config.id = config.socket = absl::StrCat("vm", n);
    config.kind = PortKind::kVhostUser;
    config.macs = {MacOf(n)};
    config.vlan = vlan;
    config.queue = queue;
    config.queue_pairs = pairs;
    return switch_->AddPort(config).status();
  }
  // The same with a front end on it, whose link is up.
  std::unique_ptr<FrontEnd> AddGuest(uint8_t n, const FrontEnd::Options& options = {},
                                     uint32_t queue = 0, uint32_t vlan = 0) {
    auto guest = std::make_unique<FrontEnd>(options);
    EXPECT_OK(AddVhost(n, queue, vlan, options.pairs));
    EXPECT_TRUE(guest->Connect(Path(n)));
    EXPECT_TRUE(UpSoon(n));
    return guest;
  }
  std::string Path(uint8_t n) const { return absl::StrCat(directory_, "/vm", n); }
  PortStatus Status(uint8_t n) const { return *switch_->GetPort(absl::StrCat("vm", n)); }
  bool UpSoon(uint8_t n) {
    return Eventually([&] { return Status(n).oper == OperStatus::kUp; });
  }
  uint64_t InDrops(uint8_t n, DropReason reason) const {
    return Status(n).counters.in_drops[static_cast<size_t>(reason)];
  }
  uint64_t OutDrops(uint8_t n, DropReason reason) const {
    return Status(n).counters.out_drops[static_cast<size_t>(reason)];
  }

  template <typename F>
  static bool Eventually(F holds, int milliseconds = 5000) {
    for (int i = 0; i < milliseconds / 5; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return holds();
  }

  // A frame from one VM to another that says which it is by its bytes.
  static Bytes FrameTo(uint8_t to, uint8_t from, size_t length, uint8_t first = 0) {
    Bytes frame = EthernetFrame(MacOf(to), MacOf(from), {}, 0x88b5, length);
    for (size_t i = 14; i < length; ++i) frame[i] = static_cast<uint8_t>(frame[i] + first);
    return frame;
  }
  // What `guest` receives next is this frame, with nothing asked of it.
  static void ExpectFrame(FrontEnd& guest, const Bytes& frame, const std::string& what = "") {
    const auto received = guest.Receive();
    ASSERT_TRUE(received.has_value()) << what << " of " << frame.size() << " bytes did not come";
    EXPECT_EQ(received->bytes, frame) << what;
    EXPECT_EQ(received->offload.flags, 0) << what;
    EXPECT_EQ(received->offload.gso_type, 0) << what;
    EXPECT_EQ(guest.problems(), "") << what;
  }
  // Frames both ways, of several lengths, byte by byte.
  static void ExpectTalk(FrontEnd& one, uint8_t one_is, FrontEnd& other, uint8_t other_is,
                         uint32_t rounds = 20) {
    for (uint32_t i = 0; i < rounds; ++i) {
      const size_t length = 60 + (i * 211) % 1455;
      const Bytes there = FrameTo(other_is, one_is, length, static_cast<uint8_t>(i));
      const Bytes back = FrameTo(one_is, other_is, length, static_cast<uint8_t>(i + 7));
      ASSERT_TRUE(one.Send(there));
      ASSERT_NO_FATAL_FAILURE(ExpectFrame(other, there, "there"));
      ASSERT_TRUE(other.Send(back));
      ASSERT_NO_FATAL_FAILURE(ExpectFrame(one, back, "back"));
    }
  }

  static size_t OpenFds() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                             std::filesystem::directory_iterator()));
  }
  // All memory of guests is in memory files called "guest".
  static size_t GuestMappings() {
    std::ifstream maps("/proc/self/maps");
    size_t count = 0;
    for (std::string line; std::getline(maps, line);) {
      count += line.find("memfd:guest") != std::string::npos ? 1 : 0;
    }
    return count;
  }

  // Every front end of the test is gone by now.
  void ExpectNothingIsLeft() {
    ExpectConserved();
    for (const PortStatus& port : switch_->ListPorts()) {
      EXPECT_OK(switch_->DeletePort(port.config.id));
    }
    EXPECT_TRUE(Eventually([this] { return BuffersInFlight() == 0; })) << BuffersInFlight();
    EXPECT_TRUE(Eventually([this] { return OpenFds() == fds_before_; }))
        << OpenFds() << " descriptors are open, " << fds_before_ << " were";
    EXPECT_TRUE(Eventually([this] { return GuestMappings() == maps_before_; }));
    ExpectConserved();
  }

  std::string directory_;
  size_t fds_before_ = 0;
  size_t maps_before_ = 0;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SWITCH_VHOST_FIXTURE_H_

// The Switch with its real workers, sockets and programs, in one process, so that the thread
// sanitizer sees control threads and workers together. Devices are veths in a namespace of the
// test's own. Root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/switch/switch_fixture.h"
#include "tests/switch/wire.h"

namespace vmqd {
namespace {

using testing::kBroadcast;
using testing::kOutside;
using testing::MacOf;
using testing::SwitchTest;
using testing::Wire;

std::multiset<uint32_t> UpTo(uint32_t count) {
  std::multiset<uint32_t> all;
  for (uint32_t i = 0; i < count; ++i) all.insert(i);
  return all;
}

TEST_F(SwitchTest, FramesReachTheirVmWhicheverQueueTheyComeOn) {
  ASSERT_OK(AddVm(1));
  ASSERT_OK(AddVm(2));
  Wire vm1("eth1");
  Wire vm2("eth2");
  for (uint32_t i = 0; i < 100; ++i) {
    wire_->Send(MacOf(1), kOutside, i);
    wire_->Send(MacOf(2), kOutside, i);
  }
  EXPECT_EQ(vm1.Collect(MacOf(1), 100), UpTo(100));
  EXPECT_EQ(vm2.Collect(MacOf(2), 100), UpTo(100));
  ExpectConserved();
  EXPECT_EQ(switch_->GetPort("vm1")->counters.out_pkts, 100u);
  EXPECT_EQ(switch_->GetPort("vm2")->counters.out_pkts, 100u);
}

TEST_F(SwitchTest, VmsAtHomeOnDifferentQueuesTalkAndFlood) {
  for (uint8_t n = 1; n <= 3; ++n) ASSERT_OK(AddVm(n));
  ASSERT_NE(switch_->GetPort("vm1")->queue, switch_->GetPort("vm2")->queue);
  Wire vm1("eth1");
  Wire vm2("eth2");
  Wire vm3("eth3");
  for (uint32_t i = 0; i < 100; ++i) vm1.Send(MacOf(2), MacOf(1), i);
  EXPECT_EQ(vm2.Collect(MacOf(2), 100), UpTo(100));
  for (uint32_t i = 0; i < 50; ++i) vm2.Send(kBroadcast, MacOf(2), i);
  EXPECT_EQ(vm1.Collect(kBroadcast, 50), UpTo(50));
  EXPECT_EQ(vm3.Collect(kBroadcast, 50), UpTo(50));
  EXPECT_EQ(wire_->Collect(kBroadcast, 50), UpTo(50));
  EXPECT_TRUE(vm2.Collect(kBroadcast, 1, 100).empty()) << "reflected to its sender";
  ExpectConserved();
}

TEST_F(SwitchTest, PortsComeAndGoWhileAnotherLosesNothing) {
  ASSERT_OK(AddVm(1));
  Wire vm1("eth1");
  constexpr uint32_t kFrames = 4000;
  std::thread sender([this] {
    for (uint32_t i = 0; i < kFrames; ++i) {
      wire_->Send(MacOf(1), kOutside, i);
      if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
  });
  std::thread watcher([this] {
    for (int i = 0; i < 30; ++i) {
      switch_->ListPorts();
      EXPECT_OK(switch_->ListQueues(std::nullopt));
      switch_->Show();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  for (int round = 0; round < 4; ++round) {
    for (uint8_t n = 2; n <= 6; ++n) EXPECT_OK(AddVm(n));
    PortPatch patch;
    patch.vlan = 7;
    EXPECT_OK(switch_->UpdatePort("vm2", patch));
    for (uint8_t n = 2; n <= 6; ++n) EXPECT_OK(switch_->DeletePort(absl::StrCat("vm", n)));
  }
  sender.join();
  watcher.join();
  EXPECT_EQ(vm1.Collect(MacOf(1), kFrames), UpTo(kFrames));
  ExpectConserved();
}

TEST_F(SwitchTest, APortThatGoesGivesBackWhatItHeld) {
  ASSERT_OK(AddVm(1));
  for (int round = 0; round < 5; ++round) {
    for (uint8_t n = 2; n <= 5; ++n) ASSERT_OK(AddVm(n));
    Wire vm2("eth2");
    for (uint32_t i = 0; i < 100; ++i) {
      wire_->Send(MacOf(2), kOutside, i);
      vm2.Send(MacOf(3), MacOf(2), i);
    }
    for (uint8_t n = 2; n <= 5; ++n) ASSERT_OK(switch_->DeletePort(absl::StrCat("vm", n)));
  }
  // Each buffer is free or in a ring again once every worker has looked at its mailbox.
  for (int i = 0; i < 100 && BuffersInFlight() != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(BuffersInFlight(), 0);
  ExpectConserved();
}

TEST_F(SwitchTest, ADeviceThatVmqdMadeIsMadeAgain) {
  ASSERT_OK(AddVm(1));
  ASSERT_OK(AddVm(2));
  Wire vm1("eth1");
  ASSERT_TRUE(Ip("link del eth2"));
  EXPECT_TRUE(SaysSoon("ports/vm2", "RUNNING"));
  Wire vm2("eth2");
  for (uint32_t i = 0; i < 100; ++i) {
    wire_->Send(MacOf(1), kOutside, i);
    wire_->Send(MacOf(2), kOutside, i);
  }
  EXPECT_EQ(vm1.Collect(MacOf(1), 100), UpTo(100));
  EXPECT_EQ(vm2.Collect(MacOf(2), 100), UpTo(100));
  ExpectConserved();
}

TEST_F(SwitchTest, APortWaitsForItsDevice) {
  ASSERT_TRUE(Ip("link add box type veth peer name box-p") && Ip("link set box up") &&
              Ip("link set box-p up"));
  PortConfig config{.id = "box", .kind = PortKind::kNetdev, .device = "box", .macs = {MacOf(7)}};
  ASSERT_OK(switch_->AddPort(config));
  ASSERT_TRUE(Ip("link del box"));
  EXPECT_TRUE(SaysSoon("ports/box", "DEVICE_GONE"));
  EXPECT_EQ(switch_->GetPort("box")->oper, OperStatus::kWaiting);
  for (uint32_t i = 0; i < 100; ++i) wire_->Send(MacOf(7), kOutside, i);
  const auto nobodys = [this] {
    return switch_->GetUplink("nic0")->counters.in_drops[VMQD_DROP_NO_SOCKET];
  };
  for (int i = 0; i < 500 && nobodys() < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(nobodys(), 100u) << "and the host got none";

  ASSERT_TRUE(Ip("link add box type veth peer name box-p") && Ip("link set box up") &&
              Ip("link set box-p up"));
  EXPECT_TRUE(SaysSoon("ports/box", "RUNNING"));
  // It may have been taken up a moment before its other end was up.
  for (int i = 0; i < 500 && switch_->GetPort("box")->oper != OperStatus::kUp; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  Wire box("box-p");
  for (uint32_t i = 0; i < 100; ++i) wire_->Send(MacOf(7), kOutside, i);
  EXPECT_EQ(box.Collect(MacOf(7), 100), UpTo(100));
  ExpectConserved();
}

TEST_F(SwitchTest, ACallThatFailsLeavesNothingBehind) {
  ASSERT_OK(AddVm(1));
  const uint32_t reserved = switch_->GetQueue("nic0", 2)->buffers_reserved;
  ASSERT_TRUE(Ip("link add eth9 type veth peer name x9"));
  EXPECT_REFUSED(AddVm(9), absl::StatusCode::kAlreadyExists, "eth9");
  EXPECT_EQ(switch_->ListPorts().size(), 1u);
  EXPECT_EQ(switch_->GetQueue("nic0", 2)->buffers_reserved, reserved);
  ASSERT_TRUE(Ip("link del eth9"));
  EXPECT_OK(AddVm(9));
}

}  // namespace
}  // namespace vmqd

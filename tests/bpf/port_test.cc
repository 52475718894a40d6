// The verdict tables of the netdev port program and of the fence of tap ports.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

#include "port.skel.h"
#include "tests/bpf/kernel_run.h"

namespace vmqd {
namespace {

using testing::Bytes;
using testing::Counters;
using testing::Difference;
using testing::EthernetFrame;
using ::testing::IsEmpty;
using testing::kBroadcast;
using testing::kNoSplitFrames;
using testing::LinkLocalGroup;
using testing::ReadPortCounters;
using testing::RunTc;
using testing::RunXdp;
using testing::SplitFramesCanRun;
using testing::TagShape;
using testing::Verdict;

constexpr MacAddress kVm{{0x52, 0x54, 0, 0, 0, 1}};
constexpr MacAddress kOther{{0x52, 0x54, 0, 0, 0, 2}};
constexpr uint32_t kMaxFrameLen = 1792;

// Two ports: "uplink" with two of its four queues, and right behind its sockets those of "wire",
// so that a queue out of range would find another port's socket.
constexpr vmqd_port_device kPort{.slot = 11, .first = 20, .queues = 2};
constexpr vmqd_port_device kNeighbour{
    .slot = 12, .first = 22, .queues = 4, .max_frame_len = kMaxFrameLen};

class PortTest : public testing::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) Load(kMaxFrameLen);
  }

  void TearDown() override {
    port_bpf__destroy(program_);
    KernelTest::TearDown();
  }

  void Load(uint32_t max_frame_len) {
    port_bpf__destroy(program_);
    program_ = port_bpf__open();
    ASSERT_NE(program_, nullptr);
    ASSERT_EQ(port_bpf__load(program_), 0);
    vmqd_port_device port = kPort;
    port.max_frame_len = max_frame_len;
    AddDevice("uplink", port);
    AddDevice("wire", kNeighbour);
    port_socket_ = PutSocket(program_->maps.port_sockets, 20);
    for (uint32_t index : {21, 22, 23, 24}) PutSocket(program_->maps.port_sockets, index);
  }

  void AddDevice(const char* name, const vmqd_port_device& device) {
    const uint32_t ifindex = Ifindex(name);
    ASSERT_EQ(
        bpf_map_update_elem(bpf_map__fd(program_->maps.port_devices), &ifindex, &device, BPF_ANY),
        0);
  }

  Counters Read(uint32_t slot) { return ReadPortCounters(program_->maps.port_counters, slot); }

  // One row: `counter` and `received` of that port go up by one, no other port's counters move.
  void Expect(const char* device, const Bytes& frame, uint32_t queue, const std::string& counter,
              std::optional<uint32_t> first_buffer = std::nullopt) {
    const bool neighbour = std::string(device) == "wire";
    const uint32_t slot = neighbour ? kNeighbour.slot : kPort.slot;
    const uint32_t other = neighbour ? kPort.slot : kNeighbour.slot;
    const Counters before = Read(slot), others = Read(other);
    const Verdict verdict =
        RunXdp(program_->progs.vmqd_port, frame,
               {.ifindex = Ifindex(device), .queue = queue, .first_buffer = first_buffer});
    EXPECT_EQ(verdict.error, 0);
    EXPECT_EQ(verdict.action,
              static_cast<uint32_t>(counter == "to_switch" ? XDP_REDIRECT : XDP_DROP));
    EXPECT_EQ(Difference(Read(slot), before), (Counters{{"received", 1}, {counter, 1}}));
    EXPECT_EQ(Read(other), others);
    EXPECT_THAT(Read(0), IsEmpty());
  }

  // One row: dropped, and nobody's counters move, for there is no port to count it under.
  void ExpectUncounted(const char* device) {
    const Counters port = Read(kPort.slot), neighbour = Read(kNeighbour.slot);
    const Verdict verdict =
        RunXdp(program_->progs.vmqd_port, EthernetFrame(kOther, kVm, {}, 0x0800, 64),
               {.ifindex = Ifindex(device)});
    EXPECT_EQ(verdict.error, 0);
    EXPECT_EQ(verdict.action, static_cast<uint32_t>(XDP_DROP));
    EXPECT_EQ(Read(kPort.slot), port);
    EXPECT_EQ(Read(kNeighbour.slot), neighbour);
    EXPECT_THAT(Read(0), IsEmpty());
  }

  port_bpf* program_ = nullptr;
  int port_socket_ = -1;
};

TEST_F(PortTest, EveryEtherTypeAndTagShape) {
  for (const TagShape& shape : testing::TagShapes()) {
    for (uint16_t type : testing::EtherTypes()) {
      SCOPED_TRACE(shape.name + std::string(", EtherType ") + std::to_string(type));
      Expect("uplink", EthernetFrame(kOther, kVm, shape.tags, type, 64), 0, "to_switch");
      Expect("uplink", EthernetFrame(kBroadcast, kVm, shape.tags, type, 64), 1, "to_switch");
      Expect("uplink", EthernetFrame(LinkLocalGroup(2), kVm, shape.tags, type, 64), 0,
             "reserved_multicast");
    }
  }
}

TEST_F(PortTest, EveryQueue) {
  const Bytes frame = EthernetFrame(kOther, kVm, {}, 0x0800, 64);
  Expect("uplink", frame, 0, "to_switch");
  Expect("uplink", frame, 1, "to_switch");
  Expect("uplink", frame, 2, "no_socket");  // out of range: the socket there is the neighbour's
  Expect("uplink", frame, 3, "no_socket");
  Expect("wire", frame, 0, "to_switch");
  Expect("wire", frame, 1, "to_switch");
  Expect("wire", frame, 2, "to_switch");
  Expect("wire", frame, 3, "no_socket");  // in range, but not open
}

TEST_F(PortTest, ASocketThatIsClosedLeavesTheMap) {
  const Bytes frame = EthernetFrame(kOther, kVm, {}, 0x0800, 64);
  Expect("uplink", frame, 0, "to_switch");
  ASSERT_EQ(dup2(STDERR_FILENO, port_socket_), port_socket_);  // closes it, keeps the number
  Expect("uplink", frame, 0, "no_socket");
}

TEST_F(PortTest, ADeviceThatIsNoPortIsCutOff) {
  ExpectUncounted("lo");
  const uint32_t ifindex = Ifindex("uplink");
  ASSERT_EQ(bpf_map_delete_elem(bpf_map__fd(program_->maps.port_devices), &ifindex), 0);
  ExpectUncounted("uplink");
}

TEST_F(PortTest, ASlotThatDoesNotExistIsCutOff) {
  AddDevice("lo", {.slot = VMQD_MAX_PORTS, .first = 20, .queues = 1, .max_frame_len = kMaxFrameLen});
  ExpectUncounted("lo");
}

TEST_F(PortTest, Groups) {
  for (uint8_t last = 0; last < 0x10; ++last) {
    SCOPED_TRACE(LinkLocalGroup(last).ToString());
    Expect("uplink", EthernetFrame(LinkLocalGroup(last), kVm, {}, 0x88cc, 64), 0,
           "reserved_multicast");
  }
  for (const MacAddress& group :
       {kBroadcast, LinkLocalGroup(0x10), LinkLocalGroup(0xff),
        MacAddress{{0x01, 0x80, 0xc2, 0, 1, 0}}, MacAddress{{0x01, 0x80, 0xc2, 1, 0, 0}},
        MacAddress{{0x00, 0x80, 0xc2, 0, 0, 0}}, MacAddress{{0x33, 0x33, 0, 0, 0, 1}}}) {
    SCOPED_TRACE(group.ToString());
    Expect("uplink", EthernetFrame(group, kVm, {}, 0x0800, 64), 0, "to_switch");
  }
}

TEST_F(PortTest, EveryTruncation) {
  const struct {
    const char* name;
    Bytes frame;
    bool tagged;
    const char* counter;
  } rows[] = {
      {"untagged", EthernetFrame(kOther, kVm, {}, 0x0800, 64), false, "to_switch"},
      {"tagged", EthernetFrame(kOther, kVm, {{0x8100, 100}}, 0x0800, 64), true, "to_switch"},
      {"802.1ad", EthernetFrame(kOther, kVm, {{0x88a8, 100}}, 0x0800, 64), false, "to_switch"},
      {"broadcast", EthernetFrame(kBroadcast, kVm, {}, 0x0806, 64), false, "to_switch"},
      {"reserved", EthernetFrame(LinkLocalGroup(0), kVm, {}, 0x0026, 64), false,
       "reserved_multicast"},
      {"reserved, tagged", EthernetFrame(LinkLocalGroup(0), kVm, {{0x8100, 1}}, 0x0026, 64), true,
       "reserved_multicast"},
  };
  for (const auto& row : rows) {
    for (size_t length = 0; length <= 64; ++length) {
      SCOPED_TRACE(row.name + std::string(" cut to ") + std::to_string(length));
      const Bytes cut(row.frame.begin(), row.frame.begin() + static_cast<long>(length));
      if (length < 14) {  // the kernel hands no such frame to a program
        EXPECT_EQ(RunXdp(program_->progs.vmqd_port, cut, {.ifindex = Ifindex("uplink")}).error,
                  -EINVAL);
      } else {
        Expect("uplink", cut, 0, row.tagged && length < 18 ? "truncated_tag" : row.counter);
      }
    }
  }
}

// No device hands over less than an Ethernet header; a first buffer that ends inside a header looks
// the same to a program, and the kernel can test-run that.
TEST_F(PortTest, HeadersThatEndBeyondTheFirstBuffer) {
  const Bytes untagged = EthernetFrame(kOther, kVm, {}, 0x0800, 64);
  const Bytes tagged = EthernetFrame(LinkLocalGroup(0), kVm, {{0x8100, 100}}, 0x0800, 64);
  if (!SplitFramesCanRun(program_->progs.vmqd_port)) GTEST_SKIP() << kNoSplitFrames;
  for (uint32_t first = 0; first <= 64; ++first) {
    SCOPED_TRACE(std::to_string(first) + " bytes in the first buffer");
    const char* cut = first < 14 ? "runt" : "truncated_tag";
    Expect("uplink", untagged, 0, first < 14 ? "runt" : "to_switch", first);
    Expect("uplink", tagged, 0, first < 18 ? cut : "reserved_multicast", first);
  }
}

TEST_F(PortTest, AFrameMustFitABuffer) {
  for (uint32_t limit : {kMaxFrameLen, 3840u, 9018u}) {
    Load(limit);
    for (uint32_t length : {limit - 1, limit, limit + 1, 5000u, 9018u}) {
      SCOPED_TRACE(std::to_string(length) + " bytes, limit " + std::to_string(limit));
      Expect("uplink", EthernetFrame(kOther, kVm, {}, 0x0800, length), 0,
             length <= limit ? "to_switch" : "frame_too_large");
      Expect("uplink", EthernetFrame(kBroadcast, kVm, {{0x8100, 5}}, 0x0800, length), 1,
             length <= limit ? "to_switch" : "frame_too_large");
    }
  }
}

TEST_F(PortTest, TheFenceLetsNothingThrough) {
  for (const TagShape& shape : testing::TagShapes()) {
    for (const MacAddress& destination : {kOther, kBroadcast, LinkLocalGroup(0)}) {
      for (size_t length : {64, 590, 1514}) {
        const Verdict verdict = RunTc(program_->progs.vmqd_fence,
                                      EthernetFrame(destination, kVm, shape.tags, 0x0800, length));
        EXPECT_EQ(verdict.error, 0) << shape.name;
        EXPECT_EQ(verdict.action, static_cast<uint32_t>(TC_ACT_SHOT)) << shape.name;
      }
    }
  }
}

TEST_F(PortTest, AttachesNativelyToAJumboDevice) {
  ASSERT_EQ(std::system("ip link set wire mtu 9000 && ip link set uplink mtu 9000"), 0);
  bpf_link* link =
      bpf_program__attach_xdp(program_->progs.vmqd_port, static_cast<int>(Ifindex("uplink")));
  EXPECT_NE(link, nullptr) << strerror(errno);
  bpf_link__destroy(link);
}

}  // namespace
}  // namespace vmqd

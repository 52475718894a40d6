// The verdict table of the uplink classifier: frame and queue in, verdict and counters out.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

#include "tests/bpf/kernel_run.h"
#include "uplink.skel.h"

namespace vmqd {
namespace {

using testing::Bytes;
using testing::Counters;
using testing::Difference;
using testing::EthernetFrame;
using testing::kBroadcast;
using testing::kNoSplitFrames;
using testing::LinkLocalGroup;
using testing::ReadUplinkCounters;
using testing::RunXdp;
using testing::SplitFramesCanRun;
using testing::TagShape;
using testing::Verdict;

constexpr MacAddress kWire{{0x02, 0xee, 0, 0, 0, 1}};      // who sends
constexpr MacAddress kStranger{{0x02, 0xee, 0, 0, 0, 2}};  // nobody's on this switch
constexpr MacAddress kVm{{0x52, 0x54, 0, 0, 0, 1}};        // untagged, home queue 1
constexpr MacAddress kTaggedVm{{0x52, 0x54, 0, 0, 0, 2}};  // VLAN 100, home queue 2
constexpr MacAddress kClosedVm{{0x52, 0x54, 0, 0, 0, 3}};  // untagged, home queue 1, no socket
constexpr uint32_t kQueues = 4;
constexpr uint32_t kVmHome = 1;
constexpr uint32_t kTaggedVmHome = 2;
constexpr uint32_t kQueueWithoutSocket = 3;
constexpr uint32_t kShippedMaxFrameLen = 1792;

class UplinkTest : public testing::KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) Load(kShippedMaxFrameLen);
  }

  void TearDown() override {
    uplink_bpf__destroy(program_);
    KernelTest::TearDown();
  }

  // Slots and queues differ in number, so that one taken for the other finds no socket.
  void Load(uint32_t max_frame_len) {
    uplink_bpf__destroy(program_);
    program_ = uplink_bpf__open();
    ASSERT_NE(program_, nullptr);
    ASSERT_EQ(program_->rodata->max_frame_len, kShippedMaxFrameLen);
    program_->rodata->max_frame_len = max_frame_len;
    ASSERT_EQ(uplink_bpf__load(program_), 0);
    AddFilter(kVm, 0, {.slot = 41, .home_queue = kVmHome, .pairs = 1, .queues = kQueues});
    AddFilter(kTaggedVm, 100, {.slot = 42, .home_queue = kTaggedVmHome, .pairs = 1, .queues = kQueues});
    AddFilter(kClosedVm, 0, {.slot = 43, .home_queue = kVmHome, .pairs = 1, .queues = kQueues});
    vm_socket_ = PutSocket(program_->maps.vm_sockets, 41);
    PutSocket(program_->maps.vm_sockets, 42);
    for (uint32_t queue : {0, 1, 2}) PutSocket(program_->maps.queue_sockets, queue);
  }

  void AddFilter(const MacAddress& mac, uint16_t vlan, const vmqd_filter& filter) {
    vmqd_filter_key key{};
    std::copy(mac.bytes.begin(), mac.bytes.end(), key.mac);
    key.vlan = vlan;
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(program_->maps.filters), &key, &filter, BPF_NOEXIST),
              0);
  }

  // One row: `counter` and `received` go up by one, nothing else moves.
  void Expect(const Bytes& frame, uint32_t queue, const std::string& counter,
              std::optional<uint32_t> first_buffer = std::nullopt) {
    const uint32_t action = counter == "to_host" || counter == "flooded"   ? XDP_PASS
                            : counter == "to_vm" || counter == "misplaced" ? XDP_REDIRECT
                                                                           : XDP_DROP;
    const Counters before = ReadUplinkCounters(program_->maps.uplink_counters);
    const Verdict verdict =
        RunXdp(program_->progs.vmqd_uplink, frame,
               {.ifindex = Ifindex("uplink"), .queue = queue, .first_buffer = first_buffer});
    EXPECT_EQ(verdict.error, 0);
    EXPECT_EQ(verdict.action, action);
    const Counters after = ReadUplinkCounters(program_->maps.uplink_counters);
    EXPECT_EQ(Difference(after, before), (Counters{{"received", 1}, {counter, 1}}));
  }

  uplink_bpf* program_ = nullptr;
  int vm_socket_ = -1;
};

TEST_F(UplinkTest, EveryEtherTypeAndTagShape) {
  for (const TagShape& shape : testing::TagShapes()) {
    for (uint16_t type : testing::EtherTypes()) {
      SCOPED_TRACE(shape.name + std::string(", EtherType ") + std::to_string(type));
      const bool untagged = shape.vlan == 0;
      const bool vlan100 = shape.vlan == 100;
      Expect(EthernetFrame(kVm, kWire, shape.tags, type, 64), kVmHome,
             untagged ? "to_vm" : "to_host");
      Expect(EthernetFrame(kVm, kWire, shape.tags, type, 64), 0,
             untagged ? "misplaced" : "to_host");
      Expect(EthernetFrame(kTaggedVm, kWire, shape.tags, type, 64), kTaggedVmHome,
             vlan100 ? "to_vm" : "to_host");
      Expect(EthernetFrame(kStranger, kWire, shape.tags, type, 64), 0, "to_host");
      Expect(EthernetFrame(kBroadcast, kWire, shape.tags, type, 64), 0, "flooded");
      Expect(EthernetFrame(LinkLocalGroup(0x0e), kWire, shape.tags, type, 64), 0, "to_host");
    }
  }
}

TEST_F(UplinkTest, EveryQueue) {
  const Bytes to_vm = EthernetFrame(kVm, kWire, {}, 0x0800, 64);
  Expect(to_vm, 0, "misplaced");
  Expect(to_vm, kVmHome, "to_vm");
  Expect(to_vm, 2, "misplaced");
  Expect(to_vm, kQueueWithoutSocket, "no_socket");
  const Bytes to_tagged = EthernetFrame(kTaggedVm, kWire, {{0x8100, 100}}, 0x0800, 64);
  Expect(to_tagged, 0, "misplaced");
  Expect(to_tagged, 1, "misplaced");
  Expect(to_tagged, kTaggedVmHome, "to_vm");
  Expect(to_tagged, kQueueWithoutSocket, "no_socket");
  for (uint32_t queue = 0; queue < testing::kLabQueues; ++queue) {
    Expect(EthernetFrame(kStranger, kWire, {}, 0x0800, 64), queue, "to_host");
    Expect(EthernetFrame(kBroadcast, kWire, {}, 0x0806, 64), queue, "flooded");
  }
}

TEST_F(UplinkTest, AVmWithoutASocketNeverReachesTheHost) {
  const Bytes to_closed = EthernetFrame(kClosedVm, kWire, {}, 0x0800, 64);
  Expect(to_closed, kVmHome, "no_socket");
  Expect(to_closed, 0, "misplaced");
  Expect(to_closed, kQueueWithoutSocket, "no_socket");
}

TEST_F(UplinkTest, ASocketThatIsClosedLeavesTheMap) {
  const Bytes to_vm = EthernetFrame(kVm, kWire, {}, 0x0800, 64);
  Expect(to_vm, kVmHome, "to_vm");
  ASSERT_EQ(dup2(STDERR_FILENO, vm_socket_), vm_socket_);  // closes the socket, keeps the number
  Expect(to_vm, kVmHome, "no_socket");
}

TEST_F(UplinkTest, AFilterThatIsRemovedMakesItNobodys) {
  const Bytes to_vm = EthernetFrame(kVm, kWire, {}, 0x0800, 64);
  vmqd_filter_key key{.mac = {0x52, 0x54, 0, 0, 0, 1}, .vlan = 0};
  ASSERT_EQ(bpf_map_delete_elem(bpf_map__fd(program_->maps.filters), &key), 0);
  Expect(to_vm, kVmHome, "to_host");
}

// Exact match: one bit off is somebody else.
TEST_F(UplinkTest, EveryBitOfTheAddressCounts) {
  for (size_t bit = 0; bit < 48; ++bit) {
    MacAddress near = kTaggedVm;
    near.bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const Bytes frame = EthernetFrame(near, kWire, {{0x8100, 100}}, 0x0800, 64);
    SCOPED_TRACE(near.ToString());
    Expect(frame, kTaggedVmHome, near.IsMulticast() ? "flooded" : "to_host");
  }
  for (int bit = 0; bit < 12; ++bit) {
    const auto vlan = static_cast<uint16_t>(100 ^ 1 << bit);
    Expect(EthernetFrame(kTaggedVm, kWire, {{0x8100, vlan}}, 0x0800, 64), kTaggedVmHome, "to_host");
  }
}

TEST_F(UplinkTest, Groups) {
  const struct {
    MacAddress group;
    const char* counter;
  } rows[] = {
      {kBroadcast, "flooded"},
      {{{0x01, 0x00, 0x5e, 0, 0, 1}}, "flooded"},
      {{{0x33, 0x33, 0, 0, 0, 1}}, "flooded"},
      {LinkLocalGroup(0x10), "flooded"},
      {LinkLocalGroup(0x20), "flooded"},
      {LinkLocalGroup(0xff), "flooded"},
      {{{0x01, 0x80, 0xc2, 0, 1, 0}}, "flooded"},
      {{{0x01, 0x80, 0xc2, 1, 0, 0}}, "flooded"},
      {{{0x01, 0x80, 0xc3, 0, 0, 0}}, "flooded"},
      {{{0x01, 0x81, 0xc2, 0, 0, 0}}, "flooded"},
      {{{0x03, 0x80, 0xc2, 0, 0, 0}}, "flooded"},
      {{{0x00, 0x80, 0xc2, 0, 0, 0}}, "to_host"},  // not a group
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.group.ToString());
    Expect(EthernetFrame(row.group, kWire, {}, 0x0800, 64), 0, row.counter);
    Expect(EthernetFrame(row.group, kWire, {{0x8100, 100}}, 0x0800, 64), 1, row.counter);
  }
  for (uint8_t last = 0; last < 0x10; ++last) {
    SCOPED_TRACE(LinkLocalGroup(last).ToString());
    Expect(EthernetFrame(LinkLocalGroup(last), kWire, {}, 0x88cc, 64), 0, "to_host");
    Expect(EthernetFrame(LinkLocalGroup(last), kWire, {{0x8100, 100}}, 0x88cc, 64), 1, "to_host");
  }
}

TEST_F(UplinkTest, EveryTruncation) {
  const struct {
    const char* name;
    Bytes frame;
    bool tagged;
    const char* counter;
  } rows[] = {
      {"to a VM", EthernetFrame(kVm, kWire, {}, 0x0800, 64), false, "to_vm"},
      {"to a VM, priority tag", EthernetFrame(kVm, kWire, {{0x8100, 0}}, 0x0800, 64), true,
       "to_vm"},
      {"to a VM on a VLAN", EthernetFrame(kTaggedVm, kWire, {{0x8100, 100}}, 0x86dd, 64), true,
       "misplaced"},
      {"to a VM, 802.1ad", EthernetFrame(kVm, kWire, {{0x88a8, 100}}, 0x0800, 64), false, "to_vm"},
      {"to nobody", EthernetFrame(kStranger, kWire, {}, 0x0800, 64), false, "to_host"},
      {"to nobody, tagged", EthernetFrame(kStranger, kWire, {{0x8100, 7}}, 0x0800, 64), true,
       "to_host"},
      {"broadcast", EthernetFrame(kBroadcast, kWire, {}, 0x0806, 64), false, "flooded"},
      {"broadcast, tagged twice",
       EthernetFrame(kBroadcast, kWire, {{0x8100, 5}, {0x8100, 6}}, 0x0806, 64), true, "flooded"},
      {"reserved", EthernetFrame(LinkLocalGroup(0), kWire, {}, 0x0026, 64), false, "to_host"},
  };
  for (const auto& row : rows) {
    for (size_t length = 0; length <= 64; ++length) {
      SCOPED_TRACE(row.name + std::string(" cut to ") + std::to_string(length));
      const Bytes cut(row.frame.begin(), row.frame.begin() + static_cast<long>(length));
      if (length < 14) {  // the kernel hands no such frame to a program
        EXPECT_EQ(RunXdp(program_->progs.vmqd_uplink, cut, {.ifindex = Ifindex("uplink")}).error,
                  -EINVAL);
      } else {
        Expect(cut, kVmHome, row.tagged && length < 18 ? "truncated_tag" : row.counter);
      }
    }
  }
}

// No device hands over less than an Ethernet header; a first buffer that ends inside a header looks
// the same to a program, and the kernel can test-run that.
TEST_F(UplinkTest, HeadersThatEndBeyondTheFirstBuffer) {
  const Bytes untagged = EthernetFrame(kVm, kWire, {}, 0x0800, 64);
  const Bytes tagged = EthernetFrame(kTaggedVm, kWire, {{0x8100, 100}}, 0x0800, 64);
  const Bytes broadcast = EthernetFrame(kBroadcast, kWire, {{0x8100, 100}}, 0x0800, 64);
  if (!SplitFramesCanRun(program_->progs.vmqd_uplink)) GTEST_SKIP() << kNoSplitFrames;
  for (uint32_t first = 0; first <= 64; ++first) {
    SCOPED_TRACE(std::to_string(first) + " bytes in the first buffer");
    const char* cut = first < 14 ? "runt" : "truncated_tag";
    Expect(untagged, kVmHome, first < 14 ? "runt" : "to_vm", first);
    Expect(tagged, kTaggedVmHome, first < 18 ? cut : "to_vm", first);
    Expect(broadcast, 0, first < 18 ? cut : "flooded", first);
  }
}

TEST_F(UplinkTest, OnlyWhatGoesToASocketMustFitABuffer) {
  for (uint32_t limit : {kShippedMaxFrameLen, 3840u, 9018u}) {
    Load(limit);
    // Above about 3500 bytes the kernel hands the frame over in several buffers.
    for (uint32_t length : {limit - 1, limit, limit + 1, 5000u, 9018u}) {
      SCOPED_TRACE(std::to_string(length) + " bytes, limit " + std::to_string(limit));
      const bool fits = length <= limit;
      Expect(EthernetFrame(kVm, kWire, {}, 0x0800, length), kVmHome,
             fits ? "to_vm" : "frame_too_large");
      Expect(EthernetFrame(kVm, kWire, {}, 0x0800, length), 0,
             fits ? "misplaced" : "frame_too_large");
      Expect(EthernetFrame(kTaggedVm, kWire, {{0x8100, 100}}, 0x0800, length), kTaggedVmHome,
             fits ? "to_vm" : "frame_too_large");
      Expect(EthernetFrame(kStranger, kWire, {}, 0x0800, length), 0, "to_host");
      Expect(EthernetFrame(kBroadcast, kWire, {}, 0x0800, length), 0, "flooded");
    }
  }
}

TEST_F(UplinkTest, AttachesNativelyToAJumboDevice) {
  ASSERT_EQ(std::system("ip link set wire mtu 9000 && ip link set uplink mtu 9000"), 0);
  bpf_link* link =
      bpf_program__attach_xdp(program_->progs.vmqd_uplink, static_cast<int>(Ifindex("uplink")));
  EXPECT_NE(link, nullptr) << strerror(errno);
  bpf_link__destroy(link);
}

}  // namespace
}  // namespace vmqd

// Frames between guests of vhost-user ports, and between them and the wire: byte by byte, through
// every shape of ring, with every offload towards those who take it and those who do not. Root.
#include <endian.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "tests/switch/vhost_fixture.h"

namespace vmqd::testing {
namespace {

FrontEnd::Options With(uint64_t features) {
  FrontEnd::Options options;
  options.features = features;
  return options;
}

// A guest that takes 64 KiB at once without merging buffers.
FrontEnd::Options WithLongBuffers(uint64_t features) {
  FrontEnd::Options options;
  options.features = features;
  options.ring_size = 64;
  options.buffer_bytes = 66 << 10;
  options.buffer_pieces = 4;
  return options;
}

virtio_net_hdr Partial(const BuiltFrame& frame) {
  virtio_net_hdr offload{};
  offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  offload.csum_start = htole16(static_cast<uint16_t>(frame.transport));
  offload.csum_offset = htole16(static_cast<uint16_t>(frame.field - frame.transport));
  return offload;
}

virtio_net_hdr Large(const BuiltFrame& frame, uint8_t type, uint16_t size) {
  virtio_net_hdr offload = Partial(frame);
  offload.gso_type = type;
  offload.gso_size = htole16(size);
  offload.hdr_len = htole16(static_cast<uint16_t>(frame.payload));
  return offload;
}

FrameSpec Between(uint8_t from, uint8_t to, size_t payload) {
  FrameSpec spec;
  spec.source = MacOf(from);
  spec.destination = MacOf(to);
  spec.payload = Pattern(payload);
  spec.tcp_flags = 0x18;  // ACK and PSH
  return spec;
}

// What a large TCP segment becomes on a wire.
std::vector<Bytes> Segments(const FrameSpec& whole, size_t size) {
  std::vector<Bytes> segments;
  for (size_t at = 0; at < whole.payload.size(); at += size) {
    FrameSpec spec = whole;
    const size_t end = std::min(at + size, whole.payload.size());
    spec.checksum = Checksum::kComplete;
    spec.payload.assign(whole.payload.begin() + static_cast<long>(at),
                        whole.payload.begin() + static_cast<long>(end));
    spec.tcp_sequence = whole.tcp_sequence + static_cast<uint32_t>(at);
    spec.ip_id = static_cast<uint16_t>(whole.ip_id + segments.size());
    // FIN and PSH belong to the last.
    if (end < whole.payload.size()) spec.tcp_flags &= static_cast<uint8_t>(~0x09);
    segments.push_back(Build(spec).bytes);
  }
  return segments;
}

class VhostTrafficTest : public VhostSwitchTest {};

// Packed, mergeable, indirect, event indexes.
class VhostRingShapesTest
    : public VhostSwitchTest,
      public ::testing::WithParamInterface<std::tuple<bool, bool, bool, bool>> {
 protected:
  static FrontEnd::Options Shape() {
    const auto [packed, mergeable, indirect, event_idx] = GetParam();
    return With((packed ? kPacked : 0) | (mergeable ? kMergeable : 0) | (indirect ? kIndirect : 0) |
                (event_idx ? kEventIdx : 0));
  }
};

TEST_P(VhostRingShapesTest, FramesOfAllLengthsBothWays) {
  auto one = AddGuest(1, Shape());
  auto other = AddGuest(2, Shape());
  one->UseIndirect(std::get<2>(GetParam()));
  other->UseIndirect(std::get<2>(GetParam()));
  for (const size_t length : {14,  15,  59,  60,  63,  64,  65,  127,  128,  180,  191,  192,
                              193, 204, 255, 256, 257, 500, 512, 1000, 1499, 1500, 1513, 1514}) {
    const Bytes there = FrameTo(2, 1, length), back = FrameTo(1, 2, length, 9);
    ASSERT_TRUE(one->Send(there, {}, {12}));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*other, there));
    ASSERT_TRUE(other->Send(back, {}, {3, 30, 70}));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*one, back));
  }
  EXPECT_TRUE(one->AllSent() && other->AllSent());
}

// More than the rings hold, without waiting for each frame.
TEST_P(VhostRingShapesTest, BurstsLapTheRings) {
  auto one = AddGuest(1, Shape());
  auto other = AddGuest(2, Shape());
  one->UseIndirect(std::get<2>(GetParam()));
  constexpr uint32_t kBurst = 100, kBursts = 12;
  for (uint32_t burst = 0; burst < kBursts; ++burst) {
    for (uint32_t i = 0; i < kBurst; ++i) {
      ASSERT_TRUE(one->Send(FrameTo(2, 1, 60 + 9 * i, static_cast<uint8_t>(i + burst)), {}, {12}));
    }
    for (uint32_t i = 0; i < kBurst; ++i) {
      ASSERT_NO_FATAL_FAILURE(
          ExpectFrame(*other, FrameTo(2, 1, 60 + 9 * i, static_cast<uint8_t>(i + burst))));
    }
  }
  EXPECT_TRUE(one->AllSent());
}

std::string NameOfShape(const ::testing::TestParamInfo<VhostRingShapesTest::ParamType>& shape) {
  const auto [packed, mergeable, indirect, event_idx] = shape.param;
  return absl::StrCat(packed ? "Packed" : "Split", mergeable ? "Mergeable" : "",
                      indirect ? "Indirect" : "", event_idx ? "EventIdx" : "");
}

INSTANTIATE_TEST_SUITE_P(Shapes, VhostRingShapesTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Bool()),
                         NameOfShape);

TEST_F(VhostTrafficTest, HeaderAndFrameInAnyPieces) {
  auto one = AddGuest(1);
  auto other = AddGuest(2, With(kPacked | kIndirect | kMergeable));
  const auto both_ways = [&](size_t length, const std::vector<uint32_t>& cuts) {
    const Bytes there = FrameTo(2, 1, length), back = FrameTo(1, 2, length, 1);
    ASSERT_TRUE(one->Send(there, {}, cuts));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*other, there));
    ASSERT_TRUE(other->Send(back, {}, cuts));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*one, back));
  };
  for (uint32_t cut = 0; cut <= 90; ++cut) {
    ASSERT_NO_FATAL_FAILURE(both_ways(100, {cut}));
    ASSERT_NO_FATAL_FAILURE(both_ways(700, {cut, 1, 0, 64}));
  }
  ASSERT_NO_FATAL_FAILURE(both_ways(400, std::vector<uint32_t>(60, 1)));
  ASSERT_NO_FATAL_FAILURE(both_ways(1514, std::vector<uint32_t>(100, 15)));
  ASSERT_NO_FATAL_FAILURE(both_ways(60, {0, 0, 5, 0, 7, 0}));  // empty descriptors
}

TEST_F(VhostTrafficTest, SmallMergeableBuffersAreFilledOneAfterTheOther) {
  FrontEnd::Options small = With(kMergeable);
  small.buffer_bytes = 100;
  auto one = AddGuest(1);
  auto other = AddGuest(2, small);
  for (const size_t length : {14, 87, 88, 89, 188, 189, 1500, 1514}) {
    const Bytes frame = FrameTo(2, 1, length);
    ASSERT_TRUE(one->Send(frame));
    const auto received = other->Receive();
    ASSERT_TRUE(received.has_value());
    EXPECT_EQ(received->bytes, frame);
    EXPECT_EQ(received->buffers, (length + 12 + 99) / 100);
  }
  EXPECT_EQ(other->problems(), "");
}

TEST_F(VhostTrafficTest, LargeSegmentsAndPartialChecksumsPassUntouched) {
  auto one = AddGuest(1, With(kSendsLarge | kMergeable));
  auto merges = AddGuest(2, With(kTakesLarge | kMergeable));
  auto long_buffers = AddGuest(3, WithLongBuffers(kTakesLarge | kPacked));
  for (FrontEnd* guest : {merges.get(), long_buffers.get()}) {
    const uint8_t to = guest == merges.get() ? 2 : 3;
    // The largest: IP's length is full.
    for (const size_t payload : {size_t{1}, size_t{1460}, size_t{9000}, size_t{65535 - 40}}) {
      FrameSpec spec = Between(1, to, payload);
      spec.checksum = Checksum::kPartial;
      const BuiltFrame frame = Build(spec);
      virtio_net_hdr offload = Partial(frame);
      if (payload > 1460) offload = Large(frame, VIRTIO_NET_HDR_GSO_TCPV4, 1460);
      ASSERT_TRUE(one->Send(frame.bytes, offload, {12, 20, 40}));
      const auto received = guest->Receive();
      ASSERT_TRUE(received.has_value()) << payload << " bytes to vm" << int{to};
      EXPECT_EQ(received->bytes, frame.bytes);
      EXPECT_EQ(std::memcmp(&received->offload, &offload, sizeof(offload)), 0);
      EXPECT_EQ(guest->problems(), "");
    }
  }
}

TEST_F(VhostTrafficTest, WhoTakesNoOffloadGetsWholeFrames) {
  auto one = AddGuest(1, With(kSendsLarge | kPacked));
  auto plain = AddGuest(2);
  auto elsewhere = AddGuest(3, {}, 1);  // on another worker
  for (FrontEnd* guest : {plain.get(), elsewhere.get()}) {
    const uint8_t to = guest == plain.get() ? 2 : 3;
    for (const bool ipv6 : {false, true}) {
      FrameSpec spec = Between(1, to, 1000);
      spec.ipv6 = ipv6;
      spec.checksum = Checksum::kPartial;
      const BuiltFrame partial = Build(spec);
      ASSERT_TRUE(one->Send(partial.bytes, Partial(partial), {12, 60}));
      spec.checksum = Checksum::kComplete;
      ASSERT_NO_FATAL_FAILURE(ExpectFrame(*guest, Build(spec).bytes, "checksum"));

      spec.payload = Pattern(20000, 3);
      spec.checksum = Checksum::kPartial;
      const BuiltFrame large = Build(spec);
      const uint8_t type = ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
      ASSERT_TRUE(one->Send(large.bytes, Large(large, type, 1400), {12, 100, 1000}));
      for (const Bytes& segment : Segments(spec, 1400)) {
        ASSERT_NO_FATAL_FAILURE(ExpectFrame(*guest, segment, "segment"));
      }
    }
  }
}

TEST_F(VhostTrafficTest, TheWireGetsWholeFrames) {
  auto one = AddGuest(1, With(kSendsLarge));
  FrameWire wire("wire0");
  FrameSpec spec = Between(1, 0, 20000);
  spec.destination = kOutside;
  spec.checksum = Checksum::kPartial;
  const BuiltFrame large = Build(spec);
  ASSERT_TRUE(one->Send(large.bytes, Large(large, VIRTIO_NET_HDR_GSO_TCPV4, 1448), {12, 54}));
  for (const Bytes& segment : Segments(spec, 1448)) EXPECT_EQ(wire.Receive(), segment);
  spec.payload.resize(700);
  const BuiltFrame partial = Build(spec);
  ASSERT_TRUE(one->Send(partial.bytes, Partial(partial)));
  spec.checksum = Checksum::kComplete;
  EXPECT_EQ(wire.Receive(), Build(spec).bytes);
  for (const size_t length : {60, 193, 1514}) {
    const Bytes frame = EthernetFrame(kOutside, MacOf(1), {}, 0x88b5, length);
    ASSERT_TRUE(one->Send(frame));
    EXPECT_EQ(wire.Receive(), frame);
  }
}

TEST_F(VhostTrafficTest, FromTheWireToTheGuestOfAnyQueue) {
  auto one = AddGuest(1, With(kMergeable));
  auto other = AddGuest(2, With(kPacked), 1);
  FrameWire wire("wire0");
  for (const size_t length : {60, 64, 300, 1500, 1514}) {
    for (const uint8_t to : {1, 2}) {
      const Bytes frame = EthernetFrame(MacOf(to), kOutside, {}, 0x88b5, length);
      wire.Send(frame);
      ASSERT_NO_FATAL_FAILURE(ExpectFrame(to == 1 ? *one : *other, frame, "from the wire"));
    }
  }
}

TEST_F(VhostTrafficTest, BroadcastsReachEveryoneElse) {
  auto one = AddGuest(1, With(kSendsLarge));
  auto two = AddGuest(2, With(kTakesLarge | kMergeable));
  auto three = AddGuest(3, {}, 1);
  FrameWire wire("wire0");
  for (uint8_t i = 0; i < 20; ++i) {
    const Bytes frame = EthernetFrame(kBroadcast, MacOf(1), {}, 0x88b5, 60 + 50 * size_t{i});
    ASSERT_TRUE(one->Send(frame, {}, {12}));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*two, frame));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*three, frame));
    EXPECT_EQ(wire.Receive(), frame);
  }
  EXPECT_FALSE(one->Receive(50).has_value()) << "reflected to its sender";
  const Bytes frame = EthernetFrame(kBroadcast, kOutside, {}, 0x88b5, 200);
  wire.Send(frame);
  for (FrontEnd* guest : {one.get(), two.get(), three.get()}) {
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*guest, frame));
  }
}

TEST_F(VhostTrafficTest, AVlanIsTheSwitchsAffair) {
  auto one = AddGuest(1, With(kSendsLarge), 0, 7);
  auto two = AddGuest(2, {}, 0, 7);
  auto other_vlan = AddGuest(3, {}, 0, 8);
  FrameWire wire("wire0");
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*one, 1, *two, 2, 4));
  // Towards the wire with the tag, also where a checksum was left out; from there without.
  FrameSpec spec = Between(1, 0, 500);
  spec.destination = kOutside;
  spec.checksum = Checksum::kPartial;
  const BuiltFrame partial = Build(spec);
  ASSERT_TRUE(one->Send(partial.bytes, Partial(partial)));
  spec.checksum = Checksum::kComplete;
  spec.tags = {{0x8100, 7}};
  EXPECT_EQ(wire.Receive(), Build(spec).bytes);
  wire.Send(EthernetFrame(MacOf(2), kOutside, {{0x8100, 7}}, 0x88b5, 204));
  ASSERT_NO_FATAL_FAILURE(ExpectFrame(*two, EthernetFrame(MacOf(2), kOutside, {}, 0x88b5, 200)));
  // Another VLAN's guest is not there.
  ASSERT_TRUE(one->Send(FrameTo(3, 1, 100)));
  EXPECT_FALSE(other_vlan->Receive(50).has_value());
  // A tag of the guest's own is not allowed.
  ASSERT_TRUE(one->Send(EthernetFrame(MacOf(2), MacOf(1), {{0x8100, 8}}, 0x88b5, 300)));
  EXPECT_TRUE(Eventually([this] { return InDrops(1, DropReason::kTAG_NOT_ALLOWED) == 1; }));
}

TEST_F(VhostTrafficTest, APriorityTagComesOffAndOffsetsWithIt) {
  auto one = AddGuest(1, With(kSendsLarge));
  auto takes = AddGuest(2, With(kTakesLarge | kMergeable));
  auto plain = AddGuest(3);
  for (FrontEnd* guest : {takes.get(), plain.get()}) {
    const uint8_t to = guest == takes.get() ? 2 : 3;
    FrameSpec spec = Between(1, to, 9000);
    spec.tags = {{0x8100, 0xe000}};
    spec.checksum = Checksum::kPartial;
    const BuiltFrame tagged = Build(spec);
    ASSERT_TRUE(one->Send(tagged.bytes, Large(tagged, VIRTIO_NET_HDR_GSO_TCPV4, 1400), {12, 90}));
    spec.tags.clear();
    const BuiltFrame untagged = Build(spec);
    if (guest == plain.get()) {
      for (const Bytes& segment : Segments(spec, 1400)) {
        ASSERT_NO_FATAL_FAILURE(ExpectFrame(*guest, segment));
      }
      continue;
    }
    const auto received = guest->Receive();
    ASSERT_TRUE(received.has_value());
    EXPECT_EQ(received->bytes, untagged.bytes);
    EXPECT_EQ(le16toh(received->offload.csum_start), untagged.transport);
    EXPECT_EQ(le16toh(received->offload.gso_size), 1400);
    // A hint for who reads it; it must not reach behind the headers.
    EXPECT_LE(le16toh(received->offload.hdr_len), untagged.payload);
  }
}

TEST_F(VhostTrafficTest, AnnouncesOnTheGuestsBehalf) {
  auto one = AddGuest(1);
  FrameWire wire("wire0");
  const MacAddress mac = MacOf(1);
  ASSERT_TRUE(one->client().Send(
      kSendRarp,
      std::string(reinterpret_cast<const char*>(mac.bytes.data()), 6) + std::string(2, '\0')));
  const auto frame = wire.Receive();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(MacAddress::FromWire(frame->data()), kBroadcast);
  EXPECT_EQ(MacAddress::FromWire(frame->data() + 6), mac);
  EXPECT_EQ((*frame)[12], 0x80);
  EXPECT_EQ((*frame)[13], 0x35);
}

TEST_F(VhostTrafficTest, EveryQueuePairSendsAndReceives) {
  FrontEnd::Options four = With(kMergeable);
  four.pairs = 4;
  auto many = AddGuest(1, four);
  auto other = AddGuest(2);
  FrameWire wire("wire0");
  for (uint32_t round = 0; round < 5; ++round) {
    for (uint32_t pair = 0; pair < 4; ++pair) {
      const Bytes frame = FrameTo(2, 1, 100 + pair, static_cast<uint8_t>(round));
      ASSERT_TRUE(many->Send(frame, {}, {12}, pair));
      ASSERT_NO_FATAL_FAILURE(ExpectFrame(*other, frame));
      const Bytes out = EthernetFrame(kOutside, MacOf(1), {}, 0x88b5, 200 + pair);
      ASSERT_TRUE(many->Send(out, {}, {}, pair));
      EXPECT_EQ(wire.Receive(), out);
    }
    const Bytes back = FrameTo(1, 2, 900, static_cast<uint8_t>(round));
    ASSERT_TRUE(other->Send(back));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*many, back));
  }
  EXPECT_TRUE(many->AllSent());
}

// A guest may use fewer pairs than the port has, as it does until its driver asks for more.
TEST_F(VhostTrafficTest, AGuestThatUsesOneOfItsQueuePairsMissesNothing) {
  FrontEnd::Options four = With(kMergeable);
  four.pairs = 4;
  ASSERT_OK(AddVhost(1, 0, 0, 4));
  FrontEnd one(four);
  ASSERT_TRUE(one.client().ConnectTo(Path(1)) && one.Negotiate() && one.GiveMemory());
  for (uint32_t ring = 0; ring < 8; ++ring) {
    ASSERT_TRUE(one.StartRing(ring) && one.Enable(ring, ring < 2));
  }
  ASSERT_TRUE(one.client().Synchronise() && UpSoon(1));
  std::vector<std::unique_ptr<FrontEnd>> others;
  for (uint8_t n = 2; n <= 5; ++n) others.push_back(AddGuest(n, {}, n - 2U));
  for (uint8_t n = 2; n <= 5; ++n) {
    const Bytes frame = FrameTo(1, n, 300, n);
    ASSERT_TRUE(others[n - 2U]->Send(frame));
    EXPECT_NO_FATAL_FAILURE(ExpectFrame(one, frame, absl::StrCat("from queue ", n - 2)));
  }
}

TEST_F(VhostTrafficTest, AGuestThatCannotTakeAFrameDropsItUnderItsReason) {
  auto one = AddGuest(1, With(kSendsLarge));
  FrontEnd::Options small;
  small.buffer_bytes = 600;
  auto other = AddGuest(2, small);
  ASSERT_TRUE(one->Send(FrameTo(2, 1, 589)));
  ASSERT_TRUE(one->Send(FrameTo(2, 1, 588)));
  ASSERT_NO_FATAL_FAILURE(ExpectFrame(*other, FrameTo(2, 1, 588)));
  EXPECT_EQ(OutDrops(2, DropReason::kGUEST_BUFFER), 1U);
  // Without any buffer the port is full.
  small.posts = false;
  auto none = AddGuest(3, small);
  ASSERT_TRUE(one->Send(FrameTo(3, 1, 100)));
  EXPECT_TRUE(Eventually([this] { return OutDrops(3, DropReason::kPORT_FULL) == 1; }));
}

// What a disabled ring brings is dropped, and its buffers come back (vhost-user, "Ring states").
TEST_F(VhostTrafficTest, ADisabledRingDropsAndGivesBack) {
  auto one = AddGuest(1);
  auto other = AddGuest(2);
  ASSERT_TRUE(one->Enable(1, false) && one->client().Synchronise());
  for (int i = 0; i < 600; ++i) ASSERT_TRUE(one->Send(FrameTo(2, 1, 100))) << i;
  EXPECT_TRUE(one->AllSent());
  EXPECT_EQ(InDrops(1, DropReason::kPORT_DOWN), 600U);
  ASSERT_TRUE(one->Enable(1) && one->client().Synchronise() && UpSoon(1));
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*one, 1, *other, 2, 3));
}

}  // namespace
}  // namespace vmqd::testing

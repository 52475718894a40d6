// Every row of the threat table at a port of a running switch: the attack costs its own port, with
// a reason; the other guests talk on, the API answers, and the port works again when its front end
// begins anew. What the checks are in detail is tests/unit/virtio's affair. Root.
#include <endian.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "daemon/virtio/ring_access.h"
#include "tests/switch/vhost_fixture.h"

namespace vmqd::testing {
namespace {

constexpr uint64_t kBuffer = FrontEnd::kTransmitBase;
constexpr uint64_t kBehindMemory = uint64_t{1} << 40;

// VM 1 attacks, 2 and 3 have nothing to do with it. Parameter: whether its rings are packed.
class VhostHostileTest : public VhostSwitchTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    VhostSwitchTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    FrontEnd::Options options;
    options.features = kMergeable | kIndirect | (GetParam() ? kPacked : 0);
    attacker_ = AddGuest(1, options);
    two_ = AddGuest(2);
    three_ = AddGuest(3);
    ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 2));
    attacker_->Reset();
    ASSERT_TRUE(Restart());
  }
  void TearDown() override {
    attacker_.reset();
    two_.reset();
    three_.reset();
    VhostSwitchTest::TearDown();
  }

  // The guest's driver begins anew, on the same connection.
  bool Restart() {
    attacker_->StopRing(0);
    attacker_->StopRing(1);
    attacker_->Reset();
    return attacker_->StartRings() && UpSoon(1);
  }
  void ExpectOthersTalk() {
    ExpectTalk(*two_, 2, *three_, 3, 5);
    EXPECT_OK(switch_->GetPort("vm2"));
    EXPECT_EQ(switch_->ListPorts().size(), 3U);
  }
  void ExpectFaulted(const std::string& words) {
    EXPECT_TRUE(Eventually([this] { return Status(1).oper == OperStatus::kFaulted; })) << words;
    EXPECT_THAT(Status(1).oper_reason, ::testing::HasSubstr(words));
    ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
  }
  void ExpectBack() {
    ASSERT_TRUE(Restart());
    ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 3));
    ASSERT_TRUE(Restart());  // for the next attack, at the rings' beginning
  }
  // A ring that contradicts itself: `words` are in the reason, and the port works again afterwards.
  void ExpectRingFault(const std::string& words) {
    attacker_->Kick(1);
    ASSERT_NO_FATAL_FAILURE(ExpectFaulted(words));
    ASSERT_NO_FATAL_FAILURE(ExpectBack());
  }
  // What a front end may not say: the connection ends, and another one works.
  void ExpectClosed(const std::string& words) {
    EXPECT_TRUE(attacker_->client().Closed(5000));
    ASSERT_NO_FATAL_FAILURE(ExpectFaulted(words));
    attacker_->Disconnect();
    attacker_->Reset();
    ASSERT_TRUE(attacker_->Connect(Path(1)) && UpSoon(1));
    ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 3));
  }

  // The first descriptor of the transmit ring, made available alone; or the first two, chained.
  void Offer(uint64_t address, uint32_t length, uint16_t flags = 0) {
    TestDriver& ring = attacker_->transmit();
    if (GetParam()) return ring.WritePacked(0, address, length, 0, flags);
    ring.WriteSplit(ring.descriptors_at(), address, length, flags, 0);
    ring.Offer(0);
  }
  void OfferTwo(uint64_t address, uint32_t length, uint16_t flags) {
    TestDriver& ring = attacker_->transmit();
    if (GetParam()) {
      ring.WritePacked(1, address, length, 0, flags);
      return ring.WritePacked(0, kBuffer, 12, 0, ring::kNext);
    }
    ring.WriteSplit(ring.descriptors_at(), kBuffer, 12, ring::kNext, 1);
    ring.WriteSplit(ring.descriptors_at() + 16, address, length, flags, 0);
    ring.Offer(0);
  }
  // A frame that asks for what it may not: dropped under this reason, its buffer comes back.
  void ExpectDropped(const Bytes& raw, DropReason reason) {
    const uint64_t before = InDrops(1, reason);
    ASSERT_TRUE(attacker_->SendRaw(raw));
    EXPECT_TRUE(attacker_->AllSent());
    EXPECT_TRUE(Eventually([&] { return InDrops(1, reason) == before + 1; }));
  }
  void ExpectBadOffload(const virtio_net_hdr& offload, const Bytes& frame) {
    Bytes raw(FrontEnd::kHeader + frame.size());
    std::memcpy(raw.data(), &offload, sizeof(offload));
    std::copy(frame.begin(), frame.end(), raw.begin() + FrontEnd::kHeader);
    ExpectDropped(raw, DropReason::kBAD_OFFLOAD);
  }
  // The attacker's place is taken by one with other features.
  void Replace(const FrontEnd::Options& options) {
    attacker_->Disconnect();
    ASSERT_TRUE(Eventually([this] { return !Status(1).vhost->connected; }));
    attacker_ = std::make_unique<FrontEnd>(options);
    ASSERT_TRUE(attacker_->Connect(Path(1)) && UpSoon(1));
  }
  FrontEnd::Options Options(uint64_t features) const {
    FrontEnd::Options options;
    options.features = features | (GetParam() ? kPacked : 0);
    return options;
  }
  VhostClient& client() { return attacker_->client(); }

  std::unique_ptr<FrontEnd> attacker_, two_, three_;
};

INSTANTIATE_TEST_SUITE_P(Rings, VhostHostileTest, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& packed) {
                           return packed.param ? "Packed" : "Split";
                         });

TEST_P(VhostHostileTest, V1ABufferThatLeavesItsRegion) {
  Offer(FrontEnd::kReceiveBase - 100, 200);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("outside its memory"));
  OfferTwo(FrontEnd::kReceiveBase + 256 * 1536 - 10, 100, 0);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("outside its memory"));
}

TEST_P(VhostHostileTest, V2ABufferThatWraps) {
  Offer(UINT64_MAX - 50, 100);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("outside its memory"));
}

TEST_P(VhostHostileTest, V3ARegionLargerThanItsFile) {
  const TestFd memory = NewMemory(4096);
  client().SetMemTable({{kBuffer, 1 << 20, TestMemory::User(kBuffer), 0}}, {memory.get()});
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_MEM_TABLE"));
}

TEST_P(VhostHostileTest, V4MemoryCutShortUnderTraffic) {
  FrontEnd::Options options = attacker_->options();
  options.sealed = false;
  ASSERT_NO_FATAL_FAILURE(Replace(options));
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 2));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(attacker_->Send(FrameTo(2, 1, 800)));
  // From here on not even we may touch it.
  ASSERT_EQ(ftruncate(attacker_->memory().fd(), 0), 0);
  attacker_->Kick(1);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(two_->Send(FrameTo(1, 2, 800)));
  EXPECT_TRUE(Eventually([this] { return Status(1).oper == OperStatus::kFaulted; }));
  EXPECT_THAT(Status(1).oper_reason, ::testing::HasSubstr("memory"));
  EXPECT_TRUE(two_->AllSent());
  while (two_->Receive(100).has_value()) {
  }
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
  ASSERT_NO_FATAL_FAILURE(Replace(options));
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 3));
}

TEST_P(VhostHostileTest, V5RegionsThatOverlap) {
  const TestFd memory = NewMemory(1 << 20);
  const VhostRegion region{kBuffer, 1 << 20, TestMemory::User(kBuffer), 0};
  client().SetMemTable({region, region}, {memory.get(), memory.get()});
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_MEM_TABLE"));
}

TEST_P(VhostHostileTest, V6MemoryChangesOverUnderTraffic) {
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    while (!stop.load()) {
      attacker_->GiveMemory();
      client().Synchronise();
    }
  });
  uint32_t arrived = 0;
  for (uint32_t i = 0; i < 500; ++i) {
    two_->Send(FrameTo(1, 2, 700));
    attacker_->Send(FrameTo(2, 1, 700));
    while (attacker_->Receive(0).has_value()) ++arrived;
    while (two_->Receive(0).has_value()) ++arrived;
  }
  stop.store(true);
  changes.join();
  EXPECT_TRUE(attacker_->AllSent() && two_->AllSent());
  while (attacker_->Receive(100).has_value()) ++arrived;
  while (two_->Receive(100).has_value()) ++arrived;
  EXPECT_GT(arrived, 0U);
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 3));
}

TEST_P(VhostHostileTest, V7ARingOutsideMemory) {
  client().SetVringAddr(1, kBehindMemory, kBehindMemory + 0x4000, kBehindMemory + 0x8000);
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_VRING_ADDR"));
}

TEST_P(VhostHostileTest, V8ALogThatItsFileDoesNotHold) {
  const TestFd log = NewMemory(4096);
  client().Send(kSetLogBase, Raw(uint64_t{1} << 30) + Raw(uint64_t{0}), {log.get()});
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_LOG_BASE"));
}

TEST_P(VhostHostileTest, V9ASizeThatTheRequestDoesNotHave) {
  client().Send(kSetVringNum, "1234");
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_VRING_NUM"));
}

TEST_P(VhostHostileTest, V10SilenceInTheMiddleOfAMessage) {
  client().SendRaw(Raw(uint32_t{kSetVringNum}) + Raw(kVersion1) + Raw(uint32_t{8}));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
  ASSERT_TRUE(two_->client().Synchronise());
  ASSERT_NO_FATAL_FAILURE(ExpectClosed(""));
}

TEST_P(VhostHostileTest, V11V12DescriptorsNobodyAskedFor) {
  const TestFd one = NewEventFd();
  client().Send(kGetFeatures, "", std::vector<int>(8, one.get()));
  ASSERT_NO_FATAL_FAILURE(ExpectClosed(""));
  // The same request again and again keeps one descriptor of each.
  const size_t before = OpenFds();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(client().SetVringFd(kSetVringCall, 0, one.get()));
    ASSERT_TRUE(client().SetVringFd(kSetVringErr, 0, one.get()));
  }
  ASSERT_TRUE(client().Synchronise());
  EXPECT_LE(OpenFds(), before + 1);
}

TEST_P(VhostHostileTest, V13AKickThatIsNoEventFd) {
  const TestFd file = NewMemory(4096);
  client().SetVringFd(kSetVringKick, 1, file.get());
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_VRING_KICK"));
}

// The flag that keeps it from blocking is the front end's as well.
TEST_P(VhostHostileTest, V13ACallEventFdThatWasMadeToBlock) {
  const TestFd full = NewEventFd();
  const uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(write(full.get(), &most, sizeof(most)), 8);
  ASSERT_TRUE(client().SetVringFd(kSetVringCall, 1, full.get()));
  ASSERT_TRUE(client().Synchronise());
  ASSERT_EQ(fcntl(full.get(), F_SETFL, 0), 0);
  ASSERT_TRUE(attacker_->Send(FrameTo(3, 1, 100)));
  ASSERT_NO_FATAL_FAILURE(ExpectFrame(*three_, FrameTo(3, 1, 100)));
  ASSERT_NO_FATAL_FAILURE(ExpectFaulted("interrupts block"));
}

TEST_P(VhostHostileTest, V13AFullCallEventFdStopsNobody) {
  const TestFd full = NewEventFd();
  const uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(write(full.get(), &most, sizeof(most)), 8);
  ASSERT_TRUE(client().SetVringFd(kSetVringCall, 0, full.get()));
  ASSERT_TRUE(client().SetVringFd(kSetVringCall, 1, full.get()));
  ASSERT_TRUE(client().Synchronise());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(two_->Send(FrameTo(1, 2, 100)));
    ASSERT_TRUE(attacker_->Send(FrameTo(3, 1, 100)));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*three_, FrameTo(3, 1, 100)));
  }
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
}

TEST_P(VhostHostileTest, V14ARingThatThePortDoesNotHave) {
  client().SetVring(kSetVringEnable, 2, 1);
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("ring 2"));
  client().SetVring(kSetVringEnable, 65536, 1);
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("ring 65536"));
}

TEST_P(VhostHostileTest, V15NoInflightBuffers) {
  client().Send(kGetInflightFd, std::string(20, '\0'));
  ASSERT_NO_FATAL_FAILURE(ExpectClosed(""));
}

TEST_P(VhostHostileTest, V16RingSizes) {
  client().SetVring(kSetVringNum, 1, 128);  // it runs
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("running"));
  ASSERT_TRUE(attacker_->StopRing(1));
  client().SetVring(kSetVringNum, 1, 65536);
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("65536 entries"));
}

TEST_P(VhostHostileTest, V17FeaturesThatWereNotOffered) {
  client().SetU64(kSetFeatures, UINT64_MAX);
  ASSERT_NO_FATAL_FAILURE(ExpectClosed("SET_FEATURES"));
}

TEST_P(VhostHostileTest, V18StoppedTwiceAndKickedWithoutMemory) {
  ASSERT_TRUE(attacker_->StopRing(1) && attacker_->StopRing(1));
  attacker_->Disconnect();
  ASSERT_TRUE(Eventually([this] { return !Status(1).vhost->connected; }));
  attacker_->Reset();
  ASSERT_TRUE(client().ConnectTo(Path(1)) && attacker_->Negotiate() && attacker_->StartRings());
  attacker_->Kick(1);
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
  EXPECT_EQ(Status(1).oper, OperStatus::kDown);
  ASSERT_TRUE(attacker_->GiveMemory() && UpSoon(1));
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 3));
}

TEST_P(VhostHostileTest, V19ConnectStorm) {
  attacker_->Disconnect();
  for (int i = 0; i < 60; ++i) {
    VhostClient client;
    ASSERT_TRUE(client.ConnectTo(Path(1)));
    if (i % 2 == 0) client.Send(kSetOwner);
  }
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
  attacker_->Reset();
  EXPECT_TRUE(Eventually([this] { return attacker_->Connect(Path(1)); }));
  ASSERT_TRUE(UpSoon(1));
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 3));
}

TEST_P(VhostHostileTest, V20SocketsAreNamesNotPaths) {
  for (const char* socket : {"../vm9", "/tmp/vm9", "a/b", "", "."}) {
    PortConfig config;
    config.id = "vm9";
    config.kind = PortKind::kVhostUser;
    config.socket = socket;
    config.macs = {MacOf(9)};
    EXPECT_FALSE(switch_->AddPort(config).ok()) << socket;
  }
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
}

TEST_P(VhostHostileTest, V21HeadsAndIdsBeyondTheRing) {
  if (GetParam()) {
    attacker_->transmit().WritePacked(0, kBuffer, 100, 9999, 0);
  } else {
    attacker_->transmit().Offer(9999);
  }
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("that its ring does not have"));
}

TEST_P(VhostHostileTest, V21V22ChainsThatLeaveTheTableOrHaveNoEnd) {
  TestDriver& ring = attacker_->transmit();
  if (GetParam()) {
    for (uint32_t i = 256; i-- > 0;) ring.WritePacked(i, kBuffer, 1, 0, ring::kNext);
    ASSERT_NO_FATAL_FAILURE(ExpectRingFault(""));
    return;
  }
  ring.WriteSplit(ring.descriptors_at(), kBuffer, 100, ring::kNext, 5000);
  ring.Offer(0);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("that its table does not have"));
  TestDriver& again = attacker_->transmit();
  again.WriteSplit(again.descriptors_at(), kBuffer, 1, ring::kNext, 0);
  again.Offer(0);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("longer than its table"));
}

TEST_P(VhostHostileTest, V24IndirectTables) {
  for (const uint32_t length : {0U, 15U, 24U, 16U * 40000}) {
    Offer(kBuffer, length, ring::kIndirect);
    ASSERT_NO_FATAL_FAILURE(ExpectRingFault("indirect table"));
  }
  // Nested; in a packed table the flags come last.
  attacker_->transmit().WriteSplit(kBuffer, kBuffer, 16, GetParam() ? 0 : ring::kIndirect,
                                   GetParam() ? ring::kIndirect : 0);
  Offer(kBuffer, 16, ring::kIndirect);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("indirect table"));
  Offer(kBehindMemory, 32, ring::kIndirect);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("outside its memory"));
}

TEST_P(VhostHostileTest, V25ChainsWithoutAByte) {
  Offer(kBuffer, 0);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("no byte"));
}

TEST_P(VhostHostileTest, V26MoreIsAvailableThanTheRingHas) {
  if (GetParam()) return;  // a packed ring has no index that could be wrong
  attacker_->transmit().SetAvailableIndex(5000);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("more chains available"));
  // The ring the guest receives by is looked at when there is a frame.
  attacker_->receive().SetAvailableIndex(40000);
  ASSERT_TRUE(two_->Send(FrameTo(1, 2, 100)));
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("receive queue"));
}

// It sends without a pause what has to be dropped, or cut into a thousand frames.
TEST_P(VhostHostileTest, V27EndlessWorkLeavesTurnsForOthers) {
  ASSERT_NO_FATAL_FAILURE(Replace(Options(kSendsLarge | kIndirect)));
  FrameSpec spec;
  spec.source = MacOf(1);
  spec.destination = MacOf(2);
  spec.payload = Pattern(60000);
  spec.checksum = Checksum::kPartial;
  const BuiltFrame large = Build(spec);
  virtio_net_hdr offload{};
  offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  offload.csum_start = htole16(static_cast<uint16_t>(large.transport));
  offload.csum_offset = htole16(16);
  offload.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  offload.gso_size = htole16(48);
  // To the wire, where each of them is 1250 frames.
  Bytes to_wire = large.bytes;
  std::memcpy(to_wire.data(), kOutside.bytes.data(), 6);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> sent{0};
  std::thread endless([&] {
    while (!stop.load()) {
      attacker_->Send(to_wire, offload);
      attacker_->SendRaw(Bytes(13));
      attacker_->SendRaw(Bytes(60000));
      sent.fetch_add(3);
    }
  });
  EXPECT_TRUE(Eventually([&] { return sent.load() > 0; }));
  for (int i = 0; i < 4; ++i) EXPECT_NO_FATAL_FAILURE(ExpectOthersTalk());
  stop.store(true);
  endless.join();
  EXPECT_TRUE(attacker_->AllSent());
}

TEST_P(VhostHostileTest, V28ReceiveBuffersSmallerThanAHeader) {
  for (const uint64_t features : {uint64_t{0}, kMergeable}) {
    for (const uint32_t length : {1, 11, 12}) {
      FrontEnd::Options options = Options(features);
      options.posts = false;
      ASSERT_NO_FATAL_FAILURE(Replace(options));
      for (uint32_t i = 0; i < 4; ++i) {
        ASSERT_TRUE(attacker_->receive().Add({{FrontEnd::kReceiveBase + i * 64, length}}));
      }
      const auto lost = [this] {
        return OutDrops(1, DropReason::kGUEST_BUFFER) + OutDrops(1, DropReason::kPORT_FULL);
      };
      const uint64_t before = lost();
      ASSERT_TRUE(two_->Send(FrameTo(1, 2, 300)));
      EXPECT_TRUE(Eventually([&] { return lost() == before + 1; })) << length;
      ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
    }
  }
}

TEST_P(VhostHostileTest, V30ChainsOfMoreBytesThanAnyFrame) {
  ASSERT_NO_FATAL_FAILURE(
      ExpectDropped(Bytes(12 + 65535 + 14 + 4 + 1), DropReason::kFRAME_TOO_LARGE));
  OfferTwo(kBuffer, UINT32_MAX, 0);
  // The frame before it moved the ring on.
  if (GetParam()) return;
  ASSERT_NO_FATAL_FAILURE(ExpectBack());
  OfferTwo(kBuffer, 2 << 20, 0);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("more bytes or pieces"));
}

TEST_P(VhostHostileTest, V31AWritableBufferWhereTheDeviceReads) {
  OfferTwo(kBuffer, 100, ring::kWrite);
  ASSERT_NO_FATAL_FAILURE(ExpectRingFault("the reverse"));
}

TEST_P(VhostHostileTest, V32WhatTheGuestWritesWhereOnlyTheDeviceDoes) {
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(attacker_->Send(FrameTo(2, 1, 100)));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*two_, FrameTo(2, 1, 100)));
    ASSERT_TRUE(attacker_->AllSent());
    if (GetParam()) {
      ring::Store16(attacker_->transmit().device(), static_cast<uint16_t>(i * 77));
      ring::Store16(attacker_->transmit().device() + 2, static_cast<uint16_t>(i * 31));
      attacker_->Kick(1);
      continue;
    }
    // Its elements; the index it reads itself afterwards.
    std::memset(attacker_->transmit().device() + 4, i, 8 * 256);
    attacker_->Kick(1);
  }
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
}

TEST_P(VhostHostileTest, V33V34OffloadsThatContradictTheFrame) {
  ASSERT_NO_FATAL_FAILURE(Replace(Options(kSendsLarge)));
  FrameSpec spec;
  spec.source = MacOf(1);
  spec.destination = MacOf(2);
  spec.payload = Pattern(3000);
  spec.checksum = Checksum::kPartial;
  const BuiltFrame frame = Build(spec);
  virtio_net_hdr good{};
  good.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  good.csum_start = htole16(static_cast<uint16_t>(frame.transport));
  good.csum_offset = htole16(16);
  good.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  good.gso_size = htole16(1000);
  const auto with = [&](auto change) {
    virtio_net_hdr bad = good;
    change(bad);
    ExpectBadOffload(bad, frame.bytes);
  };
  // Behind a priority tag, which is taken off, that would be the source address.
  Bytes tagged = frame.bytes;
  const uint8_t tag[] = {0x81, 0, 0, 0};
  tagged.insert(tagged.begin() + 12, std::begin(tag), std::end(tag));
  for (const uint16_t start : {14, 16}) {
    virtio_net_hdr bad{};
    bad.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    bad.csum_start = htole16(start);
    ExpectBadOffload(bad, tagged);
  }
  with([](virtio_net_hdr& bad) { bad.csum_start = 0; });
  with([](virtio_net_hdr& bad) { bad.csum_start = htole16(60000); });
  with([](virtio_net_hdr& bad) { bad.csum_start = 0xffff; });
  with([](virtio_net_hdr& bad) { bad.csum_offset = htole16(65535); });
  with([](virtio_net_hdr& bad) { bad.gso_size = 0; });
  with([](virtio_net_hdr& bad) { bad.gso_size = htole16(1); });
  with([](virtio_net_hdr& bad) { bad.gso_size = 0xffff; });  // GSO_BY_FRAGS
  with([](virtio_net_hdr& bad) { bad.gso_type = VIRTIO_NET_HDR_GSO_UDP; });
  with([](virtio_net_hdr& bad) { bad.gso_type = 77; });
  with([](virtio_net_hdr& bad) { bad.gso_type = VIRTIO_NET_HDR_GSO_TCPV6; });
  with([](virtio_net_hdr& bad) { bad.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4; });
  with([](virtio_net_hdr& bad) { bad.flags = 0; });
  virtio_net_hdr partial = good;
  partial.gso_type = 0;
  partial.csum_start = htole16(static_cast<uint16_t>(frame.bytes.size() - 1));
  ExpectBadOffload(partial, frame.bytes);
  EXPECT_FALSE(two_->Receive(50).has_value());
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 2));
}

TEST_P(VhostHostileTest, V35OffloadsThatWereNotNegotiated) {
  virtio_net_hdr offload{};
  offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  offload.csum_start = htole16(34);
  offload.csum_offset = htole16(16);
  const Bytes frame = FrameTo(2, 1, 300);
  ExpectBadOffload(offload, frame);
  offload.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  offload.gso_size = htole16(100);
  ExpectBadOffload(offload, frame);
  // Flags of the other direction mean nothing here, and are not passed on.
  virtio_net_hdr others{};
  others.flags = VIRTIO_NET_HDR_F_DATA_VALID | 0xf0;
  ASSERT_TRUE(attacker_->Send(frame, others));
  ASSERT_NO_FATAL_FAILURE(ExpectFrame(*two_, frame));
}

TEST_P(VhostHostileTest, V29V36FramesShorterThanAHeader) {
  for (const size_t length : {1, 11, 12, 13, 25}) {
    ASSERT_NO_FATAL_FAILURE(ExpectDropped(Bytes(length), DropReason::kRUNT));
  }
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*attacker_, 1, *two_, 2, 2));
}

// What a guest receives is the frame and nothing of frames before it; the front end has an eye on
// bytes behind it.
TEST_P(VhostHostileTest, V37NoStaleBytes) {
  for (int i = 0; i < 300; ++i) {
    const Bytes secret(1514, 0x5e);
    Bytes long_one = FrameTo(2, 1, 1514);
    std::memcpy(long_one.data() + 14, secret.data(), 1500);
    ASSERT_TRUE(attacker_->Send(long_one));
    ASSERT_NO_FATAL_FAILURE(ExpectFrame(*two_, long_one));
    const size_t length = 14 + static_cast<size_t>(i) % 60;
    ASSERT_TRUE(attacker_->Send(FrameTo(3, 1, length)));
    const auto received = three_->Receive();
    ASSERT_TRUE(received.has_value());
    EXPECT_EQ(received->bytes, FrameTo(3, 1, length));
    virtio_net_hdr zero{};
    EXPECT_EQ(std::memcmp(&received->offload, &zero, sizeof(zero)), 0);
    EXPECT_EQ(received->buffers, 1);
  }
  EXPECT_EQ(three_->problems(), "");
}

TEST_P(VhostHostileTest, SpoofedSourcesAreDropped) {
  ASSERT_TRUE(attacker_->Send(FrameTo(2, 3, 200)));
  EXPECT_TRUE(Eventually([this] { return InDrops(1, DropReason::kSPOOFED_SOURCE) == 1; }));
  ASSERT_NO_FATAL_FAILURE(ExpectOthersTalk());
}

}  // namespace
}  // namespace vmqd::testing

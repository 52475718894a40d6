// What a correct front end asks, and gets: every request, over a real socket.
#include <unistd.h>

#include <cstring>

#include "daemon/net/virtio_net_header.h"
#include "tests/unit/virtio/vhost_fixture.h"

namespace vmqd::testing {
namespace {

using ::testing::ElementsAre;

class VhostRequestsTest : public VhostTest {
 protected:
  void SetUp() override {
    VhostTest::SetUp();
    AddPort(2);
  }
};

TEST_F(VhostRequestsTest, OffersWhatThePortHas) {
  ASSERT_TRUE(client_.ConnectTo(Path()));
  EXPECT_EQ(client_.Ask(kGetFeatures)->u64(), SupportedVirtioFeatures() | kProtocol);
  EXPECT_EQ(client_.Ask(kGetProtocolFeatures)->u64(), kAllProtocol);
  ASSERT_TRUE(client_.SetU64(kSetProtocolFeatures, kAllProtocol));
  EXPECT_EQ(client_.Ask(kGetQueueNum)->u64(), 2U);
  EXPECT_EQ(client_.Ask(kGetMaxMemSlots)->u64(), 64U);
  const VhostStatus status = Status();
  EXPECT_TRUE(status.connected);
  EXPECT_EQ(status.connections, 1U);
  EXPECT_EQ(status.protocol_features, kAllProtocol);
}

TEST_F(VhostRequestsTest, StartsAPairAndStopsItWithGetVringBase) {
  Connect();
  StartPair();
  EXPECT_EQ(Status().memory_bytes, kMemoryBytes);
  EXPECT_TRUE(Status().memory_sealed);
  EXPECT_EQ(GuestMappings(), 1U);
  const auto base = client_.Ask(kGetVringBase, Raw(uint32_t{1}) + Raw(uint32_t{0}));
  ASSERT_TRUE(base.has_value());
  EXPECT_EQ(base->payload, Raw(uint32_t{1}) + Raw(uint32_t{0}));
  EXPECT_EQ(owner_.running(), 1U);
  EXPECT_FALSE(owner_.link());
  // Again, and of a ring that never was: the same answer, nothing else.
  EXPECT_TRUE(client_.Ask(kGetVringBase, Raw(uint32_t{1}) + Raw(uint32_t{0})).has_value());
  EXPECT_TRUE(client_.Ask(kGetVringBase, Raw(uint32_t{3}) + Raw(uint32_t{0})).has_value());
  // A new kick is enough.
  const TestFd kick = NewEventFd();
  client_.SetVringFd(kSetVringKick, 1, kick.get());
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 2U);
  EXPECT_THAT(owner_.links(), ElementsAre(true, false, true));
}

TEST_F(VhostRequestsTest, KeepsTheBaseItWasGivenUntilTheRingRuns) {
  Connect();
  GiveMemory();
  Describe(0, 256, 77);
  const auto base = client_.Ask(kGetVringBase, Raw(uint32_t{0}) + Raw(uint32_t{0}));
  ASSERT_TRUE(base.has_value());
  EXPECT_EQ(base->payload, Raw(uint32_t{0}) + Raw(uint32_t{77}));
}

// A front end whose last back end died sends what base it likes; the ring knows better.
TEST_F(VhostRequestsTest, ASplitRingGoesOnAtItsUsedIndex) {
  Connect();
  const TestFd memory = NewMemory(kMemoryBytes);
  const uint16_t used = 78;
  ASSERT_EQ(pwrite(memory.get(), &used, sizeof(used), kUsedRing + 2), 2);
  ASSERT_TRUE(client_.SetMemTable({Region()}, {memory.get()}));
  StartRing(0, 256, 0);
  const auto base = client_.Ask(kGetVringBase, Raw(uint32_t{0}) + Raw(uint32_t{0}));
  ASSERT_TRUE(base.has_value());
  EXPECT_EQ(base->payload, Raw(uint32_t{0}) + Raw(uint32_t{78}));
}

TEST_F(VhostRequestsTest, WithoutProtocolFeaturesRingsAreEnabledFromTheStart) {
  Connect(kVersionOne);
  GiveMemory();
  StartRing(0);
  StartRing(1);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_TRUE(owner_.link());
}

TEST_F(VhostRequestsTest, WithProtocolFeaturesRingsWaitForEnable) {
  Connect();
  GiveMemory();
  StartRing(0);
  StartRing(1);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 2U);
  EXPECT_FALSE(owner_.link());
  EXPECT_FALSE(owner_.With(0, [](const VhostQueue& queue) { return queue.enabled; }));
  client_.SetVring(kSetVringEnable, 0, 1);
  client_.SetVring(kSetVringEnable, 1, 1);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_TRUE(owner_.link());
  EXPECT_TRUE(owner_.With(0, [](const VhostQueue& queue) { return queue.enabled; }));
}

TEST_F(VhostRequestsTest, APolledRingHasNoKickAndNeedsNoCall) {
  Connect();
  GiveMemory();
  Describe(0);
  client_.SetVringFd(kSetVringKick, 0, -1);
  ASSERT_TRUE(client_.Synchronise());
  ASSERT_EQ(owner_.running(), 1U);
  owner_.With(0, [](const VhostQueue& queue) {
    EXPECT_EQ(queue.kick_fd, -1);
    EXPECT_EQ(queue.call_fd, -1);
    return 0;
  });
  const TestFd call = NewEventFd();
  client_.SetVringFd(kSetVringCall, 0, call.get());
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_TRUE(owner_.With(0, [](const VhostQueue& queue) { return queue.call_fd >= 0; }));
}

TEST_F(VhostRequestsTest, MemoryChangesUnderRunningRings) {
  Connect();
  StartPair();
  const int starts = owner_.starts();
  GiveMemory();
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.starts(), starts + 2);
  EXPECT_EQ(owner_.running(), 2U);
  EXPECT_EQ(GuestMappings(), 1U);
  EXPECT_THAT(owner_.links(), ElementsAre(true));  // nobody saw it go down
}

TEST_F(VhostRequestsTest, MemoryIsPluggedAndUnplugged) {
  Connect();
  StartPair();
  const TestFd more = NewMemory(kMemoryBytes);
  const std::string region = Raw(uint64_t{0}) + Raw(Region(kMemoryBytes));
  EXPECT_EQ(client_.Acknowledged(kAddMemReg, region, {more.get()}), 0U);
  EXPECT_EQ(Status().memory_regions, 2U);
  EXPECT_EQ(GuestMappings(), 2U);
  EXPECT_EQ(owner_.running(), 2U);
  EXPECT_EQ(client_.Acknowledged(kRemMemReg, region), 0U);
  EXPECT_EQ(client_.Acknowledged(kRemMemReg, region), 1U);  // it is gone already
  EXPECT_EQ(Status().memory_regions, 1U);
  EXPECT_EQ(GuestMappings(), 1U);
  EXPECT_EQ(owner_.running(), 2U);
}

// As QEMU plugs it: once for each queue pair, and so it goes again.
TEST_F(VhostRequestsTest, MemoryMayBePluggedOnceForEachRing) {
  Connect();
  StartPair();
  const TestFd more = NewMemory(kMemoryBytes);
  const TestFd other = NewMemory(kMemoryBytes);
  const std::string region = Raw(uint64_t{0}) + Raw(Region(kMemoryBytes));
  const size_t rings = Status().rings.size();
  for (size_t i = 0; i < rings; ++i) {
    EXPECT_EQ(client_.Acknowledged(kAddMemReg, region, {more.get()}), 0U);
    EXPECT_EQ(client_.Acknowledged(kAddMemReg, region, {other.get()}), 1U);  // another file
    EXPECT_EQ(GuestMappings(), 2U);
  }
  EXPECT_EQ(client_.Acknowledged(kAddMemReg, region, {more.get()}), 1U);  // more often than that
  for (size_t i = 0; i < rings; ++i) {
    EXPECT_EQ(GuestMappings(), 2U);
    EXPECT_EQ(client_.Acknowledged(kRemMemReg, region), 0U);
  }
  EXPECT_EQ(client_.Acknowledged(kRemMemReg, region), 1U);
  EXPECT_EQ(Status().memory_regions, 1U);
  EXPECT_EQ(GuestMappings(), 1U);
  EXPECT_EQ(owner_.running(), 2U);
}

TEST_F(VhostRequestsTest, RingsMayBeDescribedBeforeTheirMemoryIsPlugged) {
  Connect();
  StartRing(0);
  const TestFd first = NewMemory(kMemoryBytes);
  const TestFd second = NewMemory(kMemoryBytes);
  const std::string elsewhere = Raw(uint64_t{0}) + Raw(Region(kMemoryBytes));
  EXPECT_EQ(client_.Acknowledged(kAddMemReg, elsewhere, {first.get()}), 0U);
  EXPECT_EQ(owner_.running(), 0U);
  EXPECT_EQ(client_.Acknowledged(kAddMemReg, Raw(uint64_t{0}) + Raw(Region()), {second.get()}), 0U);
  EXPECT_EQ(owner_.running(), 1U);
}

TEST_F(VhostRequestsTest, AMigrationTurnsLoggingOnUnderRunningRings) {
  Connect();
  StartPair();
  const TestFd log = NewMemory(1 << 20);
  const std::string where = Raw(uint64_t{1 << 20}) + Raw(uint64_t{0});
  const auto reply = client_.Ask(kSetLogBase, where, {log.get()});
  ASSERT_TRUE(reply.has_value());
  EXPECT_TRUE(reply->payload.empty());
  EXPECT_EQ(client_.Acknowledged(kSetLogBase, where, {log.get()}), 0U);
  EXPECT_FALSE(Status().logging);
  client_.SetU64(kSetFeatures, kVersionOne | kProtocol | kLogAll);
  GiveAddress(0, 0, 1);
  GiveAddress(1, 0, 1);
  const TestFd event = NewEventFd();
  client_.Send(kSetLogFd, "", {event.get()});
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_TRUE(Status().logging);
  ASSERT_EQ(owner_.running(), 2U);
  EXPECT_TRUE(owner_.With(0, [](const VhostQueue& queue) { return queue.ring->logs(); }));
  client_.SetU64(kSetFeatures, kVersionOne | kProtocol);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_FALSE(owner_.With(0, [](const VhostQueue& queue) { return queue.ring->logs(); }));
  EXPECT_THAT(owner_.links(), ElementsAre(true));
}

TEST_F(VhostRequestsTest, TellsItsConfiguration) {
  Connect();
  const uint32_t size = sizeof(virtio_net_config);
  const std::string head = Raw(uint32_t{0}) + Raw(size) + Raw(uint32_t{0});
  const auto reply = client_.Ask(kGetConfig, head + std::string(size, '\xff'));
  ASSERT_TRUE(reply.has_value());
  ASSERT_EQ(reply->payload.size(), head.size() + size);
  virtio_net_config config{};
  std::memcpy(&config, reply->payload.data() + head.size(), size);
  EXPECT_EQ(MacAddress::FromWire(config.mac), options_.mac);
  EXPECT_EQ(config.status, VIRTIO_NET_S_LINK_UP);
  EXPECT_EQ(config.max_virtqueue_pairs, 2);
  EXPECT_EQ(config.mtu, 1500);
  // Beyond the end: no payload. Writing: no.
  const std::string beyond = Raw(uint32_t{250}) + Raw(uint32_t{8}) + Raw(uint32_t{0});
  EXPECT_TRUE(client_.Ask(kGetConfig, beyond + std::string(8, '\0'))->payload.empty());
  EXPECT_EQ(client_.Acknowledged(kSetConfig, head + std::string(size, '\0')), 1U);
  EXPECT_TRUE(client_.Send(kSetConfig, head + std::string(size, '\0')));
  EXPECT_TRUE(client_.Synchronise());
}

TEST_F(VhostRequestsTest, TakesAnMtuThatThePortHas) {
  Connect();
  EXPECT_EQ(client_.Acknowledged(kNetSetMtu, Raw(uint64_t{1400})), 0U);
  EXPECT_EQ(Status().mtu, 1400U);
  for (const uint64_t mtu : {uint64_t{0}, uint64_t{67}, uint64_t{1501}, uint64_t{1} << 40}) {
    EXPECT_EQ(client_.Acknowledged(kNetSetMtu, Raw(mtu)), 1U) << mtu;
  }
  EXPECT_EQ(Status().mtu, 1400U);
}

TEST_F(VhostRequestsTest, AnnouncesTheGuest) {
  Connect();
  const std::string mac("\x52\x54\x00\x00\x00\x09\x00\x00", 8);
  EXPECT_EQ(client_.Acknowledged(kSendRarp, mac), 0U);
  EXPECT_EQ(client_.Acknowledged(kSendRarp, std::string(8, '\0')), 1U);
  EXPECT_EQ(client_.Acknowledged(kSendRarp, std::string(8, '\xff')), 1U);
  EXPECT_THAT(owner_.announced(), ElementsAre("52:54:00:00:00:09"));
}

TEST_F(VhostRequestsTest, KeepsTheDeviceStatusAndStopsAtReset) {
  Connect();
  StartPair();
  client_.SetU64(kSetStatus, 0xf);
  EXPECT_EQ(client_.Ask(kGetStatus)->u64(), 0xfU);
  EXPECT_EQ(owner_.running(), 2U);
  client_.SetU64(kSetStatus, 0);
  EXPECT_EQ(client_.Ask(kGetStatus)->u64(), 0U);
  EXPECT_EQ(owner_.running(), 0U);
}

TEST_F(VhostRequestsTest, ResetOwnerStopsTheRings) {
  Connect();
  StartPair();
  client_.Send(kResetOwner);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 0U);
  client_.SetU64(kSetFeatures, kVersionOne | kProtocol | kPackedRing);  // none runs: any will do
  EXPECT_TRUE(client_.Synchronise());
}

TEST_F(VhostRequestsTest, APackedRingMayHaveAnySize) {
  Connect(kVersionOne | kProtocol | kPackedRing);
  GiveMemory();
  StartRing(0, 100, 0x80008000);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 1U);
}

TEST_F(VhostRequestsTest, NeedReplyWithoutReplyAckGetsNone) {
  ASSERT_TRUE(client_.ConnectTo(Path()));
  client_.Send(kSetFeatures, Raw(kVersionOne), {}, kVersion1 | kNeedReplyFlag);
  const auto next = client_.Ask(kGetFeatures);
  EXPECT_TRUE(next.has_value());
}

TEST_F(VhostRequestsTest, AFaultStopsTheRingsUntilTheyAreKicked) {
  Connect();
  StartPair();
  const TestFd error = NewEventFd();
  client_.SetVringFd(kSetVringErr, 0, error.get());
  ASSERT_TRUE(client_.Synchronise());
  server_->Fault(1, "the guest made more chains available than its ring has entries");
  server_->Fault(1, "seen twice");
  EXPECT_EQ(owner_.running(), 0U);
  EXPECT_FALSE(owner_.link());
  VhostStatus status = Status();
  EXPECT_TRUE(status.connected);
  EXPECT_THAT(status.fault, ::testing::HasSubstr("more chains"));
  EXPECT_EQ(status.faults, 1U);
  uint64_t signalled = 0;
  EXPECT_EQ(read(error.get(), &signalled, sizeof(signalled)), -1) << "it could be made to block";
  for (const uint32_t ring : {0U, 1U}) {
    const TestFd kick = NewEventFd();
    client_.SetVringFd(kSetVringKick, ring, kick.get());
  }
  ASSERT_TRUE(client_.Synchronise());
  status = Status();
  EXPECT_EQ(owner_.running(), 2U);
  EXPECT_TRUE(owner_.link());
  EXPECT_TRUE(status.fault.empty());
  EXPECT_THAT(status.last_fault, ::testing::HasSubstr("more chains"));
}

TEST_F(VhostRequestsTest, ResetClosesAndAFrontEndBeginsAnew) {
  Connect();
  StartPair();
  server_->Reset(1);
  EXPECT_TRUE(client_.Closed());
  EXPECT_EQ(owner_.running(), 0U);
  EXPECT_TRUE(Status().fault.empty());
  Connect();
  EXPECT_EQ(Status().memory_regions, 0U);
  StartPair();
  EXPECT_EQ(Status().connections, 2U);
}

}  // namespace
}  // namespace vmqd::testing

// What a hostile front end sends: each row of the threat table that the protocol can carry, by its
// number, and every refusal there is. After each the connection is closed with the reason, and the
// fixture sees that no descriptor and no mapping is left.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/virtio/vhost_fixture.h"

namespace vmqd::testing {
namespace {

class VhostHostileTest : public VhostTest {
 protected:
  void SetUp() override {
    VhostTest::SetUp();
    AddPort();
  }
  // A table of one region, given as it is.
  void SendRegion(const VhostRegion& region, int memory) {
    Connect();
    ASSERT_TRUE(client_.SetMemTable({region}, {memory}));
  }
};

// Guest memory.

TEST_F(VhostHostileTest, V2ARegionThatWraps) {
  const TestFd memory = NewMemory(kMemoryBytes);
  SendRegion({UINT64_MAX - 0xfff, kMemoryBytes, kUserBase, 0}, memory.get());
  ExpectFault({"SET_MEM_TABLE", "region 0"});
  SendRegion({kGuestBase, kMemoryBytes, UINT64_MAX - 0xfff, 0}, memory.get());
  ExpectFault({"SET_MEM_TABLE", "region 0"});
  SendRegion({kGuestBase, kMemoryBytes, kUserBase, UINT64_MAX - 0xfff}, memory.get());
  ExpectFault({"SET_MEM_TABLE", "region 0"});
}

TEST_F(VhostHostileTest, V3ARegionLargerThanItsFileOrEmptyOrUnaligned) {
  const TestFd memory = NewMemory(kMemoryBytes);
  SendRegion({kGuestBase, kMemoryBytes + 4096, kUserBase, 0}, memory.get());
  ExpectFault({"SET_MEM_TABLE", "region 0"});
  SendRegion({kGuestBase, 0, kUserBase, 0}, memory.get());
  ExpectFault({"SET_MEM_TABLE"});
  SendRegion({kGuestBase, 4096, kUserBase, 1}, memory.get());
  ExpectFault({"SET_MEM_TABLE"});
  SendRegion({kGuestBase, uint64_t{1} << 60, kUserBase, 0}, memory.get());
  ExpectFault({"SET_MEM_TABLE"});
}

TEST_F(VhostHostileTest, V4AnUnsealedFileIsTakenAndSaidToBe) {
  const TestFd memory = NewMemory(kMemoryBytes, false);
  SendRegion(Region(), memory.get());
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_FALSE(Status().memory_sealed);
}

TEST_F(VhostHostileTest, V5OverlapsAndTooManyRegions) {
  const TestFd memory = NewMemory(kMemoryBytes);
  Connect();
  client_.SetMemTable({Region(0), Region(4096)}, {memory.get(), memory.get()});
  ExpectFault({"SET_MEM_TABLE", "region 1"});
  Connect();
  client_.SetMemTable(std::vector<VhostRegion>(9, Region()), std::vector<int>(8, memory.get()));
  ExpectFault({"SET_MEM_TABLE", "296 bytes"});
  Connect();  // count and size disagree
  client_.Send(kSetMemTable, Raw(uint32_t{2}) + Raw(uint32_t{0}) + Raw(Region()), {memory.get()});
  ExpectFault({"SET_MEM_TABLE", "2 regions in 40 bytes"});
  Connect();  // fewer descriptors than regions
  client_.SetMemTable({Region(0), Region(kMemoryBytes)}, {memory.get()});
  ExpectFault({"SET_MEM_TABLE", "2 regions", "1 file descriptors"});
  Connect();  // slots: one more than there are
  for (uint32_t i = 0; i < 64; ++i) {
    const std::string region = Raw(uint64_t{0}) + Raw(Region(i * kMemoryBytes));
    ASSERT_EQ(client_.Acknowledged(kAddMemReg, region, {memory.get()}), 0U) << i;
  }
  client_.Send(kAddMemReg, Raw(uint64_t{0}) + Raw(Region(64 * kMemoryBytes)), {memory.get()});
  ExpectFault({"ADD_MEM_REG"});
}

TEST_F(VhostHostileTest, V6MemoryTakenFromUnderRunningRings) {
  Connect();
  StartPair();
  client_.Send(kRemMemReg, Raw(uint64_t{0}) + Raw(Region()));
  ASSERT_TRUE(client_.Synchronise());  // a table without regions: the rings wait
  EXPECT_EQ(owner_.running(), 0U);
  EXPECT_EQ(GuestMappings(), 0U);
  client_.Close();
  Connect();
  StartPair();
  const TestFd memory = NewMemory(kMemoryBytes);
  client_.SetMemTable({Region(kMemoryBytes)}, {memory.get()});  // the rings lie elsewhere
  ExpectFault({"SET_MEM_TABLE", "ring 0"});
}

TEST_F(VhostHostileTest, V7ARingOutsideMemoryOrAcrossItsEndOrUnaligned) {
  const uint64_t end = kUserBase + kMemoryBytes;
  const std::vector<std::array<uint64_t, 3>> addresses = {
      {kUserBase - 4096, kUserBase, kUserBase}, {kUserBase, end, kUserBase},
      {kUserBase, kUserBase, end - 16},         {end - 4096 + 16, kUserBase, kUserBase},
      {kUserBase + 8, kUserBase, kUserBase},    {kUserBase, kUserBase + 2, kUserBase},
      {kUserBase, kUserBase, kUserBase + 1},    {UINT64_MAX - 15, kUserBase, kUserBase}};
  for (const auto& [descriptors, used, available] : addresses) {
    Connect();
    GiveMemory();
    StartRing(0);
    client_.SetVringAddr(0, descriptors, used, available);
    ExpectFault({"SET_VRING_ADDR", "ring 0"});
  }
}

TEST_F(VhostHostileTest, V8ALogThatDoesNotFitItsFile) {
  const TestFd log = NewMemory(4096);
  for (const auto& [size, offset] : std::vector<std::pair<uint64_t, uint64_t>>{
           {8192, 0}, {4096, 4096}, {0, 0}, {4096, UINT64_MAX - 4095}, {UINT64_MAX, 1}}) {
    Connect();
    client_.Send(kSetLogBase, Raw(size) + Raw(offset), {log.get()});
    ExpectFault({"SET_LOG_BASE"});
  }
  Connect();
  const TestFd pipe_end = NewEventFd();
  client_.Send(kSetLogBase, Raw(uint64_t{4096}) + Raw(uint64_t{0}), {pipe_end.get()});
  ExpectFault({"SET_LOG_BASE"});
}

// Messages.

TEST_F(VhostHostileTest, V9SizesThatNoRequestHas) {
  struct Case {
    uint32_t request;
    size_t size;
    const char* name;
  };
  for (const Case& wrong : std::vector<Case>{{kSetFeatures, 4, "SET_FEATURES"},
                                             {kSetFeatures, 16, "SET_FEATURES"},
                                             {kGetFeatures, 8, "GET_FEATURES"},
                                             {kSetMemTable, 8, "SET_MEM_TABLE"},
                                             {kSetVringAddr, 32, "SET_VRING_ADDR"},
                                             {kSetVringNum, 12, "SET_VRING_NUM"},
                                             {kGetConfig, 4, "GET_CONFIG"},
                                             {kGetConfig, 4000, "GET_CONFIG"},
                                             {kAddMemReg, 32, "ADD_MEM_REG"}}) {
    Connect();
    client_.Send(wrong.request, std::string(wrong.size, '\0'));
    ExpectFault({wrong.name, std::to_string(wrong.size)});
  }
  Connect();
  client_.SendRaw(Raw(uint32_t{kSetFeatures}) + Raw(kVersion1) + Raw(uint32_t{0xffffffff}));
  ExpectFault({"SET_FEATURES", "4294967295"});
  Connect();  // the size inside disagrees
  client_.Send(kGetConfig, Raw(uint32_t{0}) + Raw(uint32_t{200}) + Raw(uint32_t{0}) + "12345678");
  ExpectFault({"GET_CONFIG", "200"});
}

TEST_F(VhostHostileTest, HeadersThatNoFrontEndSends) {
  for (const uint32_t request : {0U, 23U, uint32_t{kGetInflightFd}, 41U, 0xffffffffU}) {
    Connect();
    client_.Send(request);
    ExpectFault({"request " + std::to_string(request), "unknown"});
  }
  for (const uint32_t flags : {0U, 2U, 3U, kVersion1 | kReplyFlag, kVersion1 | 0x10U, ~0U}) {
    Connect();
    client_.Send(kGetFeatures, "", {}, flags);
    ExpectFault({"GET_FEATURES", "flags"});
  }
}

TEST_F(VhostHostileTest, V10SilenceInTheMiddleOfAMessage) {
  const auto began = std::chrono::steady_clock::now();
  Connect();
  client_.SendRaw(Raw(uint32_t{kSetFeatures}) + Raw(kVersion1) + Raw(uint32_t{8}));
  // Meanwhile another port is served.
  RecordingOwner other;
  ASSERT_TRUE(server_->Add(2, "vm2", VhostRole::kSwitchListens, options_, other).ok());
  VhostClient neighbour;
  ASSERT_TRUE(neighbour.ConnectTo(Path("vm2")));
  EXPECT_TRUE(neighbour.Synchronise());
  EXPECT_TRUE(client_.Closed(3000));
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_GE(took, std::chrono::milliseconds(1900));
  EXPECT_LT(took, std::chrono::milliseconds(2900));
  ExpectFault({"middle of a message"});
  EXPECT_TRUE(neighbour.Synchronise());
  server_->Remove(2);
}

TEST_F(VhostHostileTest, V10AByteNowAndThenDoesNotHelp) {
  Connect();
  const TestFd memory = NewMemory(kMemoryBytes);
  const std::string header = Raw(uint32_t{kSetMemTable}) + Raw(kVersion1) + Raw(uint32_t{40});
  ASSERT_TRUE(client_.SendRaw(header, {memory.get()}));
  bool sent = true;
  for (int i = 0; i < 30 && sent; ++i) {
    sent = client_.SendRaw("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_FALSE(sent);
  ExpectFault({"middle of a message"});
}

TEST_F(VhostHostileTest, AFrontEndThatDoesNotReadIsClosed) {
  Connect();
  const int small = 1;
  setsockopt(client_.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  fcntl(client_.fd(), F_SETFL, O_NONBLOCK);
  // Asks without end, also when the way there is full for a moment.
  EXPECT_TRUE(Eventually(
      [this] {
        for (int i = 0; i < 1000 && client_.Send(kGetFeatures); ++i) {
        }
        return !Status().connected;
      },
      10'000));
  EXPECT_THAT(Status().fault, ::testing::HasSubstr("middle of a message"));
}

TEST_F(VhostHostileTest, V11DescriptorsNobodyAskedFor) {
  const TestFd memory = NewMemory(kMemoryBytes);
  const TestFd event = NewEventFd();
  Connect();
  client_.Send(kGetFeatures, "", {memory.get()});
  ExpectFault({"GET_FEATURES", "1 file descriptors"});
  Connect();
  client_.Send(kSetVringKick, Raw(uint64_t{0}), {event.get(), event.get()});
  ExpectFault({"SET_VRING_KICK", "2 file descriptors"});
  Connect();  // announced, but none there; there, but not announced
  client_.Send(kSetVringKick, Raw(uint64_t{0}));
  ExpectFault({"SET_VRING_KICK", "announces 1"});
  Connect();
  client_.Send(kSetVringCall, Raw(uint64_t{0x100}), {event.get()});
  ExpectFault({"SET_VRING_CALL", "announces 0"});
  for (const size_t many : {9U, 10U, 100U, 253U}) {
    Connect();
    client_.Send(kSetMemTable, std::string(264, '\0'), std::vector<int>(many, memory.get()));
    ExpectFault({"more than 8 file descriptors"});
  }
  Connect();  // with every byte of a message
  for (const char byte : Raw(uint32_t{kSetVringKick}) + Raw(kVersion1) + Raw(uint32_t{8})) {
    client_.SendRaw(std::string(1, byte), {event.get()});
  }
  ExpectFault({"more than 8 file descriptors"});
}

TEST_F(VhostHostileTest, V12RepeatedRequestsKeepNothing) {
  Connect();
  StartPair();
  const size_t fds = OpenFds();
  const TestFd log = NewMemory(1 << 20);
  for (int i = 0; i < 200; ++i) {
    const TestFd event = NewEventFd();
    for (const uint32_t request : {kSetVringKick, kSetVringCall, kSetVringErr}) {
      client_.SetVringFd(request, 0, event.get());
    }
    client_.Send(kSetLogFd, "", {event.get()});
    client_.Ask(kSetLogBase, Raw(uint64_t{4096}) + Raw(uint64_t{0}), {log.get()});
    GiveMemory();
  }
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_LE(OpenFds(), fds + 3);  // call and error, and the log of this test
  EXPECT_EQ(GuestMappings(), 2U);
  EXPECT_EQ(owner_.running(), 2U);
}

TEST_F(VhostHostileTest, V13NotAnEventFd) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const TestFd reading(ends[0]);
  const TestFd writing(ends[1]);
  const TestFd directory(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const TestFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  const TestFd memory = NewMemory(4096);
  // A file whose very name is an eventfd's.
  const std::string name = directory_ + "/anon_inode:[eventfd]";
  const TestFd named(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  for (const int fd : {reading.get(), writing.get(), directory.get(), null.get(), memory.get(),
                       named.get(), client_.fd()}) {
    if (fd < 0) continue;
    for (const uint32_t request : {kSetVringKick, kSetVringCall, kSetVringErr, kSetLogFd}) {
      Connect();
      client_.Send(request, request == kSetLogFd ? "" : Raw(uint64_t{0}), {fd});
      ExpectFault({"not an eventfd"});
    }
  }
  Connect();
  client_.Send(kSetVringKick, Raw(uint64_t{0}), {client_.fd()});  // the socket itself
  ExpectFault({"not an eventfd"});
}

TEST_F(VhostHostileTest, V13ABlockingEventFdIsMadeNotToBlock) {
  const TestFd kick = NewEventFd();
  Connect();
  client_.SetVringFd(kSetVringKick, 0, kick.get());
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_NE(fcntl(kick.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(VhostHostileTest, V14RingIndexesBeyondThePort) {
  for (const uint32_t index : {2U, 255U, 0x10000U, 0x10001U, 0xffffffffU}) {
    for (const uint32_t request : {kSetVringNum, kSetVringBase, kGetVringBase, kSetVringEnable}) {
      Connect();
      client_.SetVring(request, index, 1);
      ExpectFault({"ring " + std::to_string(index) + " of a port with 2 rings"});
    }
    Connect();
    client_.SetVringAddr(index, kUserBase, kUserBase, kUserBase);
    ExpectFault({"SET_VRING_ADDR", "of a port with 2 rings"});
  }
  const TestFd event = NewEventFd();
  for (const uint64_t index : {uint64_t{2}, uint64_t{0xff}, uint64_t{1} << 32, uint64_t{1} << 16}) {
    Connect();
    client_.SetVringFd(kSetVringKick, index, event.get());
    ExpectFault({"SET_VRING_KICK", "of a port with 2 rings"});
  }
}

TEST_F(VhostHostileTest, V16RingSizes) {
  for (const uint32_t size : {0U, 3U, 100U, 32769U, 65536U, 0x80000000U}) {
    Connect();
    client_.SetVring(kSetVringNum, 0, size);
    ExpectFault({"SET_VRING_NUM", "a ring of " + std::to_string(size)});
  }
  for (const uint32_t size : {0U, 32769U}) {
    Connect(kVersionOne | kProtocol | kPackedRing);
    client_.SetVring(kSetVringNum, 0, size);
    ExpectFault({"SET_VRING_NUM"});
  }
  Connect();
  StartPair();
  client_.SetVring(kSetVringNum, 0, 128);
  ExpectFault({"SET_VRING_NUM", "running"});
  Connect();
  StartPair();
  client_.SetVring(kSetVringBase, 0, 1);
  ExpectFault({"SET_VRING_BASE", "running"});
  Connect();  // a size for a packed ring, and then it is a split one
  client_.SetU64(kSetFeatures, kVersionOne | kPackedRing);
  GiveMemory();
  client_.SetVring(kSetVringNum, 0, 100);
  client_.SetU64(kSetFeatures, kVersionOne);
  client_.SetVring(kSetVringBase, 0, 0);
  GiveAddress(0);
  client_.SetVringFd(kSetVringKick, 0, -1);
  ExpectFault({"SET_VRING_KICK", "ring 0"});
}

TEST_F(VhostHostileTest, V17FeaturesNotOfferedOrChangedWhileRunning) {
  Connect();
  client_.SetU64(kSetFeatures, kVersionOne | uint64_t{1} << 33);
  ExpectFault({"SET_FEATURES", "ACCESS_PLATFORM"});
  Connect();
  client_.SetU64(kSetFeatures, ~uint64_t{0});
  ExpectFault({"SET_FEATURES", "not offered"});
  Connect();
  client_.SetU64(kSetProtocolFeatures, kAllProtocol | 1 << 12);
  ExpectFault({"SET_PROTOCOL_FEATURES", "bit 12"});
  Connect();
  StartPair();
  client_.SetU64(kSetFeatures, kVersionOne | kProtocol | kPackedRing);
  ExpectFault({"SET_FEATURES", "RING_PACKED"});
  Connect();
  StartPair();
  client_.SetU64(kSetProtocolFeatures, kReplyAck);
  ExpectFault({"SET_PROTOCOL_FEATURES", "while a ring runs"});
}

TEST_F(VhostHostileTest, V18AnyOrderOfMessagesAndNothingRunsTooEarly) {
  ASSERT_TRUE(client_.ConnectTo(Path()));
  const TestFd kick = NewEventFd();
  client_.SetVringFd(kSetVringKick, 0, kick.get());
  client_.SetVring(kSetVringEnable, 0, 1);
  client_.Ask(kGetVringBase, Raw(uint64_t{0}));
  client_.SetVringFd(kSetVringKick, 0, kick.get());
  GiveAddress(0);
  GiveMemory();
  client_.SetVring(kSetVringBase, 0, 0);
  client_.SetVring(kSetVringNum, 0, 256);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 0U);  // features are missing still
  client_.SetU64(kSetFeatures, kVersionOne);
  ASSERT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 1U);
  client_.Send(kSetOwner);
  client_.Send(kSetOwner);
  EXPECT_TRUE(client_.Synchronise());
}

TEST_F(VhostHostileTest, RequestsOfProtocolFeaturesThatWereNotNegotiated) {
  const TestFd memory = NewMemory(4096);
  for (const uint32_t request : {kGetQueueNum, kGetMaxMemSlots, kGetStatus}) {
    Connect(kVersionOne);
    client_.Send(request);
    ExpectFault({"needs the protocol feature"});
  }
  Connect(kVersionOne);
  client_.Send(kSetLogBase, Raw(uint64_t{4096}) + Raw(uint64_t{0}), {memory.get()});
  ExpectFault({"SET_LOG_BASE", "LOG_SHMFD"});
}

TEST_F(VhostHostileTest, ValuesOutOfRange) {
  Connect();
  client_.SetVring(kSetVringEnable, 0, 2);
  ExpectFault({"SET_VRING_ENABLE", "2"});
  Connect();
  client_.SetVring(kSetVringBase, 0, 0x10000);
  ExpectFault({"SET_VRING_BASE", "65536"});
  Connect();
  client_.SetU64(kSetStatus, 256);
  ExpectFault({"SET_STATUS", "256"});
  Connect();
  client_.SetVringAddr(0, kUserBase, kUserBase, kUserBase, 2);
  ExpectFault({"SET_VRING_ADDR", "flags 2"});
  EXPECT_EQ(Status().faults, 4U);
}

TEST_F(VhostHostileTest, ARequestThatIsDeniedIsAcknowledgedBeforeTheEnd) {
  Connect();
  EXPECT_EQ(client_.Acknowledged(kSetVringNum, Raw(uint32_t{0}) + Raw(uint32_t{3})), 1U);
  ExpectFault({"SET_VRING_NUM"});
}

}  // namespace
}  // namespace vmqd::testing

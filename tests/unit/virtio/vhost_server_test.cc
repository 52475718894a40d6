// The server around the protocol: names and files, both roles, second connections, storms, threads.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "tests/unit/virtio/vhost_fixture.h"

namespace vmqd::testing {
namespace {

class VhostServerTest : public VhostTest {
 protected:
  absl::Status Add(const std::string& name, VhostRole role = VhostRole::kSwitchListens) {
    options_.features = SupportedVirtioFeatures();
    return server_->Add(1, name, role, options_, owner_);
  }
};

TEST_F(VhostServerTest, V20OnlyNamesNoPaths) {
  for (const char* name : {"", ".", "..", ".vm1", "../vm1", "/tmp/vm1", "a/b", "vm 1", "vm\n1",
                           "0123456789012345678901234567890123456789012345678901234567890123"}) {
    EXPECT_EQ(Add(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(Add("012345678901234567890123456789012345678901234567890123456789012").ok());
}

TEST_F(VhostServerTest, V20ALinkOrAFileInItsPlaceIsNotTouched) {
  const std::string target = directory_ + "/target";
  ASSERT_EQ(symlink(target.c_str(), Path().c_str()), 0);
  EXPECT_EQ(Add("vm1").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(std::filesystem::exists(target));
  unlink(Path().c_str());
  std::ofstream(Path()) << "precious";
  const absl::Status refused = Add("vm1");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("not a socket; remove it"));
  EXPECT_EQ(std::filesystem::file_size(Path()), 8U);
}

TEST_F(VhostServerTest, V20AListenersSocketBehindALinkIsNotConnectedTo) {
  VhostClient vmm;
  ASSERT_TRUE(vmm.ListenAt(directory_ + "/elsewhere"));
  ASSERT_EQ(symlink("elsewhere", Path().c_str()), 0);
  ASSERT_TRUE(Add("vm1", VhostRole::kVmmListens).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_FALSE(Status().connected);
}

TEST_F(VhostServerTest, AStaleSocketIsReplacedAndALiveOneIsNot) {
  {
    VhostClient earlier;
    ASSERT_TRUE(earlier.ListenAt(Path()));
    const absl::Status refused = Add("vm1");
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("somebody listens"));
  }
  EXPECT_TRUE(Add("vm1").ok());
  EXPECT_TRUE(client_.ConnectTo(Path()));
  EXPECT_TRUE(client_.Synchronise());
}

TEST_F(VhostServerTest, TheSocketHasTheModeAndGoesWithThePort) {
  ASSERT_TRUE(Add("vm1").ok());
  struct stat file {};
  ASSERT_EQ(lstat(Path().c_str(), &file), 0);
  EXPECT_TRUE(S_ISSOCK(file.st_mode));
  EXPECT_EQ(file.st_mode & 0777, 0660U);
  server_->Remove(1);
  EXPECT_NE(lstat(Path().c_str(), &file), 0);
  // Not ours any more: it stays.
  ASSERT_TRUE(Add("vm1").ok());
  unlink(Path().c_str());
  std::ofstream(Path()) << "another";
  server_->Remove(1);
  EXPECT_EQ(lstat(Path().c_str(), &file), 0);
}

TEST_F(VhostServerTest, RefusesWhatIsThereAlreadyOrImpossible) {
  ASSERT_TRUE(Add("vm1").ok());
  EXPECT_EQ(Add("other").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(server_->Add(2, "vm1", VhostRole::kSwitchListens, options_, owner_).code(),
            absl::StatusCode::kAlreadyExists);
  options_.queue_pairs = 17;
  EXPECT_EQ(server_->Add(2, "vm2", VhostRole::kSwitchListens, options_, owner_).code(),
            absl::StatusCode::kInvalidArgument);
  options_.queue_pairs = 1;
  options_.features = uint64_t{1} << 33;
  EXPECT_EQ(server_->Add(2, "vm2", VhostRole::kSwitchListens, options_, owner_).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(VhostServerTest, RefusesABadDirectoryOrGroup) {
  EXPECT_FALSE(VhostServer::Create({"relative", "", 0660}).ok());
  EXPECT_FALSE(VhostServer::Create({directory_, "no-such-group", 0660}).ok());
  EXPECT_FALSE(VhostServer::Create({"/proc/none", "", 0660}).ok());
  auto deep = VhostServer::Create({directory_ + "/a/b", "root", 0600});
  ASSERT_TRUE(deep.ok()) << deep.status();
  EXPECT_EQ((*deep)->directory(), directory_ + "/a/b");
}

TEST_F(VhostServerTest, ASecondConnectionIsClosedWhileTheFirstLives) {
  AddPort();
  Connect();
  StartPair();
  VhostClient second;
  ASSERT_TRUE(second.ConnectTo(Path()));
  EXPECT_TRUE(second.Closed());
  EXPECT_EQ(Status().refused, 1U);
  EXPECT_TRUE(client_.Synchronise());
  EXPECT_EQ(owner_.running(), 2U);
  EXPECT_TRUE(Status().fault.empty());
}

TEST_F(VhostServerTest, AReconnectRightAfterACrashIsTaken) {
  AddPort();
  for (int i = 0; i < 40; ++i) {  // fewer than are accepted in a second
    client_.Close();
    Connect();
    EXPECT_EQ(Status().refused, 0U);
  }
}

TEST_F(VhostServerTest, TheFrontEndGoesAndComesBack) {
  AddPort();
  for (uint64_t i = 1; i <= 20; ++i) {
    Connect();
    StartPair();
    EXPECT_EQ(Status().connections, i);
    client_.Close();
    ASSERT_TRUE(Eventually([this] { return !Status().connected; }));
    EXPECT_EQ(owner_.running(), 0U);
    EXPECT_EQ(GuestMappings(), 0U);
    EXPECT_TRUE(Status().fault.empty());
  }
}

TEST_F(VhostServerTest, V19AStormOfConnectionsIsSlowedDownAndDisturbsNobody) {
  AddPort();
  RecordingOwner other;
  ASSERT_TRUE(server_->Add(2, "vm2", VhostRole::kSwitchListens, options_, other).ok());
  VhostClient neighbour;
  ASSERT_TRUE(neighbour.ConnectTo(Path("vm2")));
  std::atomic<bool> stop = false;
  std::thread storm([&] {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    Path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    while (!stop) {
      const TestFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const int connected =
          connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
      static_cast<void>(connected);
    }
  });
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  auto slowest = std::chrono::steady_clock::duration::zero();
  while (std::chrono::steady_clock::now() < end) {
    const auto began = std::chrono::steady_clock::now();
    EXPECT_TRUE(neighbour.Synchronise());
    slowest = std::max(slowest, std::chrono::steady_clock::now() - began);
  }
  stop = true;
  storm.join();
  EXPECT_LT(slowest, std::chrono::milliseconds(500));
  EXPECT_LE(Status().connections + Status().refused, 150U);
  neighbour.Close();
  server_->Remove(2);
  Connect();  // in the end it is there
}

TEST_F(VhostServerTest, TheVmmListensFirst) {
  ASSERT_TRUE(client_.ListenAt(Path()));
  ASSERT_TRUE(Add("vm1", VhostRole::kVmmListens).ok());
  ASSERT_TRUE(client_.Accept());
  Negotiate();
  StartPair();
  // It goes, and is found again.
  client_.Close();
  ASSERT_TRUE(client_.Accept());
  Negotiate();
  StartPair();
  EXPECT_EQ(Status().connections, 2U);
  own_fds_ = 1;  // the listener
}

TEST_F(VhostServerTest, TheVmmListensLater) {
  ASSERT_TRUE(Add("vm1", VhostRole::kVmmListens).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ASSERT_TRUE(client_.ListenAt(Path()));
  ASSERT_TRUE(client_.Accept());
  Negotiate();
  StartPair();
  server_->Remove(1);
  EXPECT_TRUE(client_.Closed());
  EXPECT_TRUE(std::filesystem::exists(Path()));  // the VMM's file
  own_fds_ = 1;
}

TEST_F(VhostServerTest, WithoutDescriptorsItWaits) {
  AddPort();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  VhostClient front_end;
  const TestFd socket_of_ours(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // The next free number is the limit.
  const TestFd next(dup(0));
  const rlimit none = {static_cast<rlim_t>(next.get()), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  Path().copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int connected =
      connect(socket_of_ours.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  rusage used_before{};
  getrusage(RUSAGE_SELF, &used_before);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  rusage used_after{};
  getrusage(RUSAGE_SELF, &used_after);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(connected, 0);
  const auto milliseconds = [](const timeval& time) {
    return time.tv_sec * 1000 + time.tv_usec / 1000;
  };
  EXPECT_LT(milliseconds(used_after.ru_stime) - milliseconds(used_before.ru_stime), 100);
  EXPECT_TRUE(Eventually([this] { return Status().connected; }));
}

TEST_F(VhostServerTest, V19ChangesFromOtherThreadsWhileFrontEndsComeAndGo) {
  std::atomic<bool> stop = false;
  options_.features = SupportedVirtioFeatures();
  std::thread front_end([&] {
    while (!stop) {
      const TestFd memory = NewMemory(kMemoryBytes);
      VhostClient client;
      if (!client.ConnectTo(Path())) continue;
      client.SetU64(kSetFeatures, kVersionOne);
      client.SetMemTable({Region()}, {memory.get()});
      for (const uint32_t ring : {0U, 1U}) {
        const uint64_t base = kUserBase + ring * 0x8000;
        client.SetVring(kSetVringNum, ring, 256);
        client.SetVring(kSetVringBase, ring, 0);
        client.SetVringAddr(ring, base, base + 0x4000, base + 0x2000);
        client.SetVringFd(kSetVringKick, ring, -1);
      }
      client.SetMemTable({Region()}, {memory.get()});
    }
  });
  int added = 0;
  for (int i = 0; i < 200; ++i) {
    added += server_->Add(1, "vm1", VhostRole::kSwitchListens, options_, owner_).ok() ? 1 : 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    server_->Fault(1, "seen by a worker");
    Status();
    server_->Reset(1);
    server_->Remove(1);
  }
  stop = true;
  server_->Add(1, "vm1", VhostRole::kSwitchListens, options_, owner_).IgnoreError();
  front_end.join();
  EXPECT_EQ(added, 200);
}

TEST(VhostFeatureNames, AreThoseOfTheSpecification) {
  EXPECT_EQ(VirtioFeatureName(15), "MRG_RXBUF");
  EXPECT_EQ(VirtioFeatureName(34), "RING_PACKED");
  EXPECT_EQ(VirtioFeatureName(99), "bit 99");
  EXPECT_EQ(VhostProtocolFeatureName(3), "REPLY_ACK");
  EXPECT_EQ(VhostProtocolFeatureName(12), "bit 12");
  EXPECT_EQ(SupportedVirtioFeatures() & (uint64_t{1} << 30 | uint64_t{1} << 33), 0U);
}

}  // namespace
}  // namespace vmqd::testing

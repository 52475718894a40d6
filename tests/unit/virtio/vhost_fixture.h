// What the vhost-user tests share: a server over a directory of the test's own, an owner that
// writes down what it is told, and a look at what the process holds, so that every test can see
// that nothing is left.
#ifndef VMQD_TESTS_UNIT_VIRTIO_VHOST_FIXTURE_H_
#define VMQD_TESTS_UNIT_VIRTIO_VHOST_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "daemon/virtio/vhost_server.h"
#include "tests/support/vhost_client.h"

namespace vmqd::testing {

inline constexpr uint64_t kVersionOne = uint64_t{1} << 32;
inline constexpr uint64_t kPackedRing = uint64_t{1} << 34;
inline constexpr uint64_t kProtocol = uint64_t{1} << 30;
inline constexpr uint64_t kLogAll = uint64_t{1} << 26;
inline constexpr uint64_t kAllProtocol = 0x1821f;  // what is offered
inline constexpr uint64_t kReplyAck = 1 << 3;

// Where the guest's memory lies: its physical addresses, and the VMM's own.
inline constexpr uint64_t kGuestBase = 0x40000000;
inline constexpr uint64_t kUserBase = 0x7f0000000000;
inline constexpr uint64_t kMemoryBytes = 1 << 20;
inline constexpr uint64_t kUsedRing = 0x4000;  // of ring 0, in that memory

class RecordingOwner : public VhostDeviceOwner {
 public:
  void StartQueue(uint32_t index, VhostQueue& queue) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(queues_.contains(index)) << "ring " << index << " was started twice";
    EXPECT_NE(queue.ring, nullptr);
    queues_[index] = &queue;
    ++starts_;
  }
  void StopQueue(uint32_t index) override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(queues_.erase(index), 1U) << "ring " << index << " was stopped without running";
    ++stops_;
  }
  void SetLink(bool up) override {
    const std::lock_guard lock(mutex_);
    links_.push_back(up);
  }
  void Announce(const MacAddress& mac) override {
    const std::lock_guard lock(mutex_);
    announced_.push_back(mac.ToString());
  }

  // By value, under the lock; a queue itself is looked at only while its front end is quiet.
  size_t running() const {
    return Locked([this] { return queues_.size(); });
  }
  int starts() const {
    return Locked([this] { return starts_; });
  }
  int stops() const {
    return Locked([this] { return stops_; });
  }
  std::vector<bool> links() const {
    return Locked([this] { return links_; });
  }
  bool link() const {
    return Locked([this] { return !links_.empty() && links_.back(); });
  }
  std::vector<std::string> announced() const {
    return Locked([this] { return announced_; });
  }
  template <typename F>
  std::invoke_result_t<F, const VhostQueue&> With(uint32_t index, F look) const {
    return Locked([&] { return look(*queues_.at(index)); });
  }

 private:
  template <typename F>
  std::invoke_result_t<F> Locked(F f) const {
    const std::lock_guard lock(mutex_);
    return f();
  }
  mutable std::mutex mutex_;
  std::map<uint32_t, VhostQueue*> queues_;
  int starts_ = 0;
  int stops_ = 0;
  std::vector<bool> links_;
  std::vector<std::string> announced_;
};

inline size_t OpenFds() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                           std::filesystem::directory_iterator()));
}

// Mappings of guest memory and logs: all of them are memory files called "guest".
inline size_t GuestMappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("memfd:guest") != std::string::npos ? 1 : 0;
  }
  return count;
}

class VhostTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/vhost_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    auto server = VhostServer::Create({directory_, "", 0660});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    fds_before_ = OpenFds();
  }

  void TearDown() override {
    client_.Close();
    if (server_ != nullptr) {
      server_->Remove(1);
      EXPECT_EQ(owner_.running(), 0U);
      EXPECT_FALSE(owner_.link());
      EXPECT_EQ(OpenFds(), fds_before_ + own_fds_) << "descriptors were leaked";
      EXPECT_EQ(GuestMappings(), 0U) << "guest memory stayed mapped";
    }
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  // A port that listens at "vm1".
  void AddPort(uint32_t pairs = 1) {
    options_.queue_pairs = pairs;
    options_.features = SupportedVirtioFeatures();
    options_.mac = {{0x52, 0x54, 0, 0, 0, 7}};
    const absl::Status added = server_->Add(1, "vm1", VhostRole::kSwitchListens, options_, owner_);
    ASSERT_TRUE(added.ok()) << added;
  }
  std::string Path(const std::string& name = "vm1") const { return directory_ + "/" + name; }

  // Connected, with all protocol features.
  void Connect(uint64_t features = kVersionOne | kProtocol) {
    ASSERT_TRUE(client_.ConnectTo(Path()));
    Negotiate(features);
  }
  void Negotiate(uint64_t features = kVersionOne | kProtocol) {
    ASSERT_TRUE(client_.Send(kSetOwner));
    if ((features & kProtocol) != 0) client_.SetU64(kSetProtocolFeatures, kAllProtocol);
    ASSERT_TRUE(client_.SetU64(kSetFeatures, features));
    ASSERT_TRUE(client_.Synchronise());
  }

  static VhostRegion Region(uint64_t at = 0, uint64_t size = kMemoryBytes) {
    return {kGuestBase + at, size, kUserBase + at, 0};
  }
  void GiveMemory() {
    const TestFd memory = NewMemory(kMemoryBytes);
    ASSERT_TRUE(client_.SetMemTable({Region()}, {memory.get()}));
  }
  bool GiveAddress(uint32_t ring, uint64_t at = 0, uint32_t flags = 0) {
    const uint64_t base = kUserBase + at + ring * 0x8000;
    return client_.SetVringAddr(ring, base, base + kUsedRing, base + 0x2000, flags);
  }
  // Everything but the kick.
  void Describe(uint32_t ring, uint32_t size = 256, uint32_t base = 0) {
    ASSERT_TRUE(client_.SetVring(kSetVringNum, ring, size));
    ASSERT_TRUE(client_.SetVring(kSetVringBase, ring, base));
    ASSERT_TRUE(GiveAddress(ring));
  }
  void StartRing(uint32_t ring, uint32_t size = 256, uint32_t base = 0) {
    Describe(ring, size, base);
    const TestFd kick = NewEventFd();
    ASSERT_TRUE(client_.SetVringFd(kSetVringKick, ring, kick.get()));
  }
  // A running pair, enabled.
  void StartPair() {
    GiveMemory();
    for (const uint32_t ring : {0U, 1U}) {
      StartRing(ring);
      client_.SetVring(kSetVringEnable, ring, 1);
    }
    ASSERT_TRUE(client_.Synchronise());
    ASSERT_EQ(owner_.running(), 2U);
    ASSERT_TRUE(owner_.link());
  }

  VhostStatus Status() { return server_->Status(1); }
  template <typename F>
  static bool Eventually(F holds, int milliseconds = 3000) {
    for (int i = 0; i < milliseconds / 5; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return holds();
  }
  // The connection ends with a fault that says all of this, and all is given back.
  void ExpectFault(const std::vector<std::string>& words) {
    EXPECT_TRUE(client_.Closed());
    ASSERT_TRUE(Eventually([this] { return !Status().connected; }));
    const VhostStatus status = Status();
    for (const std::string& word : words) EXPECT_THAT(status.fault, ::testing::HasSubstr(word));
    EXPECT_EQ(status.fault, status.last_fault);
    EXPECT_EQ(status.memory_regions, 0U);
    EXPECT_EQ(owner_.running(), 0U);
    EXPECT_EQ(GuestMappings(), 0U);
  }

  std::string directory_;
  std::unique_ptr<VhostServer> server_;
  VhostOptions options_;
  RecordingOwner owner_;
  VhostClient client_;
  size_t fds_before_ = 0;
  size_t own_fds_ = 0;  // that a test still holds at its end
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_UNIT_VIRTIO_VHOST_FIXTURE_H_

// Events of devices that come, change, lose their carrier and go, and what happens when they come
// faster than they are read.
#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <vector>

#include "daemon/xdp/link.h"
#include "tests/link/own_veth.h"

namespace vmqd {
namespace {

using Event = LinkMonitor::Event;
constexpr auto kPatience = std::chrono::seconds(10);

// Collects events on the monitor's thread; the test waits for one that it describes.
class Events {
 public:
  void Add(const Event& event) {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    added_.notify_all();
  }
  // Whether such an event came; those before it are forgotten.
  template <typename Predicate>
  bool Await(Predicate is_it) {
    std::unique_lock lock(mutex_);
    return added_.wait_for(lock, kPatience, [&] {
      while (!events_.empty()) {
        const Event event = events_.front();
        events_.erase(events_.begin());
        if (is_it(event)) return true;
      }
      return false;
    });
  }
  bool SawRemoval() {
    std::lock_guard lock(mutex_);
    for (const Event& event : events_) {
      if (event.removed) return true;
    }
    return false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable added_;
  std::vector<Event> events_;
};

class MonitorTest : public OwnVeth {
 protected:
  void SetUp() override {
    OwnVeth::SetUp();
    if (IsSkipped()) return;
    va_ = FindLink("va")->ifindex;
  }
  void Start() {
    auto started = LinkMonitor::Start([this](const Event& event) { events_.Add(event); });
    ASSERT_OK(started);
    monitor_ = *std::move(started);
  }
  int va_ = 0;
  Events events_;
  std::unique_ptr<LinkMonitor> monitor_;  // destroyed before what it reports to
};

TEST_F(MonitorTest, ReportsStateMtuAndRemoval) {
  Start();
  ASSERT_TRUE(Ip("link set vb down"));
  EXPECT_TRUE(events_.Await(
      [&](const Event& e) { return e.ifindex == va_ && e.up && !e.carrier && !e.removed; }));
  ASSERT_TRUE(Ip("link set vb up"));
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == va_ && e.carrier; }));
  ASSERT_OK(SetLinkMtu(va_, 9000));
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == va_ && e.mtu == 9000; }));
  ASSERT_TRUE(Ip("link set va down"));
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == va_ && !e.up; }));
  ASSERT_OK(DeleteLink(va_));
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == va_ && e.removed; }));
}

TEST_F(MonitorTest, ReportsNewDevices) {
  Start();
  ASSERT_OK(CreateTap("ta", 1500));
  const int tap = FindLink("ta")->ifindex;
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == tap && e.up; }));
}

TEST_F(MonitorTest, MovingToAnotherNamespaceIsRemoval) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    char result = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
    if (write(ready[1], &result, 1) != 1) _exit(1);
    for (;;) pause();
  }
  char result = 'n';
  EXPECT_EQ(read(ready[0], &result, 1), 1);
  Start();
  EXPECT_EQ(result, 'y');
  EXPECT_TRUE(Ip("link set va netns " + std::to_string(child)));
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == va_ && e.removed; }));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(MonitorTest, LeavingABridgeIsNotRemoval) {
  if (!Ip("link add name br0 type bridge")) GTEST_SKIP() << "this kernel makes no bridges";
  ASSERT_TRUE(Ip("link set va master br0"));
  Start();
  ASSERT_TRUE(Ip("link set va nomaster"));
  ASSERT_OK(SetLinkMtu(va_, 1400));
  std::vector<Event> seen;
  EXPECT_TRUE(events_.Await([&](const Event& e) {
    seen.push_back(e);
    return e.ifindex == va_ && e.mtu == 1400;
  }));
  for (const Event& event : seen) EXPECT_FALSE(event.removed && event.ifindex == va_);
}

TEST_F(MonitorTest, LostMessagesAreSaid) {
  std::promise<void> entered;
  std::promise<void> released;
  bool first = true;
  auto started = LinkMonitor::Start([&](const Event& event) {
    if (first) {
      first = false;
      entered.set_value();
      released.get_future().wait();
    }
    events_.Add(event);
  });
  ASSERT_OK(started);
  monitor_ = *std::move(started);
  ASSERT_OK(SetLinkMtu(va_, 1400));
  ASSERT_EQ(entered.get_future().wait_for(kPatience), std::future_status::ready);
  // Each change is at least one message of more than a kilobyte, the socket holds some 200 KiB.
  for (uint32_t i = 0; i < 1000; ++i) EXPECT_OK(SetLinkMtu(va_, 1500 + i % 2));
  released.set_value();
  EXPECT_TRUE(events_.Await([](const Event& e) { return e.overrun && e.ifindex == 0; }));
  ASSERT_OK(SetLinkMtu(va_, 3000));  // nothing is lost after it has been said
  EXPECT_TRUE(events_.Await([&](const Event& e) { return e.ifindex == va_ && e.mtu == 3000; }));
  monitor_.reset();  // before what its callback refers to
}

TEST_F(MonitorTest, StopsAtOnce) {
  Start();
  const auto before = std::chrono::steady_clock::now();
  monitor_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, kPatience);
  ASSERT_OK(DeleteLink(va_));
  EXPECT_FALSE(events_.SawRemoval());
}

}  // namespace
}  // namespace vmqd

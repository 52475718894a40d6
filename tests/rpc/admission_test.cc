// Seats and tokens, at times the test chooses.
#include "daemon/rpc/admission.h"

#include <vector>

#include "gmock/gmock.h"

namespace vmqd::rpc {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class AdmissionTest : public testing::Test {
 protected:
  bool Enter(Listener listener, const std::string& peer, pid_t pid = 0) {
    Admission::Seat seat;
    if (!admission_.Enter({.listener = listener, .peer_key = peer, .pid = pid}, now_, seat,
                          refusal_)) {
      return false;
    }
    seats_.push_back(seat);
    return true;
  }
  int EnterAll(Listener listener, const std::string& peer, pid_t pid = 0) {
    int entered = 0;
    while (Enter(listener, peer, pid)) ++entered;
    return entered;
  }

  Bucket::Clock::time_point now_{};
  Admission admission_{{.connections = 40, .connections_per_peer = 16}};
  std::vector<Admission::Seat> seats_;
  std::string refusal_;
};

TEST_F(AdmissionTest, OfAPeer) {
  EXPECT_EQ(EnterAll(Listener::kTcp, "192.0.2.1"), 16);
  EXPECT_THAT(refusal_, testing::HasSubstr("192.0.2.1 has 16 connections already"));
  EXPECT_TRUE(Enter(Listener::kTcp, "192.0.2.2"));
}

TEST_F(AdmissionTest, AProcessLeavesItsUserSome) {
  EXPECT_EQ(EnterAll(Listener::kControl, "user 0", 7), 12);
  EXPECT_THAT(refusal_, testing::HasSubstr("process 7 of user 0"));
  EXPECT_EQ(EnterAll(Listener::kControl, "user 0", 8), 4);
}

TEST_F(AdmissionTest, TheLastQuarterIsTheControlSockets) {
  for (const char* peer : {"192.0.2.1", "192.0.2.2", "192.0.2.3"}) EnterAll(Listener::kTcp, peer);
  EXPECT_EQ(admission_.connections(), 30u);
  EXPECT_FALSE(Enter(Listener::kMonitor, "user 5", 9));
  EXPECT_EQ(EnterAll(Listener::kControl, "user 0", 9), 10);
}

TEST_F(AdmissionTest, LeavingGivesTheSeatBack) {
  EXPECT_EQ(EnterAll(Listener::kControl, "user 0", 7), 12);
  for (const Admission::Seat& seat : seats_) admission_.Leave(seat);
  seats_.clear();
  EXPECT_EQ(admission_.connections(), 0u);
  EXPECT_EQ(EnterAll(Listener::kControl, "user 0", 7), 12);
}

TEST_F(AdmissionTest, LeavingDoesNotPayDebts) {
  ASSERT_TRUE(Enter(Listener::kTcp, "192.0.2.1"));
  seats_.back().peer->bucket.Take(3 * kPeerRate);
  admission_.Leave(seats_.back());
  ASSERT_TRUE(Enter(Listener::kTcp, "192.0.2.1"));
  EXPECT_LT(seats_.back().peer->bucket.Level(now_), 0);
}

TEST_F(AdmissionTest, ManyPeersAreForgotten) {
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(Enter(Listener::kTcp, "peer " + std::to_string(i)));
    admission_.Leave(seats_.back());
    seats_.pop_back();
  }
  EXPECT_LE(admission_.peers_remembered(), 4096u);
}

TEST(BucketTest, FillsWithTimeUpToTheBurst) {
  const Bucket::Clock::time_point start{};
  Bucket bucket(100, 50, start);
  EXPECT_EQ(bucket.Level(start), 50);
  bucket.Take(70);
  EXPECT_EQ(bucket.Level(start), -20);
  EXPECT_EQ(bucket.Until(0, start), start + milliseconds(200));
  EXPECT_EQ(bucket.Level(start + milliseconds(200)), 0);
  EXPECT_EQ(bucket.Level(start + seconds(100)), 50);
  EXPECT_EQ(bucket.Until(10, start + seconds(100)), start + seconds(100));
}

}  // namespace
}  // namespace vmqd::rpc

// One guest that comes and goes, changes everything it may under load, and writes over its rings
// while they are read, ten thousand times over, while two others talk byte by byte. Root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <string_view>

#include "tests/switch/vhost_fixture.h"

namespace vmqd::testing {
namespace {

// Sanitizers slow each round down by an order of magnitude; what they find, they find early.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kRounds = 500;
#else
constexpr uint32_t kRounds = 10000;
#endif

// VMs 2 and 3 talk in a thread of their own until the object goes; 1 is the test's.
class Bystanders {
 public:
  Bystanders(FrontEnd& two, FrontEnd& three) : two_(two), three_(three) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Bystanders() {
    stop_.store(true);
    thread_.join();
    EXPECT_EQ(wrong_, "");
    EXPECT_GT(exchanged_, 0U);
  }

 private:
  void Run() {
    for (; !stop_.load() && wrong_.empty(); ++exchanged_) {
      Say(two_, three_, 2, 3);
      Say(three_, two_, 3, 2);
    }
  }
  void Say(FrontEnd& from, FrontEnd& to, uint8_t sender, uint8_t receiver) {
    Bytes frame =
        EthernetFrame(MacOf(receiver), MacOf(sender), {}, 0x88b5, 60 + (exchanged_ * 37) % 1455);
    for (size_t i = 14; i < frame.size(); ++i) frame[i] = static_cast<uint8_t>(i * 7 + exchanged_);
    if (!from.Send(frame)) wrong_ = "no room to send; ";
    // The other one's random destinations may be broadcasts, or these VMs.
    const auto received = to.Receive(10000);
    if (!received.has_value()) {
      wrong_ += "a frame did not come; ";
    } else if (received->bytes != frame) {
      wrong_ += "a frame came with other bytes; ";
    }
    wrong_ += from.problems() + to.problems();
  }

  FrontEnd& two_;
  FrontEnd& three_;
  std::atomic<bool> stop_{false};
  uint64_t exchanged_ = 0;
  std::string wrong_;
  std::thread thread_;
};

// Writes anything anywhere in the rings, tables and buffers of a guest, as fast as it can.
class Mutator {
 public:
  explicit Mutator(FrontEnd& guest) : guest_(guest) {
    for (uint32_t ring = 0; ring < 2; ++ring) {
      TestDriver& driver = ring == 0 ? guest_.receive() : guest_.transmit();
      targets_.push_back({driver.descriptors(), 16 * guest_.options().ring_size});
      targets_.push_back({driver.driver(), 4 + 2 * guest_.options().ring_size});
      targets_.push_back({driver.device(), 64});
    }
    targets_.push_back({guest_.memory().At(FrontEnd::kTransmitBase), 256});
    thread_ = std::thread([this] { Run(); });
  }
  ~Mutator() {
    stop_.store(true);
    thread_.join();
  }

 private:
  struct Target {
    uint8_t* at;
    size_t bytes;
  };
  void Run() {
    std::minstd_rand random(7);
    const uint64_t addresses[] = {FrontEnd::kTransmitBase, FrontEnd::kRingBase,
                                  FrontEnd::kReceiveBase - 8, 0, UINT64_MAX};
    for (uint32_t i = 0; !stop_.load(std::memory_order_relaxed); ++i) {
      const Target& target = targets_[random() % targets_.size()];
      const size_t at = random() % (target.bytes / 8) * 8;
      uint64_t value = uint64_t{random()} << 32 | random();
      switch (random() % 4) {
        case 0:
          value = addresses[random() % 5];
          break;
        case 1:  // a short descriptor with some flags
          value = (random() & 0x7ff) | uint64_t{random() & 0x808f} << 32 |
                  uint64_t{random() & 0xff} << 48;
          break;
        case 2:
          value &= 0x00ff00ff00ff00ff;
          break;
        default:
          break;
      }
      __atomic_store_n(reinterpret_cast<uint64_t*>(target.at + at), value, __ATOMIC_RELAXED);
      if (i % 64 == 0) guest_.Kick(1);
    }
  }

  FrontEnd& guest_;
  std::vector<Target> targets_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// At most fifty connections a second are taken: a fraction of the rounds, without $VMQD_SWEEP=full.
uint32_t Reconnects() {
  const char* sweep = std::getenv("VMQD_SWEEP");
  return sweep != nullptr && std::string_view(sweep) == "full" ? kRounds : kRounds / 50;
}

class VhostChurnTest : public VhostSwitchTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    VhostSwitchTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    options_.features = kMergeable | kIndirect | (GetParam() ? kPacked : 0);
    two_ = AddGuest(2);
    three_ = AddGuest(3);
  }
  void TearDown() override {
    one_.reset();
    two_.reset();
    three_.reset();
    VhostSwitchTest::TearDown();
  }
  // A few frames from the first guest, and whatever has come to it; to nobody, so that the others
  // see only what they sent.
  void Load() {
    for (int i = 0; i < 4; ++i) {
      one_->Send(EthernetFrame(kOutside, MacOf(1), {}, 0x88b5, 600));
      wire_->Send(MacOf(1), kOutside, 1);
    }
    while (one_->Receive(0).has_value()) {
    }
  }

  FrontEnd::Options options_;
  std::unique_ptr<FrontEnd> one_, two_, three_;
};

INSTANTIATE_TEST_SUITE_P(Rings, VhostChurnTest, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& packed) {
                           return packed.param ? "Packed" : "Split";
                         });

// Memory, rings, enabling, call descriptors: what a front end may change while frames move.
TEST_P(VhostChurnTest, EverythingChangesUnderLoad) {
  one_ = AddGuest(1, options_);
  {
    const Bystanders others(*two_, *three_);
    for (uint32_t round = 0; round < kRounds; ++round) {
      Load();
      switch (round % 4) {
        case 0:
          ASSERT_TRUE(one_->GiveMemory());
          break;
        case 1:
          ASSERT_TRUE(one_->StopRing(round / 4 % 2) && one_->StartRing(round / 4 % 2));
          break;
        case 2:
          ASSERT_TRUE(one_->Enable(1, false) && one_->Enable(1));
          break;
        default:
          ASSERT_TRUE(one_->Enable(0, false) && one_->Enable(0));
          break;
      }
    }
    ASSERT_TRUE(one_->client().Synchronise());
    EXPECT_TRUE(one_->AllSent());
  }
  while (one_->Receive(100).has_value()) {
  }
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*one_, 1, *two_, 2, 3));
}

TEST_P(VhostChurnTest, FrontEndsComeAndGoUnderLoad) {
  const uint32_t rounds = Reconnects();
  one_ = AddGuest(1, options_);
  {
    const Bystanders others(*two_, *three_);
    for (uint32_t round = 0; round < rounds; ++round) {
      Load();
      one_->Disconnect();
      // Until this is noticed the rings are the device's.
      ASSERT_TRUE(Eventually([this] { return !Status(1).vhost->connected; }));
      one_->Reset();
      ASSERT_TRUE(Eventually([this] { return one_->Connect(Path(1)); }));
    }
    ASSERT_TRUE(UpSoon(1));
  }
  while (one_->Receive(100).has_value()) {
  }
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*one_, 1, *two_, 2, 3));
}

TEST_P(VhostChurnTest, PortsComeAndGoUnderLoad) {
  const Bystanders others(*two_, *three_);
  for (uint32_t round = 0; round < kRounds / 100; ++round) {
    one_ = AddGuest(1, options_);
    Load();
    ASSERT_OK(switch_->DeletePort("vm1"));
    one_.reset();
  }
}

// The rings say something else with every look.
TEST_P(VhostChurnTest, RingsAreWrittenOverWhileTheyAreRead) {
  options_.features |= kSendsLarge | kTakesLarge;
  one_ = AddGuest(1, options_);
  {
    const Bystanders others(*two_, *three_);
    const Mutator mutator(*one_);
    for (uint32_t round = 0; round < kRounds; ++round) {
      wire_->Send(MacOf(1), kOutside, round);
      one_->Kick(1);
      if (round % 16 != 0) continue;
      // Faulted or not: it is started again, wherever its rings are.
      for (uint32_t ring = 0; ring < 2; ++ring) {
        ASSERT_TRUE(one_->StopRing(ring) && one_->StartRing(ring)) << Status(1).oper_reason;
      }
    }
  }
  for (uint32_t ring = 0; ring < 2; ++ring) ASSERT_TRUE(one_->StopRing(ring));
  one_->Reset();
  ASSERT_TRUE(one_->StartRings() && UpSoon(1));
  while (two_->Receive(100).has_value() || three_->Receive(100).has_value() ||
         one_->Receive(0).has_value()) {
  }
  ASSERT_NO_FATAL_FAILURE(ExpectTalk(*one_, 1, *two_, 2, 3));
}

}  // namespace
}  // namespace vmqd::testing

// A port that goes from queue to queue while numbered frames flow to and from it: from the wire on
// every queue, to the wire, and from and to a VM that stays. None is lost, none overtakes another
// of its flow. Root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string_view>

#include "tests/switch/vhost_fixture.h"

namespace vmqd::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kMoves = 40;
#else
constexpr uint32_t kMoves = 1000;
#endif

// Each move takes a grace period of the kernel: a part of them, without $VMQD_SWEEP=full.
uint32_t Moves() {
  const char* sweep = std::getenv("VMQD_SWEEP");
  return sweep != nullptr && std::string_view(sweep) == "full" ? kMoves : std::max(kMoves / 5, 20U);
}

// A UDP frame, so that a NIC's hash tells flows apart, with its flow and number in it.
Bytes Numbered(const MacAddress& to, const MacAddress& from, uint32_t flow, uint32_t number) {
  Bytes frame(64, 0);
  std::copy(to.bytes.begin(), to.bytes.end(), frame.begin());
  std::copy(from.bytes.begin(), from.bytes.end(), frame.begin() + 6);
  constexpr std::array<uint8_t, 12> kIp = {0x08, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17};
  std::copy(kIp.begin(), kIp.end(), frame.begin() + 12);
  frame[29] = frame[33] = static_cast<uint8_t>(flow + 1);  // addresses
  frame[35] = static_cast<uint8_t>(flow + 1);              // source port
  frame[37] = 9;
  frame[39] = 30;
  std::memcpy(&frame[46], &flow, sizeof(flow));
  std::memcpy(&frame[50], &number, sizeof(number));
  return frame;
}

// Frames of one flow, as its sender and its receiver have them. So many are under way at most that
// all of them fit every ring on the way: what is missing was lost, and nobody was just too slow.
struct Flow {
  static constexpr uint32_t kWindow = 32;
  MacAddress to, from;
  std::atomic<uint32_t> sent{0};
  std::atomic<uint32_t> next{0};  // number that the receiver waits for
  uint32_t missing = 0;           // of those before it
  uint32_t late = 0;

  void See(uint32_t number) {
    const uint32_t expected = next.load();
    if (number < expected) {
      ++late;
    } else {
      missing += number - expected;
      next.store(number + 1);
    }
  }
};
using Flows = std::array<Flow, 7>;

// Somebody with a network interface: sends the flows that are his, and sees what comes. One thread
// of his own, from Begin to End.
class Endpoint {
 public:
  explicit Endpoint(Flows& flows) : flows_(flows) {}
  virtual ~Endpoint() = default;
  void Begin(std::vector<uint32_t> sends) {
    sends_ = std::move(sends);
    thread_ = std::thread([this] { Run(); });
  }
  void StopSending() { sending_.store(false); }
  void End() {
    ended_.store(true);
    thread_.join();
  }

 protected:
  virtual void Send(const Bytes& frame) = 0;
  // Sees what is there, and waits for a moment when nothing is.
  virtual void Receive() = 0;
  void See(const uint8_t* frame, size_t length) {
    uint32_t flow, number;
    if (length < 54 || frame[12] != 0x08 || frame[37] != 9) return;
    std::memcpy(&flow, frame + 46, sizeof(flow));
    std::memcpy(&number, frame + 50, sizeof(number));
    flows_[flow].See(number);
  }

 private:
  void Run() {
    while (!ended_.load()) {
      for (uint32_t index : sends_) {
        Flow& flow = flows_[index];
        while (sending_.load() && flow.sent.load() - flow.next.load() < Flow::kWindow) {
          Send(Numbered(flow.to, flow.from, index, flow.sent.load()));
          flow.sent.fetch_add(1);
        }
      }
      Receive();
    }
  }

  Flows& flows_;
  std::vector<uint32_t> sends_;
  std::atomic<bool> sending_{true};
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

class OnDevice final : public Endpoint {
 public:
  OnDevice(Flows& flows, const std::string& device) : Endpoint(flows) {
    fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    const int size = 64 << 20;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    const int one = 1;
    setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = __builtin_bswap16(ETH_P_IP);
    address.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << device;
  }
  ~OnDevice() override { close(fd_); }

 protected:
  void Send(const Bytes& frame) override {
    while (send(fd_, frame.data(), frame.size(), 0) < 0 && errno == ENOBUFS) usleep(50);
  }
  void Receive() override {
    pollfd ready{fd_, POLLIN, 0};
    std::array<uint8_t, 2048> frame;
    if (poll(&ready, 1, 1) <= 0) return;
    ssize_t length;
    while ((length = recv(fd_, frame.data(), frame.size(), MSG_DONTWAIT)) > 0) {
      See(frame.data(), static_cast<size_t>(length));
    }
  }

 private:
  int fd_;
};

class OnGuest final : public Endpoint {
 public:
  OnGuest(Flows& flows, FrontEnd& guest) : Endpoint(flows), guest_(guest) {}

 protected:
  void Send(const Bytes& frame) override { EXPECT_TRUE(guest_.Send(frame)); }
  void Receive() override {
    int patience_ms = 1;
    while (const auto frame = guest_.Receive(patience_ms)) {
      See(frame->bytes.data(), frame->bytes.size());
      patience_ms = 0;
    }
  }

 private:
  FrontEnd& guest_;
};

enum class Kind { kVeth, kVhost };

class RehomeTest : public VhostSwitchTest, public ::testing::WithParamInterface<Kind> {
 protected:
  void SetUp() override {
    VhostSwitchTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_OK(AddVm(2));
    ASSERT_TRUE(Ip("link set eth2 up"));
    if (GetParam() == Kind::kVhost) {
      guest_ = AddGuest(1, {.ring_size = 1024, .features = kMergeable});
      moved_ = std::make_unique<OnGuest>(flows_, *guest_);
    } else {
      ASSERT_OK(AddVm(1));
      ASSERT_TRUE(Ip("link set eth1 up"));
      ASSERT_TRUE(UpSoon(1));
      moved_ = std::make_unique<OnDevice>(flows_, "eth1");
    }
    ASSERT_TRUE(UpSoon(2));
    stays_ = std::make_unique<OnDevice>(flows_, "eth2");
    outside_ = std::make_unique<OnDevice>(flows_, "wire0");
  }
  void TearDown() override {
    moved_.reset();
    stays_.reset();
    outside_.reset();
    guest_.reset();
    VhostSwitchTest::TearDown();
  }

  std::string Drops() {
    std::string drops;
    for (const PortStatus& port : switch_->ListPorts()) {
      for (size_t i = 0; i < kDropReasonCount; ++i) {
        const uint64_t in = port.counters.in_drops[i], out = port.counters.out_drops[i];
        if (in + out == 0) continue;
        absl::StrAppend(&drops, port.config.id, " ",
                        std::string(DropReasonName(static_cast<DropReason>(i))), " in ", in,
                        " out ", out, "; ");
      }
    }
    return drops;
  }

  absl::Status MoveTo(uint32_t queue) {
    PortPatch patch;
    patch.queue = queue;
    return switch_->UpdatePort("vm1", patch).status();
  }
  Flows flows_;
  std::unique_ptr<FrontEnd> guest_;
  std::unique_ptr<Endpoint> moved_, stays_, outside_;
};

INSTANTIATE_TEST_SUITE_P(Ports, RehomeTest, ::testing::Values(Kind::kVeth, Kind::kVhost),
                         [](const ::testing::TestParamInfo<Kind>& kind) {
                           return kind.param == Kind::kVeth ? "Veth" : "VhostUser";
                         });

TEST_P(RehomeTest, NothingIsLostOrOvertaken) {
  const auto between = [this](uint32_t flow, const MacAddress& from, const MacAddress& to) {
    flows_[flow].from = from;
    flows_[flow].to = to;
  };
  for (uint32_t flow = 0; flow < 4; ++flow) between(flow, kOutside, MacOf(1));
  between(4, MacOf(1), kOutside);
  between(5, MacOf(1), MacOf(2));
  between(6, MacOf(2), MacOf(1));
  outside_->Begin({0, 1, 2, 3});
  moved_->Begin({4, 5});
  stays_->Begin({6});

  std::minstd_rand random(7);
  uint32_t home = Status(1).queue;
  for (uint32_t i = 0; i < Moves(); ++i) {
    home = (home + 1 + random() % 3) % 4;
    ASSERT_OK(MoveTo(home));
    ASSERT_EQ(Status(1).queue, home);
  }
  for (Endpoint* endpoint : {moved_.get(), stays_.get(), outside_.get()}) endpoint->StopSending();
  EXPECT_TRUE(Eventually([this] {
    return std::all_of(flows_.begin(), flows_.end(),
                       [](const Flow& flow) { return flow.next.load() == flow.sent.load(); });
  }));
  for (Endpoint* endpoint : {moved_.get(), stays_.get(), outside_.get()}) endpoint->End();
  for (uint32_t i = 0; i < flows_.size(); ++i) {
    const Flow& flow = flows_[i];
    EXPECT_GT(flow.sent.load(), Moves()) << "flow " << i;
    EXPECT_EQ(flow.next.load(), flow.sent.load()) << "flow " << i;
    EXPECT_EQ(flow.missing, 0U) << "flow " << i;
    EXPECT_EQ(flow.late, 0U) << "flow " << i;
  }
  EXPECT_EQ(Drops(), "");
  ExpectConserved();
}

}  // namespace
}  // namespace vmqd::testing

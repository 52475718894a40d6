// Our software offloads against the kernel's: a veth whose sending end has no offloads makes Linux
// complete checksums and cut large segments itself, one with GRO has it put streams together. Both
// get the same frames and must come to the same bytes. Frames go in and out by packet sockets with
// a virtio_net_hdr.
#include <endian.h>
#include <gmock/gmock.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/net/checksum.h"
#include "daemon/net/coalesce.h"
#include "daemon/net/ethernet.h"
#include "daemon/net/segmentation.h"
#include "daemon/xdp/link.h"
#include "tests/support/coalesced.h"
#include "tests/support/frame_builder.h"
#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using testing::Build;
using testing::BuiltFrame;
using testing::Bytes;
using testing::Checksum;
using testing::CutAgain;
using testing::Delivered;
using testing::FrameSpec;
using testing::Pattern;

constexpr uint8_t kFin = 0x01, kPush = 0x08, kAck = 0x10, kUrgent = 0x20, kEce = 0x40, kCwr = 0x80;
constexpr int kQuietMs = 60;  // nothing more comes: longer than GRO holds a frame
constexpr size_t kTallest = 70000;

struct Seen {
  virtio_net_hdr header{};
  Bytes bytes;
};

// A packet socket whose frames carry a virtio_net_hdr.
class Raw {
 public:
  explicit Raw(const std::string& device)
      : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htobe16(ETH_P_ALL))) {
    const int on = 1, room = 8 << 20;
    setsockopt(fd_, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on));
    setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htobe16(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
    bound_ = bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Raw() { close(fd_); }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  bool bound() const { return bound_; }

  // False: the kernel refused it.
  bool Send(virtio_net_hdr header, const Bytes& frame) {
    iovec parts[] = {{&header, sizeof(header)}, {const_cast<uint8_t*>(frame.data()), frame.size()}};
    return writev(fd_, parts, 2) == static_cast<ssize_t>(sizeof(header) + frame.size());
  }

  // Everything for the address of FrameSpec until nothing more comes.
  std::vector<Seen> Drain() {
    std::vector<Seen> out;
    pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
    while (poll(&wait, 1, kQuietMs) == 1) {
      Seen seen{.bytes = Bytes(kTallest)};
      iovec parts[] = {{&seen.header, sizeof(seen.header)}, {seen.bytes.data(), kTallest}};
      const ssize_t length = readv(fd_, parts, 2);
      if (length < static_cast<ssize_t>(sizeof(seen.header) + kEthHeaderLen)) continue;
      seen.bytes.resize(static_cast<size_t>(length) - sizeof(seen.header));
      const auto& mac = FrameSpec().destination.bytes;
      if (std::equal(mac.begin(), mac.end(), seen.bytes.begin())) out.push_back(std::move(seen));
    }
    return out;
  }

 private:
  int fd_;
  bool bound_ = false;
};

class OffloadTest : public OwnNamespace {
 protected:
  void SetUp() override {
    OwnNamespace::SetUp();
    if (IsSkipped()) return;
    // Not one of ours, which come with GRO.
    ASSERT_TRUE(Ip("link add va mtu 9000 type veth peer name vb mtu 9000"));
    ASSERT_OK(SetFeature("va", "tx-checksum-ip-generic", false));
    for (const char* device : {"va", "vb"}) {
      ASSERT_OK(SetLinkUp(static_cast<int>(if_nametoindex(device))));
    }
    in_ = std::make_unique<Raw>("va");
    out_ = std::make_unique<Raw>("vb");
    ASSERT_TRUE(in_->bound() && out_->bound());
    // The kernel takes a moment to see that the link is up, and drops frames until then.
    const Bytes probe = Build({}).bytes;
    for (int i = 0; i < 100 && ThroughKernel({}, probe).empty(); ++i) continue;
    ASSERT_EQ(ThroughKernel({}, probe).size(), 1u);
  }

  // What comes out at the other end; none when the kernel refused it.
  std::vector<Bytes> ThroughKernel(const virtio_net_hdr& header, const Bytes& frame) {
    std::vector<Bytes> frames;
    if (!in_->Send(header, frame)) return frames;
    for (Seen& seen : out_->Drain()) frames.push_back(std::move(seen.bytes));
    return frames;
  }

  std::unique_ptr<Raw> in_, out_;
};

virtio_net_hdr PartialHeader(const BuiltFrame& frame) {
  virtio_net_hdr header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start = htole16(static_cast<uint16_t>(frame.transport));
  header.csum_offset = htole16(static_cast<uint16_t>(frame.field - frame.transport));
  return header;
}

virtio_net_hdr GsoHeader(const BuiltFrame& frame, const FrameSpec& spec, uint16_t gso_size) {
  virtio_net_hdr header = PartialHeader(frame);
  header.gso_type = spec.udp    ? VIRTIO_NET_HDR_GSO_UDP_L4
                    : spec.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6
                                : VIRTIO_NET_HDR_GSO_TCPV4;
  if (!spec.udp && (spec.tcp_flags & kCwr)) header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
  header.gso_size = htole16(gso_size);
  header.hdr_len = htole16(static_cast<uint16_t>(frame.payload));
  return header;
}

std::vector<Bytes> ThroughUs(const virtio_net_hdr& header, const Bytes& frame) {
  return CutAgain({.frames = {}, .bytes = frame, .offload = header});
}

TEST_F(OffloadTest, ChecksumsAreTheKernels) {
  for (bool ipv6 : {false, true}) {
    for (bool udp : {false, true}) {
      for (size_t length : {0, 1, 2, 63, 64, 255, 256, 257, 1400}) {
        const BuiltFrame frame = Build({.ipv6 = ipv6,
                                        .udp = udp,
                                        .checksum = Checksum::kPartial,
                                        .payload = Pattern(length, 77)});
        const virtio_net_hdr header = PartialHeader(frame);
        Bytes ours = frame.bytes;
        ASSERT_TRUE(CompleteChecksumAt(ours.data(), ours.size(), le16toh(header.csum_start),
                                       le16toh(header.csum_offset)));
        EXPECT_EQ(ThroughKernel(header, frame.bytes), std::vector<Bytes>{ours})
            << (ipv6 ? "IPv6 " : "IPv4 ") << (udp ? "UDP " : "TCP ") << length;
      }
    }
  }
}

TEST_F(OffloadTest, SegmentsAreTheKernels) {
  const struct {
    size_t payload;
    uint16_t gso_size;
  } sizes[] = {{700, 1448}, {1449, 1448},  {2896, 1448}, {5000, 1001},
               {700, 8},    {64000, 1400}, {65400, 1440}};
  std::vector<FrameSpec> specs;
  for (bool ipv6 : {false, true}) {
    specs.push_back({.ipv6 = ipv6, .udp = true});
    for (uint8_t flags :
         {kAck, uint8_t{kAck | kPush}, uint8_t{kAck | kPush | kFin}, uint8_t{kAck | kCwr | kPush},
          uint8_t{kAck | kEce | kCwr}, uint8_t{kAck | kEce}, uint8_t{kAck | kUrgent}}) {
      specs.push_back({.ipv6 = ipv6, .tcp_flags = flags, .tcp_options = Bytes(12, 1)});
    }
  }
  specs.push_back({.ip_id = 0xfffe, .ipv4_fragment = 0});
  specs.push_back({.tcp_sequence = 0xfffffff0});
  specs.push_back({.ipv4_options = Bytes(12, 1)});
  specs.push_back({.ipv6 = true, .extensions = {{60, {1, 4, 0, 0, 0, 0}}}});
  for (FrameSpec& spec : specs) {
    for (const auto& size : sizes) {
      SCOPED_TRACE(std::string(spec.ipv6 ? "IPv6" : "IPv4") + (spec.udp ? " UDP " : " TCP ") +
                   std::to_string(spec.tcp_flags) + ": " + std::to_string(size.payload) + " by " +
                   std::to_string(size.gso_size));
      spec.checksum = Checksum::kPartial;
      spec.payload = Pattern(size.payload, 5);
      const BuiltFrame frame = Build(spec);
      const virtio_net_hdr header = GsoHeader(frame, spec, size.gso_size);
      const std::vector<Bytes> ours = ThroughUs(header, frame.bytes);
      ASSERT_FALSE(ours.empty());
      ASSERT_EQ(ours, ThroughKernel(header, frame.bytes));
    }
  }
}

// What the kernel refuses we refuse.
TEST_F(OffloadTest, RefusesWhatTheKernelRefuses) {
  struct Row {
    const char* what;
    FrameSpec spec;
    std::function<void(virtio_net_hdr&)> edit;
  };
  const FrameSpec tcp{.checksum = Checksum::kPartial, .payload = Pattern(3000)};
  const FrameSpec udp{.udp = true, .checksum = Checksum::kPartial, .payload = Pattern(3000)};
  const Row rows[] = {
      {"size 0", tcp, [](auto& header) { header.gso_size = 0; }},
      {"GSO_BY_FRAGS", tcp, [](auto& header) { header.gso_size = 0xffff; }},
      {"other offset", tcp, [](auto& header) { header.csum_offset = htole16(6); }},
      {"offset beyond", tcp, [](auto& header) { header.csum_offset = htole16(60000); }},
      {"start beyond", tcp, [](auto& header) { header.csum_start = htole16(60000); }},
      {"other offset", udp, [](auto& header) { header.csum_offset = htole16(16); }},
      {"UDP with ECN", udp, [](auto& header) { header.gso_type |= VIRTIO_NET_HDR_GSO_ECN; }},
      {"whole UDP checksum", udp, [](auto& header) { header.flags = 0; }},
      {"too many datagrams", udp, [](auto& header) { header.gso_size = htole16(20); }},
      {"type 2", tcp, [](auto& header) { header.gso_type = 2; }},
      {"type 0x7f", tcp, [](auto& header) { header.gso_type = 0x7f; }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const BuiltFrame frame = Build(row.spec);
    virtio_net_hdr header = GsoHeader(frame, row.spec, 1000);
    ASSERT_EQ(ThroughKernel(header, frame.bytes).size(), 3u);
    row.edit(header);
    EXPECT_TRUE(ThroughKernel(header, frame.bytes).empty());
    EXPECT_FALSE(Segmentation::Plan(frame.bytes, header).has_value());
  }
}

// The receiving end holds frames for 20 ms to put them together.
class GroTest : public OffloadTest {
 protected:
  void SetUp() override {
    OffloadTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_OK(SetFeature("vb", "rx-gro", true));
    // Only a sysfs mounted in this namespace shows its devices.
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount("sysfs", "/sys", "sysfs", 0, nullptr), 0);
    ASSERT_TRUE(WriteTo("gro_flush_timeout", "20000000"));
    ASSERT_TRUE(WriteTo("napi_defer_hard_irqs", "1"));
  }
  static bool WriteTo(const std::string& setting, const std::string& value) {
    std::ofstream file("/sys/class/net/vb/" + setting);
    return static_cast<bool>(file << value << std::flush);
  }

  std::vector<Seen> ThroughKernelGro(const std::vector<Bytes>& burst) {
    for (const Bytes& frame : burst) EXPECT_TRUE(in_->Send({}, frame));
    return out_->Drain();
  }
};

// As a sentence, so that a difference can be read, without what only one side says: hdr_len is a
// hint, DATA_VALID an observation.
std::string Describe(const virtio_net_hdr& header, const Bytes& bytes) {
  const bool partial = header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
  std::string out = "type " + std::to_string(header.gso_type) + " size " +
                    std::to_string(le16toh(header.gso_size));
  if (partial) {
    out += " checksum " + std::to_string(le16toh(header.csum_start)) + "+" +
           std::to_string(le16toh(header.csum_offset));
  }
  out += " length " + std::to_string(bytes.size()) + " headers";
  for (size_t i = 0; i < std::min<size_t>(bytes.size(), 86); ++i) {
    out += " " + std::to_string(bytes[i]);
  }
  return out + " hash " + std::to_string(std::hash<std::string>{}({bytes.begin(), bytes.end()}));
}

// Sorted: which of two flows is delivered first, the kernel may choose otherwise.
std::vector<std::string> ByKernel(const std::vector<Seen>& seen) {
  std::vector<std::string> out;
  for (const Seen& frame : seen) out.push_back(Describe(frame.header, frame.bytes));
  std::sort(out.begin(), out.end());
  return out;
}
std::vector<std::string> ByUs(const std::vector<Bytes>& burst) {
  auto coalescing = std::make_unique<Coalescing>();
  std::vector<std::string> out;
  for (const Delivered& group :
       testing::Coalesce(burst, {.tso4 = true, .tso6 = true}, *coalescing)) {
    out.push_back(Describe(group.offload, group.bytes));
  }
  std::sort(out.begin(), out.end());
  return out;
}

struct Scenario {
  std::string what;
  std::function<void(FrameSpec&, int)> edit;  // of the nth frame
  int frames = 5;
  size_t payload = 1400;
};

std::vector<Scenario> Scenarios() {
  const auto third = [](std::function<void(FrameSpec&)> edit) {
    return [edit](FrameSpec& spec, int i) {
      if (i == 2) edit(spec);
    };
  };
  const auto flags = [third](uint8_t value) {
    return third([value](FrameSpec& spec) { spec.tcp_flags = value; });
  };
  return {
      {"plain", [](FrameSpec&, int) {}},
      {"more than 64 KiB", [](FrameSpec&, int) {}, 60},
      {"small", [](FrameSpec&, int) {}, 5, 64},
      {"PSH", flags(kAck | kPush)},
      {"FIN", flags(kAck | kFin)},
      {"ECE", flags(kAck | kEce)},
      {"CWR", flags(kAck | kCwr)},
      {"SYN", flags(kAck | 2)},
      {"RST", flags(kAck | 4)},
      {"URG", flags(kAck | kUrgent)},
      {"CWR first", [](FrameSpec& spec, int i) { spec.tcp_flags |= i == 0 ? kCwr : 0; }},
      {"all ECE", [](FrameSpec& spec, int) { spec.tcp_flags |= kEce; }},
      {"window", third([](FrameSpec& spec) { ++spec.tcp_window; })},
      {"acknowledged", third([](FrameSpec& spec) { ++spec.tcp_acknowledged; })},
      {"options", third([](FrameSpec& spec) { spec.tcp_options[5] ^= 1; })},
      {"TTL", third([](FrameSpec& spec) { ++spec.hop_limit; })},
      {"TOS", third([](FrameSpec& spec) { spec.traffic_class = 2; })},
      {"id", third([](FrameSpec& spec) { spec.ip_id += 7; })},
      {"no DF", [](FrameSpec& spec, int) { spec.ipv4_fragment = 0; }},
      {"DF lost", third([](FrameSpec& spec) { spec.ipv4_fragment = 0; })},
      {"fixed id", [](FrameSpec& spec, int) { spec.ip_id = 0; }},
      {"shorter", third([](FrameSpec& spec) { spec.payload.pop_back(); })},
      {"longer", third([](FrameSpec& spec) { spec.payload.push_back(1); })},
      {"pure ACK", third([](FrameSpec& spec) { spec.payload.clear(); })},
      {"gap", third([](FrameSpec& spec) { spec.tcp_sequence += 5; })},
      {"wrong checksum", third([](FrameSpec& spec) { spec.checksum = Checksum::kNone; })},
      {"padding", third([](FrameSpec& spec) { spec.padding = 4; })},
      {"two flows",
       [](FrameSpec& spec, int i) { spec.source_port += static_cast<uint16_t>(i % 2); }},
  };
}

std::vector<Bytes> BurstOf(const Scenario& scenario, bool ipv6) {
  std::vector<Bytes> burst;
  for (int i = 0; i < scenario.frames; ++i) {
    FrameSpec spec{.ipv6 = ipv6, .tcp_options = Bytes(12, 1)};
    // Two flows advance in turn; for one this is plainly consecutive.
    const int step = scenario.what == "two flows" ? i / 2 : i;
    spec.ip_id = static_cast<uint16_t>(0xfffd + step);
    spec.tcp_sequence = static_cast<uint32_t>(0xffffff00 + step * scenario.payload);
    spec.payload = Pattern(scenario.payload, static_cast<uint8_t>(i));
    scenario.edit(spec, i);
    burst.push_back(Build(spec).bytes);
  }
  return burst;
}

TEST_F(GroTest, GroupsAreTheKernels) {
  size_t merged = 0;
  for (bool ipv6 : {false, true}) {
    for (const Scenario& scenario : Scenarios()) {
      SCOPED_TRACE(scenario.what + (ipv6 ? ", IPv6" : ", IPv4"));
      const std::vector<Bytes> burst = BurstOf(scenario, ipv6);
      const std::vector<std::string> ours = ByUs(burst);
      merged += ours.size() < burst.size();
      // The kernel lets go of frames when its clock ticks; a burst that this cut in two is
      // repeated.
      std::vector<std::string> theirs;
      for (int attempt = 0; attempt < 8 && theirs != ours; ++attempt) {
        theirs = ByKernel(ThroughKernelGro(burst));
      }
      EXPECT_EQ(theirs, ours);
    }
  }
  EXPECT_GT(merged, 40u);  // the comparison is not of frames that nobody merges
}

}  // namespace
}  // namespace vmqd

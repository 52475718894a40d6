// Receive coalescing: which frames of a burst go together, and what the guest is given for them.
// Every group is cut again and compared with the frames that went in. tests/link/offload_test.cc
// compares with the kernel.
#include "daemon/net/coalesce.h"

#include <endian.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/net/ethernet.h"
#include "tests/support/coalesced.h"
#include "tests/support/frame_builder.h"

namespace vmqd {
namespace {

using testing::Build;
using testing::Bytes;
using testing::Checksum;
using testing::CutAgain;
using testing::Delivered;
using testing::FrameSpec;
using testing::Pattern;
using testing::WithoutId;

constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPush = 0x08, kAck = 0x10, kUrgent = 0x20,
                  kEce = 0x40, kCwr = 0x80;
constexpr size_t kPayload = 100;
constexpr Coalescing::Accepts kAll{.tso4 = true, .tso6 = true};

// Frames of one TCP stream, one after the other, made as a sender would.
class Stream {
 public:
  explicit Stream(FrameSpec spec) : spec_(std::move(spec)) {}
  // The next frame, changed by `edit`; the stream goes on behind its payload.
  Bytes Next(const std::function<void(FrameSpec&)>& edit = nullptr, size_t payload = kPayload) {
    FrameSpec spec = spec_;
    spec.payload = Pattern(payload, static_cast<uint8_t>(spec.tcp_sequence));
    if (edit) edit(spec);
    spec_.tcp_sequence += static_cast<uint32_t>(payload);
    ++spec_.ip_id;
    return Build(spec).bytes;
  }
  FrameSpec& spec() { return spec_; }

 private:
  FrameSpec spec_;
};

std::vector<Delivered> Coalesce(const std::vector<Bytes>& burst,
                                const Coalescing::Accepts& accepts = kAll) {
  auto coalescing = std::make_unique<Coalescing>();
  std::vector<Delivered> out = testing::Coalesce(burst, accepts, *coalescing);
  for (const Delivered& group : out) {
    const std::vector<Bytes> again = CutAgain(group);
    EXPECT_EQ(again.size(), group.frames.size());
    for (size_t i = 0; i < again.size() && i < group.frames.size(); ++i) {
      const Bytes& original = burst[group.frames[i]];
      if (group.fixed_id) {
        EXPECT_EQ(WithoutId(again[i]), WithoutId(original));
      } else {
        EXPECT_EQ(again[i], original) << "frame " << group.frames[i];
      }
    }
  }
  return out;
}

using Indices = std::vector<std::vector<uint32_t>>;
Indices FramesOf(const std::vector<Delivered>& groups) {
  Indices out;
  for (const Delivered& group : groups) out.push_back(group.frames);
  return out;
}

TEST(CoalesceTest, AStreamBecomesOneSegmentWithTheHeaderAGuestNeeds) {
  for (bool ipv6 : {false, true}) {
    Stream stream({.ipv6 = ipv6, .tcp_options = Bytes(12, 1)});
    std::vector<Bytes> burst = {stream.Next(nullptr, 1448), stream.Next(nullptr, 1448)};
    burst.push_back(stream.Next([](FrameSpec& spec) { spec.tcp_flags |= kPush; }, 700));
    const auto groups = Coalesce(burst);
    ASSERT_EQ(FramesOf(groups), (Indices{{0, 1, 2}}));

    FrameSpec whole{.ipv6 = ipv6,
                    .checksum = Checksum::kPartial,
                    .tcp_flags = kAck | kPush,
                    .tcp_options = Bytes(12, 1)};
    for (const Bytes& frame : burst) {
      whole.payload.insert(whole.payload.end(), frame.begin() + (ipv6 ? 86 : 66), frame.end());
    }
    EXPECT_EQ(groups[0].bytes, Build(whole).bytes);
    const virtio_net_hdr& header = groups[0].offload;
    EXPECT_EQ(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    EXPECT_EQ(header.gso_type, ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
    EXPECT_EQ(le16toh(header.gso_size), 1448);
    EXPECT_EQ(le16toh(header.hdr_len), ipv6 ? 86 : 66);
    EXPECT_EQ(le16toh(header.csum_start), ipv6 ? 54 : 34);
    EXPECT_EQ(le16toh(header.csum_offset), 16);
  }
}

// The middle one of five frames is special: what becomes of them.
TEST(CoalesceTest, FramesThatDifferAreNotMerged) {
  struct Row {
    std::string what;
    std::function<void(FrameSpec&)> edit;
    Indices expected;
    bool only_ipv4 = false;
  };
  const Indices all = {{0, 1, 2, 3, 4}}, ends = {{0, 1, 2}, {3, 4}}, alone = {{0, 1}, {2}, {3, 4}};
  const auto flag = [](uint8_t flags) {
    return [flags](FrameSpec& spec) { spec.tcp_flags = flags; };
  };
  const Row rows[] = {
      {"nothing", [](FrameSpec&) {}, all},
      {"PSH", flag(kAck | kPush), ends},
      {"FIN", flag(kAck | kFin), ends},
      {"FIN PSH", flag(kAck | kFin | kPush), ends},
      {"SYN", flag(kAck | kSyn), alone},
      {"RST", flag(kAck | kRst), alone},
      {"URG", flag(kAck | kUrgent), alone},
      {"no ACK", flag(0), alone},
      {"ECE", flag(kAck | kEce), alone},
      {"CWR ECE", flag(kAck | kEce | kCwr), alone},
      {"CWR", flag(kAck | kCwr), alone},
      {"acknowledged", [](FrameSpec& spec) { ++spec.tcp_acknowledged; }, alone},
      {"window", [](FrameSpec& spec) { ++spec.tcp_window; }, alone},
      {"urgent pointer", [](FrameSpec& spec) { ++spec.tcp_urgent; }, alone},
      {"options", [](FrameSpec& spec) { spec.tcp_options[7] ^= 1; }, alone},
      {"more options", [](FrameSpec& spec) { spec.tcp_options.resize(16, 1); }, alone},
      {"sequence early", [](FrameSpec& spec) { --spec.tcp_sequence; }, alone},
      {"sequence late", [](FrameSpec& spec) { ++spec.tcp_sequence; }, alone},
      {"pure ACK", [](FrameSpec& spec) { spec.payload.clear(); }, alone},
      {"shorter", [](FrameSpec& spec) { spec.payload.pop_back(); }, ends},
      {"longer", [](FrameSpec& spec) { spec.payload.push_back(1); }, alone},
      {"TTL", [](FrameSpec& spec) { ++spec.hop_limit; }, alone},
      {"TOS", [](FrameSpec& spec) { spec.traffic_class = 3; }, alone},
      {"no DF", [](FrameSpec& spec) { spec.ipv4_fragment = 0; }, alone, true},
      {"id", [](FrameSpec& spec) { spec.ip_id += 9; }, alone, true},
      {"id again", [](FrameSpec& spec) { --spec.ip_id; }, alone, true},
      {"fragment", [](FrameSpec& spec) { spec.ipv4_fragment = 0x2000; }, alone, true},
      {"late fragment", [](FrameSpec& spec) { spec.ipv4_fragment = 9; }, alone, true},
      {"reserved bit", [](FrameSpec& spec) { spec.ipv4_fragment = 0xc000; }, alone, true},
      {"IPv4 options", [](FrameSpec& spec) { spec.ipv4_options = Bytes(4, 1); }, alone, true},
      {"padding", [](FrameSpec& spec) { spec.padding = 3; }, alone},
      {"MAC", [](FrameSpec& spec) { spec.source.bytes[5] ^= 1; }, alone},
      {"no checksum", [](FrameSpec& spec) { spec.checksum = Checksum::kNone; }, alone},
      {"partial checksum", [](FrameSpec& spec) { spec.checksum = Checksum::kPartial; }, alone},
      // Frames of other flows, which do not get in between.
      {"port", [](FrameSpec& spec) { ++spec.source_port; }, alone},
      {"address", [](FrameSpec& spec) { ++spec.host; }, alone},
      {"UDP", [](FrameSpec& spec) { spec.udp = true; }, alone},
      {"tag",
       [](FrameSpec& spec) {
         spec.tags = {{0x8100, 5}};
       },
       {{0, 1}, {2}, {3, 4}}},
  };
  for (bool ipv6 : {false, true}) {
    for (const Row& row : rows) {
      if (ipv6 && row.only_ipv4) continue;
      SCOPED_TRACE(row.what + (ipv6 ? ", IPv6" : ", IPv4"));
      Stream stream({.ipv6 = ipv6, .tcp_options = Bytes(12, 1)});
      std::vector<Bytes> burst;
      for (int i = 0; i < 5; ++i) burst.push_back(stream.Next(i == 2 ? row.edit : nullptr));
      EXPECT_EQ(FramesOf(Coalesce(burst)), row.expected);
    }
  }
}

// A frame of the same flow, not of its sequence: the flow's frames stay behind it.
TEST(CoalesceTest, NothingOvertakesWithinAFlow) {
  Stream stream({.payload = {}});
  const Bytes first = stream.Next(), second = stream.Next(), third = stream.Next();
  const Bytes old = Stream({.tcp_sequence = 5}).Next();
  EXPECT_EQ(FramesOf(Coalesce({first, old, second, third})), (Indices{{0}, {1}, {2, 3}}));
  EXPECT_EQ(FramesOf(Coalesce({first, third, second})), (Indices{{0}, {1}, {2}}));
  EXPECT_EQ(FramesOf(Coalesce({first, first, second})), (Indices{{0}, {1, 2}}));
}

TEST(CoalesceTest, AFrameThatMayBeOfAnyFlowStopsAll) {
  for (const FrameSpec& spec :
       {FrameSpec{.ipv4_fragment = 0x2000, .payload = Pattern(8)},
        FrameSpec{.ipv6 = true, .extensions = {{60, Bytes(6, 0)}}, .payload = Pattern(8)}}) {
    Stream stream({.payload = {}});
    std::vector<Bytes> burst = {stream.Next(), stream.Next()};
    burst.push_back(Build(spec).bytes);
    burst.push_back(stream.Next());
    EXPECT_EQ(FramesOf(Coalesce(burst)), (Indices{{0, 1}, {2}, {3}}));
  }
}

TEST(CoalesceTest, AFrameWithATailStopsAll) {
  Stream stream({.payload = {}});
  std::vector<Bytes> frames = {stream.Next(), stream.Next(), stream.Next(), stream.Next()};
  std::vector<Coalescing::Arrival> burst;
  for (Bytes& frame : frames) {
    burst.push_back({.data = frame.data(), .length = static_cast<uint32_t>(frame.size())});
  }
  burst[1].whole = false;
  auto coalescing = std::make_unique<Coalescing>();
  coalescing->Run(burst, kAll);
  ASSERT_EQ(coalescing->groups().size(), 3u);
  EXPECT_EQ(coalescing->groups()[1].first, 1u);
  EXPECT_EQ(coalescing->groups()[2].frames, 2u);
}

TEST(CoalesceTest, FlowsAreToldApart) {
  std::vector<Stream> streams;
  for (uint16_t i = 0; i < 9; ++i) {
    streams.emplace_back(FrameSpec{.ipv6 = i % 2 == 1, .source_port = i});
  }
  std::vector<Bytes> burst;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 8; ++i) burst.push_back(streams[i].Next());
  }
  Indices expected;
  for (uint32_t i = 0; i < 8; ++i) expected.push_back({i, i + 8, i + 16});
  EXPECT_EQ(FramesOf(Coalesce(burst)), expected);
}

// A ninth flow takes the place of the oldest.
TEST(CoalesceTest, KeepsEightGroupsOpen) {
  std::vector<Stream> streams;
  for (uint16_t i = 0; i < 9; ++i) streams.emplace_back(FrameSpec{.source_port = i});
  std::vector<Bytes> burst;
  for (Stream& stream : streams) burst.push_back(stream.Next());
  burst.push_back(streams[1].Next());
  burst.push_back(streams[0].Next());
  EXPECT_EQ(FramesOf(Coalesce(burst)),
            (Indices{{0}, {1, 9}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {10}}));
}

TEST(CoalesceTest, MergesNothingWithAWrongChecksum) {
  for (size_t wrong = 0; wrong < 4; ++wrong) {
    for (size_t at : {size_t{24}, size_t{36}, size_t{50}, size_t{100}}) {  // IPv4, port, TCP, data
      Stream stream({.payload = {}});
      std::vector<Bytes> burst;
      for (int i = 0; i < 4; ++i) burst.push_back(stream.Next());
      burst[wrong][at] ^= 0x10;
      for (const Delivered& group : Coalesce(burst)) {
        if (group.frames.size() == 1) continue;
        for (uint32_t frame : group.frames) EXPECT_NE(frame, wrong);
      }
    }
  }
}

// 0xffff is as good as 0 in a sum, but Segmentation writes 0.
TEST(CoalesceTest, MergesNoChecksumInItsOtherSpelling) {
  Stream stream({.payload = {}});
  const Bytes first = stream.Next();
  FrameSpec spec = stream.spec();
  spec.payload = Bytes(kPayload, 0);
  Bytes second = Build(spec).bytes;
  const uint16_t checksum = LoadBe16(&second[50]);
  StoreBe16(&second[54], checksum);  // the sum of everything is 0xffff now
  spec.payload[0] = static_cast<uint8_t>(checksum >> 8);
  spec.payload[1] = static_cast<uint8_t>(checksum);
  second = Build(spec).bytes;
  ASSERT_EQ(LoadBe16(&second[50]), 0);
  EXPECT_EQ(FramesOf(Coalesce({first, second})), (Indices{{0, 1}}));
  StoreBe16(&second[50], 0xffff);
  EXPECT_EQ(FramesOf(Coalesce({first, second})), (Indices{{0}, {1}}));
}

TEST(CoalesceTest, IdsMayAllBeTheSameIfDfSaysThatTheyDoNotMatter) {
  const Indices one = {{0, 1, 2}}, none = {{0}, {1}, {2}};
  for (uint16_t df : {0x4000, 0}) {
    Stream stream({.ipv4_fragment = df});
    std::vector<Bytes> burst;
    for (int i = 0; i < 3; ++i) {
      burst.push_back(stream.Next([](FrameSpec& spec) { spec.ip_id = 0; }));
    }
    const auto groups = Coalesce(burst);
    EXPECT_EQ(FramesOf(groups), df != 0 ? one : none);
    EXPECT_EQ(groups[0].fixed_id, df != 0);
  }
  Stream wraps({.ip_id = 0xffff});
  EXPECT_EQ(FramesOf(Coalesce({wraps.Next(), wraps.Next(), wraps.Next()})), one);
}

TEST(CoalesceTest, SequenceNumbersWrap) {
  Stream stream({.tcp_sequence = 0xffffffff - 120});
  EXPECT_EQ(FramesOf(Coalesce({stream.Next(), stream.Next(), stream.Next()})),
            (Indices{{0, 1, 2}}));
}

TEST(CoalesceTest, NoSegmentIsLongerThanIpAllows) {
  for (bool ipv6 : {false, true}) {
    Stream stream({.ipv6 = ipv6});
    std::vector<Bytes> burst;
    const size_t headers = ipv6 ? 60 : 40;
    const size_t payload = (65535 - headers) / 4;  // four fit, to the byte or nearly so
    for (int i = 0; i < 8; ++i) burst.push_back(stream.Next(nullptr, payload));
    const auto groups = Coalesce(burst);
    EXPECT_EQ(FramesOf(groups), (Indices{{0, 1, 2, 3}, {4, 5, 6, 7}}));
    EXPECT_LE(groups[0].bytes.size(), 65535u + kEthHeaderLen);
    burst.clear();
    Stream longer({.ipv6 = ipv6});
    for (int i = 0; i < 4; ++i) burst.push_back(longer.Next(nullptr, payload + 1));
    EXPECT_EQ(FramesOf(Coalesce(burst)), (Indices{{0, 1, 2}, {3}}));
  }
}

TEST(CoalesceTest, GivesAGuestWhatItNegotiatedOnly) {
  Stream v4({.payload = {}}), v6({.ipv6 = true});
  const std::vector<Bytes> burst = {v4.Next(), v6.Next(), v4.Next(), v6.Next()};
  EXPECT_EQ(FramesOf(Coalesce(burst, {.tso4 = true})), (Indices{{0, 2}, {1}, {3}}));
  EXPECT_EQ(FramesOf(Coalesce(burst, {.tso6 = true})), (Indices{{0}, {1, 3}, {2}}));
  EXPECT_EQ(FramesOf(Coalesce(burst)), (Indices{{0, 2}, {1, 3}}));
}

TEST(CoalesceTest, BeginsNoGroupBelowTheLeastSegment) {
  Stream stream({.payload = {}});
  std::vector<Bytes> burst;
  for (int i = 0; i < 3; ++i) burst.push_back(stream.Next(nullptr, 7));
  for (int i = 0; i < 3; ++i) burst.push_back(stream.Next(nullptr, 8));
  EXPECT_EQ(FramesOf(Coalesce(burst)), (Indices{{0}, {1}, {2}, {3, 4, 5}}));
}

TEST(CoalesceTest, LeavesEveryTruncationAlone) {
  for (bool ipv6 : {false, true}) {
    Stream stream({.ipv6 = ipv6, .tcp_options = Bytes(12, 1)});
    const Bytes first = stream.Next(), second = stream.Next();
    for (size_t length = 0; length < second.size(); ++length) {
      const Bytes cut(second.begin(), second.begin() + static_cast<long>(length));
      EXPECT_EQ(FramesOf(Coalesce({first, cut})), (Indices{{0}, {1}}));
      EXPECT_EQ(FramesOf(Coalesce({cut, first})), (Indices{{0}, {1}}));
    }
  }
}

}  // namespace
}  // namespace vmqd

// Segmentation in software: every segment is compared with a frame that tests/support built for the
// same piece of payload, so headers, ids, sequence numbers, flags and checksums are all covered.
#include "daemon/net/segmentation.h"

#include <endian.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "daemon/net/ethernet.h"
#include "tests/support/frame_builder.h"

namespace vmqd {
namespace {

using testing::Build;
using testing::BuiltFrame;
using testing::Bytes;
using testing::Checksum;
using testing::FrameSpec;
using testing::Pattern;

constexpr uint8_t kFin = 0x01, kPush = 0x08, kAck = 0x10, kCwr = 0x80;

virtio_net_hdr Header(const BuiltFrame& frame, uint8_t gso_type, uint16_t gso_size) {
  virtio_net_hdr header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = gso_type;
  header.gso_size = htole16(gso_size);
  header.csum_start = htole16(static_cast<uint16_t>(frame.transport));
  header.csum_offset = htole16(static_cast<uint16_t>(frame.field - frame.transport));
  return header;
}

uint8_t GsoTypeOf(const FrameSpec& spec) {
  if (spec.udp) return VIRTIO_NET_HDR_GSO_UDP_L4;
  return spec.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
}

// The segments as senders without any offload would have sent them.
std::vector<Bytes> ExpectedSegments(FrameSpec spec, size_t gso_size) {
  const Bytes payload = spec.payload;
  const uint8_t flags = spec.tcp_flags;
  const uint32_t sequence = spec.tcp_sequence;
  const uint16_t id = spec.ip_id;
  std::vector<Bytes> segments;
  spec.checksum = Checksum::kComplete;
  size_t from = 0;
  do {
    const size_t to = std::min(payload.size(), from + gso_size);
    spec.payload.assign(payload.begin() + static_cast<long>(from),
                        payload.begin() + static_cast<long>(to));
    spec.tcp_sequence = sequence + static_cast<uint32_t>(from);
    spec.ip_id = static_cast<uint16_t>(id + segments.size());
    spec.tcp_flags = flags;
    if (from > 0) spec.tcp_flags &= static_cast<uint8_t>(~kCwr);
    if (to < payload.size()) spec.tcp_flags &= static_cast<uint8_t>(~(kFin | kPush));
    segments.push_back(Build(spec).bytes);
    from = to;
  } while (from < payload.size());
  return segments;
}

// Writes every segment into a heap block of exactly max_length() bytes.
std::vector<Bytes> Cut(const Segmentation& plan) {
  std::vector<Bytes> segments;
  for (uint32_t i = 0; i < plan.count(); ++i) {
    Bytes out(plan.max_length());
    out.resize(plan.Write(i, out.data()));
    segments.push_back(std::move(out));
  }
  return segments;
}

struct Shape {
  std::string name;
  FrameSpec spec;
};

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes = {
      {"ipv4 options", {.ipv4_options = Bytes(12, 1)}},
      {"timestamps", {.tcp_options = Bytes(12, 1)}},
      {"longest headers", {.ipv4_options = Bytes(40, 1), .tcp_options = Bytes(40, 1)}},
      {"sequence wraps", {.tcp_sequence = 0xfffffff0}},
      {"id wraps", {.ip_id = 0xfffe}},
      {"all flags", {.tcp_flags = 0xff}},
      {"fin push", {.tcp_flags = kAck | kFin | kPush}},
      {"cwr ipv6", {.ipv6 = true, .tcp_flags = kAck | kCwr | kPush}},
      {"extension headers", {.ipv6 = true, .extensions = {{0, Bytes(6, 0)}, {60, Bytes(14, 0)}}}},
      {"routed",
       {.ipv6 = true,
        .udp = true,
        .extensions = {{43,
                        Bytes{4, 1, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}}},
        .final_destination = Bytes(16, 9)}},
      {"padding", {.padding = 7}},
  };
  for (bool ipv6 : {false, true}) {
    for (bool udp : {false, true}) {
      for (bool tagged : {false, true}) {
        FrameSpec spec{.ipv6 = ipv6, .udp = udp};
        if (tagged) spec.tags = {{0x8100, 0xa064}};
        shapes.push_back(
            {std::string(ipv6 ? "6" : "4") + (udp ? "u" : "t") + (tagged ? " tag" : ""), spec});
      }
    }
  }
  return shapes;
}

TEST(SegmentationTest, SegmentsAreThoseOfASenderWithoutOffload) {
  const struct {
    size_t payload;
    uint16_t gso_size;
  } sizes[] = {{0, 1448},    {1, 1448},     {1447, 1448}, {1448, 1448}, {1449, 1448}, {4344, 1448},
               {5000, 1001}, {64000, 1460}, {300, 8},     {300, 65534}, {9, 8}};
  for (const Shape& shape : Shapes()) {
    for (const auto& size : sizes) {
      SCOPED_TRACE(shape.name + ": " + std::to_string(size.payload) + " by " +
                   std::to_string(size.gso_size));
      FrameSpec spec = shape.spec;
      spec.payload = Pattern(size.payload, 5);
      spec.checksum = Checksum::kPartial;
      const BuiltFrame frame = Build(spec);
      const auto plan =
          Segmentation::Plan(frame.bytes, Header(frame, GsoTypeOf(spec), size.gso_size));
      ASSERT_TRUE(plan.has_value());
      spec.padding = 0;
      const std::vector<Bytes> expected = ExpectedSegments(spec, size.gso_size);
      ASSERT_EQ(plan->count(), expected.size());
      ASSERT_EQ(plan->max_length(), expected[0].size());
      ASSERT_EQ(Cut(*plan), expected);
    }
  }
}

TEST(SegmentationTest, PayloadComesOutAsItWentIn) {
  FrameSpec spec{.checksum = Checksum::kPartial, .payload = Pattern(20000)};
  const BuiltFrame frame = Build(spec);
  const auto plan = Segmentation::Plan(frame.bytes, Header(frame, VIRTIO_NET_HDR_GSO_TCPV4, 777));
  ASSERT_TRUE(plan.has_value());
  Bytes together;
  for (const Bytes& segment : Cut(*plan)) {
    together.insert(together.end(), segment.begin() + static_cast<long>(frame.payload),
                    segment.end());
  }
  EXPECT_EQ(together, spec.payload);
}

TEST(SegmentationTest, TheEcnBitChangesNothing) {
  FrameSpec spec{
      .checksum = Checksum::kPartial, .tcp_flags = kAck | kCwr, .payload = Pattern(3000)};
  const BuiltFrame frame = Build(spec);
  const auto plan = Segmentation::Plan(
      frame.bytes, Header(frame, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, 1000));
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(Cut(*plan), ExpectedSegments(spec, 1000));
}

TEST(SegmentationTest, UdpChecksumOfZeroIsWrittenAsAllOnes) {
  FrameSpec spec{.udp = true, .payload = Bytes(4, 0)};
  BuiltFrame frame = Build(spec);
  // With this pair added the sum is 0xffff and its complement 0.
  const uint16_t checksum = LoadBe16(frame.bytes.data() + frame.field);
  StoreBe16(frame.bytes.data() + frame.payload, checksum);
  const auto plan = Segmentation::Plan(frame.bytes, Header(frame, VIRTIO_NET_HDR_GSO_UDP_L4, 1000));
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(LoadBe16(Cut(*plan)[0].data() + frame.field), 0xffff);
}

TEST(SegmentationTest, RefusesTypesThatContradictTheFrame) {
  constexpr uint8_t kTypes[] = {VIRTIO_NET_HDR_GSO_NONE,
                                VIRTIO_NET_HDR_GSO_TCPV4,
                                2,
                                VIRTIO_NET_HDR_GSO_UDP,
                                VIRTIO_NET_HDR_GSO_TCPV6,
                                VIRTIO_NET_HDR_GSO_UDP_L4,
                                6,
                                0x41,
                                VIRTIO_NET_HDR_GSO_UDP_L4 | VIRTIO_NET_HDR_GSO_ECN,
                                0x7f,
                                VIRTIO_NET_HDR_GSO_ECN,
                                0xff};
  for (bool ipv6 : {false, true}) {
    for (bool udp : {false, true}) {
      const FrameSpec spec{.ipv6 = ipv6, .udp = udp, .payload = Pattern(3000)};
      const BuiltFrame frame = Build(spec);
      for (uint8_t type : kTypes) {
        EXPECT_EQ(Segmentation::Plan(frame.bytes, Header(frame, type, 1000)).has_value(),
                  type == GsoTypeOf(spec))
            << int{type} << (ipv6 ? " on IPv6" : " on IPv4") << (udp ? " UDP" : " TCP");
      }
    }
  }
}

// Each row is a good frame that one edit makes contradict itself.
TEST(SegmentationTest, RefusesHostileHeaders) {
  struct Row {
    const char* what;
    FrameSpec spec;
    size_t at;  // from the IP header on
    uint8_t value;
  };
  const FrameSpec v4{.payload = Pattern(200)};
  const FrameSpec v6{.ipv6 = true, .payload = Pattern(200)};
  const FrameSpec udp{.udp = true, .payload = Pattern(200)};
  const FrameSpec hop{.ipv6 = true, .extensions = {{0, Bytes(6, 0)}}, .payload = Pattern(200)};
  const Row rows[] = {
      {"version", v4, 0, 0x65},
      {"IHL 4", v4, 0, 0x44},
      {"total length too long", v4, 2, 9},
      {"total length below the headers", v4, 3, 39},
      {"more fragments", v4, 6, 0x20},
      {"fragment offset", v4, 7, 1},
      {"other protocol", v4, 9, 47},
      {"UDP under a TCP type", v4, 9, 17},
      {"data offset 4", v4, 32, 0x40},
      {"data offset 0", v4, 32, 0x00},
      {"data offset beyond", {.payload = Pattern(8)}, 32, 0xf0},
      {"UDP length short", udp, 25, 207},
      {"UDP length long", udp, 25, 209},
      {"UDP length 0", udp, 25, 0},
      {"UDP length 7", udp, 25, 7},
      {"version", v6, 0, 0x45},
      {"payload too long", v6, 4, 2},
      {"payload 0", v6, 5, 0},
      {"fragment header", v6, 6, 44},
      {"unknown header", v6, 6, 135},
      {"extension beyond", hop, 41, 255},
      {"extension that never ends", hop, 41, 25},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    BuiltFrame frame = Build(row.spec);
    const auto header = Header(frame, GsoTypeOf(row.spec), 50);
    ASSERT_TRUE(Segmentation::Plan(frame.bytes, header).has_value());
    ASSERT_NE(frame.bytes[frame.network + row.at], row.value);
    frame.bytes[frame.network + row.at] = row.value;
    EXPECT_FALSE(Segmentation::Plan(frame.bytes, header).has_value());
  }
}

TEST(SegmentationTest, RefusesAUdpPacketShorterThanItsHeader) {
  BuiltFrame frame = Build({.udp = true, .payload = Pattern(100)});
  StoreBe16(frame.bytes.data() + frame.network + 2, 20 + 7);
  StoreBe16(frame.bytes.data() + frame.transport + 4, 7);
  const auto header = Header(frame, VIRTIO_NET_HDR_GSO_UDP_L4, 10);
  EXPECT_FALSE(Segmentation::Plan(frame.bytes, header).has_value());
}

TEST(SegmentationTest, RefusesEveryTruncation) {
  for (const Shape& shape : Shapes()) {
    if (shape.spec.padding > 0) continue;
    FrameSpec spec = shape.spec;
    spec.payload = Pattern(100);
    const BuiltFrame whole = Build(spec);
    const auto header = Header(whole, GsoTypeOf(spec), 10);
    for (size_t length = 0; length < whole.bytes.size(); ++length) {
      Bytes frame(whole.bytes.begin(), whole.bytes.begin() + static_cast<long>(length));
      frame.shrink_to_fit();
      ASSERT_FALSE(Segmentation::Plan(frame, header).has_value())
          << shape.name << " cut to " << length;
      // The same with all of the frame there, but only so much of it in the head.
      const bool enough = length >= whole.payload;
      ASSERT_EQ(
          Segmentation::Plan(frame, static_cast<uint32_t>(whole.bytes.size()), header).has_value(),
          enough)
          << shape.name << " with a head of " << length;
    }
  }
}

TEST(SegmentationTest, RefusesFramesWithSeveralOrOtherTags) {
  for (const FrameSpec& spec :
       {FrameSpec{.tags = {{0x88a8, 5}}, .payload = Pattern(100)},
        FrameSpec{.tags = {{0x8100, 5}, {0x8100, 6}}, .payload = Pattern(100)}}) {
    const BuiltFrame frame = Build(spec);
    EXPECT_FALSE(Segmentation::Plan(frame.bytes, Header(frame, GsoTypeOf(spec), 10)).has_value());
  }
}

// Each row is a good header that one edit makes wrong.
TEST(SegmentationTest, RefusesSizesAndChecksumPlacesThatLinuxRefuses) {
  struct Row {
    const char* what;
    bool udp;
    uint16_t gso_size;
    bool needs_checksum = true;
    int start = 0;  // added to what is right
    int offset = 0;
    bool good = false;
  };
  const Row rows[] = {
      {"size 0", false, 0},
      {"size 0", true, 0},
      {"size 7", false, 7},
      {.what = "size 8", .udp = false, .gso_size = 8, .good = true},
      {"GSO_BY_FRAGS", false, 65535},
      {"GSO_BY_FRAGS", true, 65535},
      {.what = "65534", .udp = true, .gso_size = 65534, .good = true},
      {"129 datagrams", true, 15},
      {.what = "121 datagrams", .udp = true, .gso_size = 16, .good = true},
      {"start early", false, 1000, true, -2},
      {"start late", false, 1000, true, 2},
      {"start beyond", false, 1000, true, 65000},
      {"offset early", false, 1000, true, 0, -1},
      {"offset of UDP's", false, 1000, true, 0, -10},
      {"offset beyond", true, 1000, true, 0, 65000},
      {"UDP, whole checksum", true, 1000, false},
      {.what = "TCP, whole checksum",
       .udp = false,
       .gso_size = 1000,
       .needs_checksum = false,
       .start = 9,
       .good = true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const FrameSpec spec{.udp = row.udp, .payload = Pattern(1921)};
    const BuiltFrame frame = Build(spec);
    virtio_net_hdr header = Header(frame, GsoTypeOf(spec), row.gso_size);
    header.hdr_len = 0xffff;  // a hint, whatever it says
    if (!row.needs_checksum) header.flags = 0;
    header.csum_start = static_cast<uint16_t>(header.csum_start + row.start);
    header.csum_offset = static_cast<uint16_t>(header.csum_offset + row.offset);
    EXPECT_EQ(Segmentation::Plan(frame.bytes, header).has_value(), row.good);
  }
}

// The frame's bytes in several places: the head, then pieces of these lengths, then the rest.
struct Places {
  size_t head;
  std::vector<size_t> pieces;
};

TEST(SegmentationTest, AFrameInPiecesIsCutLikeAWholeOne) {
  const Places layouts[] = {{256, {}},          {100, {1, 1, 1}},       {54, {0, 3000, 0, 0, 1}},
                            {70, {1448, 1448}}, {256, {7, 0, 9, 4096}}, {5054, {}},
                            {5053, {1}},        {54, {5000}},           {200, {1, 2, 3, 4, 5}}};
  const FrameSpec spec{.checksum = Checksum::kPartial, .payload = Pattern(5000)};
  const BuiltFrame frame = Build(spec);
  const virtio_net_hdr header = Header(frame, VIRTIO_NET_HDR_GSO_TCPV4, 1448);
  for (const Places& places : layouts) {
    Bytes bytes = frame.bytes;
    std::vector<FramePiece> pieces;
    size_t at = places.head;
    for (size_t size : places.pieces) {
      pieces.push_back({.bytes = GuestSpan(bytes.data() + at, static_cast<uint32_t>(size))});
      at += size;
    }
    pieces.push_back(
        {.bytes = GuestSpan(bytes.data() + at, static_cast<uint32_t>(bytes.size() - at))});
    const FrameTail tail{.offload = header,
                         .head = static_cast<uint32_t>(places.head),
                         .pieces = pieces.data(),
                         .piece_count = static_cast<uint32_t>(pieces.size())};
    const Bytes head(bytes.begin(), bytes.begin() + static_cast<long>(places.head));
    const auto plan = Segmentation::Plan(head, static_cast<uint32_t>(bytes.size()), header);
    ASSERT_TRUE(plan.has_value());
    FrameReader reader(head.data(), tail);
    std::vector<Bytes> segments;
    for (uint32_t i = 0; i < plan->count(); ++i) {
      Bytes out(plan->max_length());
      out.resize(plan->Write(i, reader, out.data()));
      segments.push_back(std::move(out));
    }
    EXPECT_EQ(segments, ExpectedSegments(spec, 1448));
  }
}

}  // namespace
}  // namespace vmqd

// Sums and partial checksums, against frames whose checksums tests/support computed on its own.
#include "daemon/net/checksum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
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
using testing::ExtensionHeader;
using testing::FrameSpec;
using testing::Pattern;
using testing::ReferenceSum;

struct NamedSpec {
  std::string name;
  FrameSpec spec;
};

Bytes RoutingBody(uint8_t type, uint8_t segments_left, const std::vector<Bytes>& addresses) {
  Bytes body = {type, segments_left, 0, 0, 0, 0};
  for (const Bytes& address : addresses) body.insert(body.end(), address.begin(), address.end());
  return body;
}

// Frames whose partial checksum must be completed.
std::vector<NamedSpec> Shapes() {
  const Bytes options4(4, 1);
  const Bytes first(16, 0x11), last(16, 0x22);
  const ExtensionHeader hop{0, Bytes(6, 0)}, destination{60, Bytes(14, 0)};
  std::vector<NamedSpec> shapes = {
      {"ipv4 options", {.ipv4_options = Bytes(40, 1)}},
      {"tcp options", {.tcp_options = Bytes(40, 1)}},
      {"ipv4 fragmentable", {.ipv4_fragment = 0}},
      {"padded runt", {.payload = {7}, .padding = 5}},
      {"padded runt udp", {.udp = true, .payload = {7}, .padding = 17}},
      {"padded ipv6", {.ipv6 = true, .payload = {7}, .padding = 3}},
      {"hop by hop", {.ipv6 = true, .extensions = {hop}}},
      {"destination options", {.ipv6 = true, .udp = true, .extensions = {destination}}},
      {"hop by hop, destination", {.ipv6 = true, .extensions = {hop, destination}}},
      {"routing done", {.ipv6 = true, .extensions = {{43, RoutingBody(4, 0, {first, last})}}}},
      {"segment routing under way",
       {.ipv6 = true,
        .extensions = {{43, RoutingBody(4, 1, {last, first})}},
        .final_destination = last}},
      {"source routing under way",
       {.ipv6 = true,
        .udp = true,
        .extensions = {{43, RoutingBody(0, 2, {first, last})}},
        .final_destination = last}},
  };
  for (bool ipv6 : {false, true}) {
    for (bool udp : {false, true}) {
      for (bool tagged : {false, true}) {
        for (size_t length : {0, 1, 2, 7, 8, 9, 63, 64, 65, 1459, 1460, 9001}) {
          FrameSpec spec{.ipv6 = ipv6, .udp = udp, .payload = Pattern(length, 3)};
          if (tagged) spec.tags = {{0x8100, 0x6064}};
          shapes.push_back({std::string(ipv6 ? "6" : "4") + (udp ? "u" : "t") +
                                (tagged ? "-tag-" : "-") + std::to_string(length),
                            spec});
        }
      }
    }
  }
  return shapes;
}

BuiltFrame BuildWith(FrameSpec spec, Checksum checksum) {
  spec.checksum = checksum;
  return Build(spec);
}

Bytes RandomBytes(size_t length) {
  std::mt19937 random(1);
  Bytes data(length);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  return data;
}

// ChecksumAdd itself, and everything it may choose from.
std::vector<ChecksumWay> EveryWay() {
  std::vector<ChecksumWay> ways(ChecksumWays().begin(), ChecksumWays().end());
  ways.push_back({"chosen", ChecksumAdd});
  return ways;
}

TEST(ChecksumAddTest, AgreesWithThePlainWayAtEveryLengthAndAlignment) {
  const Bytes data = RandomBytes(400);
  for (const ChecksumWay& way : EveryWay()) {
    for (size_t length = 0; length <= 300; ++length) {
      for (size_t from = 0; from < 33; ++from) {
        const Bytes exact(data.begin() + static_cast<long>(from),
                          data.begin() + static_cast<long>(from + length));
        const uint16_t expected = ReferenceSum(exact.data(), length);
        ASSERT_EQ(ChecksumFold(way.add(exact.data(), length, 0)), expected);
        ASSERT_EQ(ChecksumFold(way.add(data.data() + from, length, 0)), expected)
            << way.name << ": " << length << " bytes from " << from;
      }
    }
  }
}

TEST(ChecksumAddTest, AgreesWithThePlainWayOnLongData) {
  const Bytes random = RandomBytes(300000);
  const Bytes ones(300000, 0xff);
  for (const ChecksumWay& way : EveryWay()) {
    for (const Bytes& data : {random, ones}) {
      for (size_t length : {512, 1514, 8999, 9000, 65535, 65536, 262143, 299990}) {
        for (size_t from : {0, 1, 7}) {
          for (uint64_t sum : {uint64_t{0}, uint64_t{0xfffe}, ~uint64_t{0}, ~uint64_t{0} - 1}) {
            const auto start = static_cast<uint32_t>(ChecksumFold(sum));
            ASSERT_EQ(ChecksumFold(way.add(data.data() + from, length, sum)),
                      ReferenceSum(data.data() + from, length, start))
                << way.name << ": " << length << " bytes from " << from << " added to " << sum;
          }
        }
      }
    }
  }
}

TEST(ChecksumAddTest, CarriesAround) {
  const Bytes ones(65536, 0xff);
  EXPECT_EQ(ChecksumFold(ChecksumAdd(ones.data(), ones.size(), 0)), 0xffff);
  const uint8_t two[] = {0x00, 0x02};
  EXPECT_EQ(ChecksumFold(ChecksumAdd(two, 2, ~uint64_t{0})), 2);  // 2^64 - 1 is 0 in this sum
  EXPECT_EQ(ChecksumFold(0x1ffff), 1);
  EXPECT_EQ(ChecksumFold(0), 0);
}

TEST(ChecksumAddTest, AddsToANumberInNetworkOrderPieceByPiece) {
  const Bytes data = Pattern(101, 9);
  const uint64_t head = ChecksumAdd(data.data(), 40, 0x0611);
  EXPECT_EQ(ChecksumFold(ChecksumAdd(data.data() + 40, 61, head)),
            ReferenceSum(data.data(), data.size(), 0x0611));
}

TEST(ChecksumAddTest, Rfc1071Example) {
  const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(ChecksumFold(ChecksumAdd(data, sizeof(data), 0)), 0xddf2);
}

// The property that makes it safe to complete whatever looks partial: a valid frame, its field set
// to the pseudo-header sum and finished, is the valid frame again.
TEST(FinishPartialChecksumTest, MakesThePartialFrameTheCompleteOne) {
  for (const NamedSpec& shape : Shapes()) {
    SCOPED_TRACE(shape.name);
    const BuiltFrame complete = BuildWith(shape.spec, Checksum::kComplete);
    Bytes frame = BuildWith(shape.spec, Checksum::kPartial).bytes;
    ASSERT_NE(frame, complete.bytes);
    EXPECT_TRUE(FinishPartialChecksum(frame.data(), frame.size()));
    EXPECT_EQ(frame, complete.bytes);
  }
}

TEST(FinishPartialChecksumTest, LeavesCompleteFramesAlone) {
  for (const NamedSpec& shape : Shapes()) {
    SCOPED_TRACE(shape.name);
    const Bytes complete = BuildWith(shape.spec, Checksum::kComplete).bytes;
    Bytes frame = complete;
    EXPECT_FALSE(FinishPartialChecksum(frame.data(), frame.size()));
    EXPECT_EQ(frame, complete);
  }
}

// The sum of the packet, field included, is the complement of the pseudo-header sum: valid, and the
// field looks partial. The payload is chosen to make it so.
TEST(FinishPartialChecksumTest, RewritesTheSameValueWhereACompleteOneLooksPartial) {
  for (bool udp : {false, true}) {
    FrameSpec spec{.udp = udp, .checksum = Checksum::kPartial, .payload = Bytes(10, 0)};
    BuiltFrame frame = Build(spec);
    const uint16_t partial = LoadBe16(frame.bytes.data() + frame.field);
    const uint16_t sum = ReferenceSum(frame.bytes.data() + frame.transport,
                                      frame.bytes.size() - frame.transport, partial);
    StoreBe16(frame.bytes.data() + frame.payload, static_cast<uint16_t>(~sum));
    const Bytes before = frame.bytes;
    EXPECT_TRUE(FinishPartialChecksum(frame.bytes.data(), frame.bytes.size()));
    EXPECT_EQ(frame.bytes, before);
  }
}

TEST(FinishPartialChecksumTest, UdpWritesAComputedZeroAsAllOnesAndTcpAsZero) {
  for (bool udp : {false, true}) {
    FrameSpec spec{.udp = udp, .checksum = Checksum::kPartial, .payload = Bytes(4, 0)};
    BuiltFrame frame = Build(spec);
    const uint16_t sum =
        ReferenceSum(frame.bytes.data() + frame.transport, frame.bytes.size() - frame.transport);
    StoreBe16(frame.bytes.data() + frame.payload, static_cast<uint16_t>(~sum));
    EXPECT_TRUE(FinishPartialChecksum(frame.bytes.data(), frame.bytes.size()));
    EXPECT_EQ(LoadBe16(frame.bytes.data() + frame.field), udp ? 0xffff : 0);
  }
}

TEST(FinishPartialChecksumTest, UdpLengthBelowTheIpLengthBoundsTheSum) {
  FrameSpec spec{.udp = true, .payload = Pattern(20)};
  BuiltFrame frame = Build(spec);
  uint8_t* udp = frame.bytes.data() + frame.transport;
  StoreBe16(udp + 4, 8 + 13);  // 7 bytes of surplus, an odd end
  const uint8_t* ip = frame.bytes.data() + frame.network;
  const uint16_t pseudo = ReferenceSum(ip + 12, 8, 17 + 21);
  StoreBe16(udp + 6, 0);
  const uint16_t expected = static_cast<uint16_t>(~ReferenceSum(udp, 21, pseudo));
  StoreBe16(udp + 6, pseudo);
  EXPECT_TRUE(FinishPartialChecksum(frame.bytes.data(), frame.bytes.size()));
  EXPECT_EQ(LoadBe16(udp + 6), expected);
}

// Each row is a partial frame that one edit makes unfit.
TEST(FinishPartialChecksumTest, LeavesEverythingElseAlone) {
  struct Row {
    const char* what;
    FrameSpec spec;
    size_t at;  // from the IP header on
    uint8_t value;
  };
  const FrameSpec v4{.payload = Pattern(40)};
  const FrameSpec v6{.ipv6 = true, .payload = Pattern(40)};
  const FrameSpec udp{.udp = true, .payload = Pattern(40)};
  const FrameSpec hop{.ipv6 = true, .extensions = {{0, Bytes(6, 0)}}, .payload = Pattern(40)};
  const Row rows[] = {
      {"version 5", v4, 0, 0x55},
      {"version 6 under 0x0800", v4, 0, 0x65},
      {"IHL 4", v4, 0, 0x44},
      {"IHL beyond the packet", v4, 0, 0x4f},
      {"total length too long", v4, 2, 1},
      {"total length below IHL", v4, 3, 19},
      {"more fragments", v4, 6, 0x20},
      {"offset high", v4, 6, 0x10},
      {"offset low", v4, 7, 1},
      {"ICMP", v4, 9, 1},
      {"UDP-Lite", udp, 9, 136},
      {"room below a TCP header", v4, 3, 39},
      {"UDP length beyond IP", udp, 25, 49},
      {"UDP length 7", udp, 25, 7},
      {"UDP length 0", udp, 25, 0},
      {"UDP length high byte", udp, 24, 1},
      {"version 4 under 0x86dd", v6, 0, 0x40},
      {"payload too long", v6, 4, 1},
      {"payload 0", v6, 5, 0},
      {"payload below a TCP header", v6, 5, 19},
      {"fragment header", v6, 6, 44},
      {"ESP", v6, 6, 50},
      {"no next header", v6, 6, 59},
      {"extension beyond the packet", hop, 41, 200},
      {"extension leaves no room", hop, 41, 6},
      {"fragment behind hop by hop", hop, 40, 44},
      {"address changed", v4, 15, 9},
      {"address changed", v6, 23, 9},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    BuiltFrame frame = BuildWith(row.spec, Checksum::kPartial);
    ASSERT_NE(frame.bytes[frame.network + row.at], row.value);
    frame.bytes[frame.network + row.at] = row.value;
    const Bytes before = frame.bytes;
    EXPECT_FALSE(FinishPartialChecksum(frame.bytes.data(), frame.bytes.size()));
    EXPECT_EQ(frame.bytes, before);
  }
}

// Lengths that contradict each other, with the very field that would look partial to a reader who
// believed `claimed` bytes.
TEST(FinishPartialChecksumTest, BelievesNoLengthThatContradictsAnother) {
  const struct {
    const char* what;
    bool udp;
    uint16_t ip_length, udp_length, claimed;
  } rows[] = {
      {"room below a TCP header", false, 39, 0, 19},
      {"room below a UDP header", true, 27, 8, 8},
      {"total length below the IP header", true, 19, 48, 48},
      {"total length below the IP header, TCP", false, 19, 0, 0xffff},
      {"UDP length 7", true, 68, 7, 7},
      {"UDP length 0", true, 68, 0, 0},
      {"UDP length beyond the IP length", true, 67, 48, 48},
      {"UDP length beyond the frame", true, 68, 49, 49},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    BuiltFrame frame = Build({.udp = row.udp, .payload = Bytes(row.udp ? 40 : 28, 0x11)});
    uint8_t* ip = frame.bytes.data() + frame.network;
    ASSERT_EQ(LoadBe16(ip + 2), 68);
    StoreBe16(ip + 2, row.ip_length);
    if (row.udp) StoreBe16(frame.bytes.data() + frame.transport + 4, row.udp_length);
    StoreBe16(frame.bytes.data() + frame.field,
              ReferenceSum(ip + 12, 8, (row.udp ? 17u : 6u) + row.claimed));
    frame.bytes.shrink_to_fit();
    const Bytes before = frame.bytes;
    EXPECT_FALSE(FinishPartialChecksum(frame.bytes.data(), frame.bytes.size()));
    EXPECT_EQ(frame.bytes, before);
  }
}

TEST(FinishPartialChecksumTest, LeavesOtherEthernetAlone) {
  FrameSpec udp_none{.udp = true, .checksum = Checksum::kNone, .payload = Pattern(9)};
  FrameSpec service{.tags = {{0x88a8, 5}}, .checksum = Checksum::kPartial};
  FrameSpec twice{.tags = {{0x8100, 5}, {0x8100, 6}}, .checksum = Checksum::kPartial};
  for (const FrameSpec& spec : {udp_none, service, twice}) {
    const Bytes before = Build(spec).bytes;
    Bytes frame = before;
    EXPECT_FALSE(FinishPartialChecksum(frame.data(), frame.size()));
    EXPECT_EQ(frame, before);
  }
}

// Exactly as many bytes on the heap as the frame has, so that the sanitizer sees any step outside.
TEST(FinishPartialChecksumTest, NoTruncationIsReadBeyondOrChanged) {
  for (const NamedSpec& shape : Shapes()) {
    const BuiltFrame whole = BuildWith(shape.spec, Checksum::kPartial);
    if (whole.bytes.size() > 300) continue;
    const size_t packet_end = whole.bytes.size() - shape.spec.padding;
    for (size_t length = 0; length < whole.bytes.size(); ++length) {
      SCOPED_TRACE(shape.name + " cut to " + std::to_string(length));
      const Bytes before(whole.bytes.begin(), whole.bytes.begin() + static_cast<long>(length));
      Bytes frame = before;
      frame.shrink_to_fit();
      ASSERT_EQ(FinishPartialChecksum(frame.data(), frame.size()), length >= packet_end);
      if (length < packet_end) {
        ASSERT_EQ(frame, before);
      }
    }
  }
}

TEST(FinishPartialChecksumTest, SurvivesRandomEdits) {
  std::mt19937 random(2);
  const std::vector<NamedSpec> shapes = Shapes();
  size_t finished = 0;
  for (int round = 0; round < 20000; ++round) {
    const FrameSpec& spec = shapes[random() % shapes.size()].spec;
    if (spec.payload.size() > 100) continue;
    BuiltFrame built = BuildWith(spec, Checksum::kPartial);
    Bytes frame = built.bytes;
    for (int edit = random() % 4; edit > 0; --edit) {
      frame[12 + random() % (frame.size() - 12)] = static_cast<uint8_t>(random());
    }
    frame.shrink_to_fit();
    const Bytes before = frame;
    const bool changed = FinishPartialChecksum(frame.data(), frame.size());
    finished += changed;
    if (!changed) {
      ASSERT_EQ(frame, before);
    }
  }
  EXPECT_GT(finished, 1000u);
}

TEST(CompleteChecksumAtTest, CompletesWhatTheHeaderSays) {
  for (const NamedSpec& shape : Shapes()) {
    if (shape.spec.padding > 0) continue;  // the sum runs to the end of the frame
    SCOPED_TRACE(shape.name);
    const BuiltFrame complete = BuildWith(shape.spec, Checksum::kComplete);
    Bytes frame = BuildWith(shape.spec, Checksum::kPartial).bytes;
    ASSERT_TRUE(CompleteChecksumAt(frame.data(), frame.size(),
                                   static_cast<uint16_t>(complete.transport),
                                   static_cast<uint16_t>(complete.field - complete.transport)));
    EXPECT_EQ(frame, complete.bytes);
  }
}

TEST(CompleteChecksumAtTest, RefusesWhatIsNotInsideTheFrame) {
  const struct {
    size_t length;
    uint16_t start, offset;
    bool inside;
  } rows[] = {
      {60, 34, 16, true},        {60, 34, 24, true},        {60, 34, 25, false},
      {60, 58, 0, true},         {60, 59, 0, false},        {60, 60, 0, false},
      {60, 61, 0, false},        {60, 0, 58, true},         {60, 0, 0, true},
      {60, 0, 59, false},        {60, 65535, 0, false},     {60, 0, 65535, false},
      {60, 65535, 65535, false}, {60, 40000, 25536, false}, {0, 0, 0, false},
      {1, 0, 0, false},          {2, 0, 0, true},           {60, 33, 5, true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::to_string(row.start) + " + " + std::to_string(row.offset));
    const Bytes before = Pattern(row.length, 1);
    Bytes frame = before;
    frame.shrink_to_fit();
    EXPECT_EQ(CompleteChecksumAt(frame.data(), frame.size(), row.start, row.offset), row.inside);
    for (size_t i = 0; i < row.length; ++i) {
      const size_t field = size_t{row.start} + row.offset;
      if (!row.inside || i < field || i > field + 1) {
        ASSERT_EQ(frame[i], before[i]) << i;
      }
    }
    if (row.inside) {
      EXPECT_NE(frame, before);
    }
  }
}

}  // namespace
}  // namespace vmqd

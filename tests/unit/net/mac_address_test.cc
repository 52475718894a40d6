// MAC addresses as text and as values.
#include "daemon/net/mac_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/hash/hash_testing.h"
#include "tests/support/status_matchers.h"

namespace vmqd {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr MacAddress kMac{{0x52, 0x54, 0x00, 0xab, 0xcd, 0xef}};

TEST(MacAddressTest, ParsesBothSeparatorsAndCases) {
  for (const char* text :
       {"52:54:00:ab:cd:ef", "52-54-00-ab-cd-ef", "52:54:00:AB:CD:EF", "52-54-00-Ab-cD-eF"}) {
    const auto mac = MacAddress::Parse(text);
    ASSERT_THAT(mac, IsOk()) << text;
    EXPECT_EQ(*mac, kMac) << text;
  }
}

TEST(MacAddressTest, RefusesEverythingElseAndNamesIt) {
  for (const std::string text :
       {"", "52", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:01", "52:54:00:ab:cd:e",
        "52:54:00:ab:cd:eff", "5254.00ab.cdef", "525400abcdef", "52:54:00:ab:cd:eg",
        "52:54:00:ab-cd-ef", "52:54:00:ab:cd:ef ", " 52:54:00:ab:cd:ef", "52:54:0:ab:cd:ef:",
        "5:254:00:ab:cd:ef", "-5:-4:-0:ab:cd:ef", "0x:54:00:ab:cd:ef", "52:54:00:ab:cd:\xc3\xa9"}) {
    EXPECT_THAT(MacAddress::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"" + text + "\"")));
  }
}

TEST(MacAddressTest, EscapesWhatATerminalWouldObey) {
  EXPECT_THAT(MacAddress::Parse("\x1b[2J"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"\\x1b[2J\"")));
  EXPECT_THAT(MacAddress::Parse(std::string_view("52:54:00:ab:cd:e\0", 17)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\\x00")));
}

TEST(MacAddressTest, PrintsWhatItParses) {
  EXPECT_EQ(kMac.ToString(), "52:54:00:ab:cd:ef");
  EXPECT_EQ(MacAddress{}.ToString(), "00:00:00:00:00:00");
  EXPECT_EQ(*MacAddress::Parse(kMac.ToString()), kMac);
}

TEST(MacAddressTest, ReadsTheWire) {
  const uint8_t wire[7] = {0x52, 0x54, 0x00, 0xab, 0xcd, 0xef, 0x99};
  EXPECT_EQ(MacAddress::FromWire(wire), kMac);
  EXPECT_EQ(kMac.ToWord(), 0x525400abcdefu);
}

TEST(MacAddressTest, TellsMulticastAndZero) {
  EXPECT_FALSE(kMac.IsMulticast());
  EXPECT_TRUE((MacAddress{{0x01, 0, 0x5e, 0, 0, 1}}).IsMulticast());
  EXPECT_TRUE((MacAddress{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}).IsMulticast());
  EXPECT_TRUE(MacAddress{}.IsZero());
  EXPECT_FALSE((MacAddress{{0, 0, 0, 0, 0, 1}}).IsZero());
}

TEST(MacAddressTest, OrdersByOctetsAndHashes) {
  EXPECT_LT((MacAddress{{0, 0xff}}), (MacAddress{{1, 0}}));
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {MacAddress{}, kMac, MacAddress{{1}}, MacAddress{{0, 0, 0, 0, 0, 1}}}));
}

}  // namespace
}  // namespace vmqd

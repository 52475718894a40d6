// Framing: what is written is found again, at its place only, and no damage is taken for it.
#include "daemon/store/state_record.h"

#include <gtest/gtest.h>

namespace vmqd {
namespace {

TEST(StateRecord, HeaderSaysItsVersion) {
  EXPECT_EQ(StateHeader().size(), kStateHeaderBytes);
  EXPECT_EQ(StateFormatOf(StateHeader()), kStateFormat);
  EXPECT_EQ(StateFormatOf(StateHeader(77)), 77u);
  EXPECT_EQ(StateFormatOf(""), std::nullopt);
}

TEST(StateRecord, NoFlippedBitMakesAnotherVersion) {
  for (size_t bit = 0; bit < 8 * kStateHeaderBytes; ++bit) {
    std::string header = StateHeader();
    header[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_EQ(StateFormatOf(header), std::nullopt) << bit;
  }
}

TEST(StateRecord, IsReadWhereItWasWritten) {
  const std::string file = "1234567" + MakeRecord(7, 42, "what changed");
  const auto record = ReadRecord(file, 7);
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->revision_before, 42u);
  EXPECT_EQ(record->payload, "what changed");
  EXPECT_EQ(record->end, file.size());
  EXPECT_FALSE(ReadRecord("x" + file, 8).has_value()) << "moved to another place";
  EXPECT_FALSE(ReadRecord(file, 6).has_value());
  EXPECT_FALSE(ReadRecord(file, file.size()).has_value());
  EXPECT_FALSE(ReadRecord(file, file.size() + 100).has_value());
}

TEST(StateRecord, NoFlippedBitAndNoCutIsARecord) {
  const std::string file = MakeRecord(0, 3, "payload");
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string damaged = file;
    damaged[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_FALSE(ReadRecord(damaged, 0).has_value()) << bit;
  }
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ReadRecord(file.substr(0, size), 0).has_value()) << size;
  }
}

TEST(StateRecord, FoundBehindDamage) {
  std::string file = MakeRecord(0, 1, "first");
  const size_t second = file.size();
  file += MakeRecord(second, 2, "second");
  file[0] ^= 0x40;  // the length: where the next record begins is not known any longer
  EXPECT_EQ(FindRecord(file, 0), second);
  EXPECT_EQ(FindRecord(file, second + 1), std::nullopt);
  EXPECT_EQ(FindRecord("", 0), std::nullopt);
}

}  // namespace
}  // namespace vmqd

// Files cut at every length and altered at every byte. Whatever is done to them, what comes back is
// a state that there was, and anything but the latest comes with a warning; or the start is
// refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "daemon/store/state_directory.h"
#include "daemon/store/state_record.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/store/sample_history.h"
#include "tests/unit/store/scratch_directory.h"

namespace vmqd {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::vmqd::testing::IsOk;
using ::vmqd::testing::StatusIs;

constexpr uint64_t kLast = 21;

// A directory as it is after kLast changes, with a generation before or without.
class Damage : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    {
      const auto opened = OpenStateDirectory({.path = scratch_.path(), .turn_over_bytes = Early()});
      ASSERT_THAT(opened, IsOk());
      id_ = opened->store->state().state_id;
      while (opened->store->state().revision < kLast) {
        ASSERT_THAT(opened->store->Commit(ChangeAt(opened->store->state().revision + 1)), IsOk());
      }
    }
    files_ = scratch_.All();
    newest_ = files_.contains("state.2") ? "state.2" : "state.1";
    ASSERT_EQ(files_.contains("state.2"), GetParam());
    for (uint64_t i = 0; i <= kLast; ++i) states_.push_back(StateAt(i, id_));
  }

  // So early that there are some changes in each of two files.
  size_t Early() const { return GetParam() ? 1800 : size_t{1} << 20; }

  struct Outcome {
    bool refused = false;
    uint64_t revision = 0;
    std::vector<std::string> warnings;
  };
  // Starts on the directory with one file replaced, twice: what the first start says, and that the
  // second finds the same state and nothing to complain of.
  Outcome Start(const std::string& name, const std::string& bytes) {
    auto files = files_;
    files[name] = bytes;
    scratch_.Become(files);
    auto opened = OpenStateDirectory({.path = scratch_.path()});
    if (!opened.ok()) {
      EXPECT_THAT(opened.status(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("Restore")));
      EXPECT_EQ(scratch_.Read(name), bytes) << "a refusal changes nothing";
      return {.refused = true};
    }
    const DesiredState state = opened->store->state();
    EXPECT_LT(state.revision, states_.size());
    EXPECT_EQ(state, states_[std::min<size_t>(state.revision, kLast)]) << "an invented state";
    Outcome outcome{.revision = state.revision, .warnings = opened->warnings};
    if (!outcome.warnings.empty()) {
      EXPECT_EQ(scratch_.Read(name + ".damaged"), bytes);
    }

    opened->store.reset();
    opened = OpenStateDirectory({.path = scratch_.path()});
    EXPECT_THAT(opened, IsOk());
    if (!opened.ok()) return outcome;
    EXPECT_EQ(opened->store->state(), state);
    EXPECT_THAT(opened->warnings, IsEmpty());
    EXPECT_THAT(opened->store->Commit(ChangeAt(state.revision + 1)), IsOk());
    return outcome;
  }

  void Expect(const Outcome& outcome, bool may_be_refused) {
    if (outcome.refused) {
      EXPECT_TRUE(may_be_refused);
      return;
    }
    EXPECT_THAT(outcome.warnings, Not(IsEmpty()));
    const bool says_lost = std::any_of(
        outcome.warnings.begin(), outcome.warnings.end(),
        [](const std::string& warning) { return warning.find("LOST") != std::string::npos; });
    EXPECT_TRUE(says_lost || outcome.revision == kLast);
  }

  ScratchDirectory scratch_;
  std::string id_;
  ScratchDirectory::Files files_;
  std::string newest_;
  std::vector<DesiredState> states_;
};

TEST_P(Damage, CutAtEveryLength) {
  const std::string bytes = files_[newest_];
  for (size_t size = 0; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    Expect(Start(newest_, bytes.substr(0, size)), !GetParam());
    if (HasFailure()) return;
  }
}

TEST_P(Damage, EveryByteAltered) {
  const std::string bytes = files_[newest_];
  for (size_t place = 0; place < bytes.size(); ++place) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      SCOPED_TRACE(::testing::Message() << place << " ^ " << mask);
      std::string altered = bytes;
      altered[place] = static_cast<char>(altered[place] ^ mask);
      Expect(Start(newest_, altered), !GetParam());
      if (HasFailure()) return;
    }
  }
}

TEST_P(Damage, ZeroesFromEveryByteOn) {
  const std::string bytes = files_[newest_];
  for (size_t place = 0; place < bytes.size(); ++place) {
    SCOPED_TRACE(place);
    std::string altered = bytes;
    std::fill(altered.begin() + static_cast<ptrdiff_t>(place), altered.end(), '\0');
    if (altered != bytes) Expect(Start(newest_, altered), !GetParam());
    if (HasFailure()) return;
  }
}

TEST_P(Damage, BytesBehindTheEnd) {
  const Outcome outcome = Start(newest_, files_[newest_] + "more");
  EXPECT_EQ(outcome.revision, kLast);
  EXPECT_THAT(outcome.warnings, Not(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(, Damage, ::testing::Bool(), [](const auto& generation_before) {
  return generation_before.param ? "WithGenerationBefore" : "Alone";
});

using DamageOfTwo = Damage;

// The generation before is only read when it is needed.
TEST_P(DamageOfTwo, OlderFileDoesNotMatter) {
  const std::string bytes = files_["state.1"];
  for (size_t place = 0; place < bytes.size(); place += 7) {
    std::string altered = bytes;
    altered[place] = static_cast<char>(altered[place] ^ 0x10);
    const Outcome outcome = Start("state.1", altered);
    ASSERT_EQ(outcome.revision, kLast) << place;
    ASSERT_THAT(outcome.warnings, IsEmpty()) << place;
  }
}

TEST_P(DamageOfTwo, DamagedBeginningLosesNothing) {
  std::string altered = files_["state.2"];
  for (const size_t place : {size_t{9}, kStateHeaderBytes + 1, kStateHeaderBytes + 40}) {
    std::string damaged = altered;
    damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
    const Outcome outcome = Start("state.2", damaged);
    EXPECT_EQ(outcome.revision, kLast);
    EXPECT_THAT(outcome.warnings, Contains(HasSubstr("nothing is lost")));
  }
}

// Changes behind a hole were made for a state that is not there any longer.
TEST_P(DamageOfTwo, NothingIsAppliedAcrossAHole) {
  std::string altered = files_["state.2"];
  const size_t first = ReadRecord(altered, kStateHeaderBytes)->end;
  altered[kStateHeaderBytes + 1] ^= 1;
  altered[first + kRecordHeadBytes + 1] ^= 1;
  const Outcome outcome = Start("state.2", altered);
  EXPECT_LT(outcome.revision, kLast - 1);
  EXPECT_THAT(outcome.warnings, Contains(HasSubstr("are LOST")));
}

TEST_P(DamageOfTwo, BothDamagedIsRefused) {
  for (const char* name : {"state.1", "state.2"}) files_[name][kStateHeaderBytes + 4] ^= 1;
  scratch_.Become(files_);
  EXPECT_THAT(OpenStateDirectory({.path = scratch_.path()}),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("state.1"), HasSubstr("state.2"), HasSubstr("snapshot"))));
  EXPECT_EQ(scratch_.All(), files_);
}

TEST_P(DamageOfTwo, LaterChangesBehindDamageAreCounted) {
  std::string altered = files_["state.2"];
  const size_t first = ReadRecord(altered, kStateHeaderBytes)->end;
  altered[first + kRecordHeadBytes + 1] ^= 1;
  const Outcome outcome = Start("state.2", altered);
  ASSERT_LT(outcome.revision, kLast - 1);
  EXPECT_THAT(outcome.warnings,
              Contains(AllOf(HasSubstr("LOST"),
                             HasSubstr(std::to_string(kLast - outcome.revision - 1) + " change"),
                             HasSubstr("revision " + std::to_string(kLast)))));
}

TEST_P(DamageOfTwo, OnlyDamagedFilesLeftIsRefused) {
  scratch_.Become({{"state.3.damaged", "evidence"}});
  EXPECT_THAT(OpenStateDirectory({.path = scratch_.path()}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("state.3.damaged")));
}

INSTANTIATE_TEST_SUITE_P(, DamageOfTwo, ::testing::Values(true),
                         [](const auto&) { return "Files"; });

}  // namespace
}  // namespace vmqd

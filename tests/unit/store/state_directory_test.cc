// What is committed is there after the next start; what cannot be used is refused in words.
#include "daemon/store/state_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/control/error.h"
#include "daemon/store/state_record.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/store/sample_history.h"
#include "tests/unit/store/scratch_directory.h"

namespace vmqd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::vmqd::testing::IsOk;
using ::vmqd::testing::StatusIs;

void CommitUpTo(StateStore& store, uint64_t revision) {
  while (store.state().revision < revision) {
    ASSERT_THAT(store.Commit(ChangeAt(store.state().revision + 1)), IsOk());
  }
}

TEST(StateDirectory, FreshDirectoryBeginsEmpty) {
  const ScratchDirectory scratch;
  const std::string path = scratch / "state";
  std::string id;
  {
    const auto opened = OpenStateDirectory({.path = path});
    ASSERT_THAT(opened, IsOk());
    EXPECT_THAT(opened->warnings, IsEmpty());
    id = opened->store->state().state_id;
    EXPECT_THAT(id, MatchesRegex("[0-9a-f]{16}"));
    EXPECT_EQ(opened->store->state(), DesiredState{.state_id = id});
  }
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  for (const char* file : {"/state.1", "/lock"}) {
    ASSERT_EQ(stat((path + file).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u) << file;
  }
  const auto again = OpenStateDirectory({.path = path});
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->store->state().state_id, id);
  const auto other = OpenStateDirectory({.path = scratch / "other"});
  ASSERT_THAT(other, IsOk());
  EXPECT_NE(other->store->state().state_id, id);
}

TEST(StateDirectory, CommittedIsThereAfterEveryStart) {
  const ScratchDirectory scratch;
  for (uint64_t revision = 1; revision <= 100; ++revision) {
    const auto opened = OpenStateDirectory({.path = scratch.path()});
    ASSERT_THAT(opened, IsOk());
    EXPECT_THAT(opened->warnings, IsEmpty());
    const std::string id = opened->store->state().state_id;
    ASSERT_EQ(opened->store->state(), StateAt(revision - 1, id));
    ASSERT_THAT(opened->store->Commit(ChangeAt(revision)), IsOk());
    ASSERT_EQ(opened->store->state(), StateAt(revision, id));
  }
}

TEST(StateDirectory, TurnsOverAndKeepsOneGenerationBefore) {
  const ScratchDirectory scratch;
  std::string id;
  {
    const auto opened = OpenStateDirectory({.path = scratch.path(), .turn_over_bytes = 4096});
    ASSERT_THAT(opened, IsOk());
    id = opened->store->state().state_id;
    CommitUpTo(*opened->store, 2000);
  }
  std::vector<std::string> names;
  for (const auto& [name, bytes] : scratch.All()) names.push_back(name);
  ASSERT_EQ(names.size(), 3u) << ::testing::PrintToString(names);
  EXPECT_FALSE(scratch.Has("state.1"));
  const auto again = OpenStateDirectory({.path = scratch.path()});
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(again->warnings, IsEmpty());
  EXPECT_EQ(again->store->state(), StateAt(2000, id));
}

TEST(StateDirectory, ChangesThatCouldNotBeReadBackAreNotWritten) {
  const ScratchDirectory scratch;
  const auto opened = OpenStateDirectory({.path = scratch.path()});
  ASSERT_THAT(opened, IsOk());
  StateStore& store = *opened->store;
  CommitUpTo(store, 5);
  const DesiredState before = store.state();
  const auto files = scratch.All();

  StateChange bad = ChangeAt(3);
  EXPECT_THAT(store.Commit(bad), StatusIs(absl::StatusCode::kInternal, HasSubstr("revision 3")));
  bad.revision = 6;
  std::get<DesiredPort>(bad.put).config.peer_device = "";
  const absl::Status status = store.Commit(bad);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("port.peer_device")));
  EXPECT_EQ(RefusalOf(status).reason, "STATE_NOT_WRITTEN");
  EXPECT_FALSE(store.Commit({.revision = 6, .boot_id = "\xff"}).ok()) << "not UTF-8";
  EXPECT_FALSE(store.Commit({.revision = 6, .deleted_uplink = "a", .deleted_port = "b"}).ok());

  EXPECT_EQ(store.state(), before);
  EXPECT_EQ(scratch.All(), files);
  EXPECT_THAT(store.Commit(ChangeAt(6)), IsOk());
}

TEST(StateDirectory, SecondDaemonIsRefused) {
  const ScratchDirectory scratch;
  auto opened = OpenStateDirectory({.path = scratch.path()});
  ASSERT_THAT(opened, IsOk());
  EXPECT_THAT(
      OpenStateDirectory({.path = scratch.path()}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr(scratch.path()), HasSubstr("process " + std::to_string(getpid())))));
  opened->store.reset();
  EXPECT_THAT(OpenStateDirectory({.path = scratch.path()}), IsOk());
}

TEST(StateDirectory, UnusableDirectoriesAreNamed) {
  const ScratchDirectory scratch;
  scratch.Write("file", "");
  EXPECT_THAT(OpenStateDirectory({.path = scratch / "file"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is not a directory")));
  EXPECT_THAT(
      OpenStateDirectory({.path = scratch / "a/b"}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("make the directory above it")));
  EXPECT_THAT(OpenStateDirectory({.path = ""}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no path")));
  EXPECT_THAT(OpenStateDirectory({.path = "/proc/self"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cannot be written")));
}

TEST(StateDirectory, NewerFormatIsRefusedAndLeftAlone) {
  const ScratchDirectory scratch;
  { CommitUpTo(*OpenStateDirectory({.path = scratch.path()})->store, 3); }
  scratch.Write("state.2", StateHeader(kStateFormat + 1) + "whatever");
  const auto files = scratch.All();
  EXPECT_THAT(OpenStateDirectory({.path = scratch.path()}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("state.2"), HasSubstr("format 2"), HasSubstr("Restore"))));
  EXPECT_EQ(scratch.All(), files);
}

// A record that is undamaged and yet makes no sense was put there by another version, not by the
// disk: going back to an older state would be wrong.
TEST(StateDirectory, UndamagedRecordThatIsNotAcceptedIsRefused) {
  const ScratchDirectory scratch;
  { CommitUpTo(*OpenStateDirectory({.path = scratch.path()})->store, 3); }
  std::string file = scratch.Read("state.1");
  file.resize(file.size() - kRecordHeadBytes);
  file += MakeRecord(file.size(), 3, "\x08\x04\x22\x01?");  // revision 4, deleted "?"
  scratch.Write("state.1", file);
  EXPECT_THAT(OpenStateDirectory({.path = scratch.path()}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("undamaged"), HasSubstr("deleted"))));
}

TEST(StateDirectory, LeftoversOfAnUnfinishedWriteAreIgnoredAndRemoved) {
  const ScratchDirectory scratch;
  scratch.Write("state.1.tmp", "half");
  std::string id;
  {
    const auto opened = OpenStateDirectory({.path = scratch.path()});
    ASSERT_THAT(opened, IsOk());
    id = opened->store->state().state_id;
    CommitUpTo(*opened->store, 3);
  }
  scratch.Write("state.2.tmp", "half");
  scratch.Write("notes.txt", "somebody else's");
  const auto again = OpenStateDirectory({.path = scratch.path()});
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(again->warnings, IsEmpty());
  EXPECT_EQ(again->store->state(), StateAt(3, id));
  EXPECT_FALSE(scratch.Has("state.2.tmp"));
  EXPECT_TRUE(scratch.Has("notes.txt"));
}

}  // namespace
}  // namespace vmqd

// A full disk fails the call and nothing else. Root: a small tmpfs in a mount namespace of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "daemon/control/error.h"
#include "daemon/store/state_directory.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/store/sample_history.h"
#include "tests/unit/store/scratch_directory.h"

namespace vmqd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::vmqd::testing::IsOk;
using ::vmqd::testing::StatusIs;

constexpr size_t kDiskBytes = size_t{256} << 10;

class DiskFull : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to mount a small disk";
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      GTEST_SKIP() << "no mount namespace could be made: " << std::strerror(errno);
    }
    ASSERT_EQ(mount("vmqd-test", scratch_.path().c_str(), "tmpfs", 0,
                    ("size=" + std::to_string(kDiskBytes)).c_str()),
              0);
  }
  void TearDown() override { umount2(scratch_.path().c_str(), MNT_DETACH); }

  void FillDisk() { scratch_.Write("ballast", std::string(2 * kDiskBytes, 'x')); }
  void FreeDisk() { std::filesystem::remove(scratch_ / "ballast"); }

  // Commits until one fails; that one's status.
  absl::Status CommitUntilFull(StateStore& store) {
    for (int i = 0; i < 1000; ++i) {
      if (auto status = store.Commit(ChangeAt(store.state().revision + 1)); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  const ScratchDirectory scratch_;
};

TEST_F(DiskFull, CommitIsRefusedAndWorksAgain) {
  std::string id;
  uint64_t acknowledged = 0;
  {
    const auto opened = OpenStateDirectory({.path = scratch_.path()});
    ASSERT_THAT(opened, IsOk());
    StateStore& store = *opened->store;
    id = store.state().state_id;
    for (int round = 0; round < 3; ++round) {
      FillDisk();
      const absl::Status status = CommitUntilFull(store);
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                                   AllOf(HasSubstr(scratch_.path()), HasSubstr("bytes are needed"),
                                         HasSubstr("make room"))));
      EXPECT_EQ(RefusalOf(status).reason, "DISK_FULL");
      EXPECT_EQ(store.state(), StateAt(store.state().revision, id));
      EXPECT_EQ(CommitUntilFull(store).code(), absl::StatusCode::kResourceExhausted);
      FreeDisk();
      for (int i = 0; i < 20; ++i) {
        ASSERT_THAT(store.Commit(ChangeAt(store.state().revision + 1)), IsOk());
      }
    }
    FillDisk();
    EXPECT_FALSE(CommitUntilFull(store).ok());
    acknowledged = store.state().revision;
  }
  const auto again = OpenStateDirectory({.path = scratch_.path()});
  ASSERT_THAT(again, IsOk()) << "a full disk does not keep a daemon from starting";
  EXPECT_EQ(again->store->state(), StateAt(acknowledged, id));
  EXPECT_TRUE(again->warnings.empty()) << again->warnings.front();
}

// Where there is no room to write the file anew, changes go on into the old one.
TEST_F(DiskFull, TurnoverThatFailsFailsNobody) {
  std::string id;
  uint64_t acknowledged = 0;
  {
    const auto opened = OpenStateDirectory({.path = scratch_.path(), .turn_over_bytes = 16384});
    ASSERT_THAT(opened, IsOk());
    StateStore& store = *opened->store;
    id = store.state().state_id;
    while (scratch_.Read("state.1").size() < 16000) {
      ASSERT_THAT(store.Commit(ChangeAt(store.state().revision + 1)), IsOk());
    }
    FillDisk();
    // One page, which the file being appended to gets and the new one needs more than.
    std::filesystem::resize_file(
        scratch_ / "ballast",
        std::filesystem::file_size(scratch_ / "ballast") / 4096 * 4096 - 4096);
    for (int i = 0; i < 5; ++i) {
      ASSERT_THAT(store.Commit(ChangeAt(store.state().revision + 1)), IsOk());
    }
    EXPECT_FALSE(scratch_.Has("state.2"));
    EXPECT_FALSE(scratch_.Has("state.2.tmp"));
    FreeDisk();
    for (int i = 0; i < 100; ++i) {
      ASSERT_THAT(store.Commit(ChangeAt(store.state().revision + 1)), IsOk());
    }
    EXPECT_TRUE(scratch_.Has("state.2")) << "it is tried again";
    acknowledged = store.state().revision;
  }
  const auto again = OpenStateDirectory({.path = scratch_.path()});
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->store->state(), StateAt(acknowledged, id));
}

// A damaged file on a full disk: what can be read is served, the damaged file stays until there is
// room to write a good one beside it.
TEST_F(DiskFull, DamageOnAFullDisk) {
  std::string id;
  {
    const auto opened = OpenStateDirectory({.path = scratch_.path()});
    ASSERT_THAT(opened, IsOk());
    id = opened->store->state().state_id;
    for (int i = 0; i < 30; ++i) {
      ASSERT_THAT(opened->store->Commit(ChangeAt(opened->store->state().revision + 1)), IsOk());
    }
  }
  const std::string damaged = scratch_.Read("state.1").substr(0, 4000);
  scratch_.Write("state.1", damaged);
  FillDisk();
  const auto opened = OpenStateDirectory({.path = scratch_.path()});
  ASSERT_THAT(opened, IsOk());
  StateStore& store = *opened->store;
  const uint64_t revision = store.state().revision;
  EXPECT_GT(revision, 10u);
  EXPECT_EQ(store.state(), StateAt(revision, id));
  EXPECT_EQ(opened->warnings.size(), 2u);
  EXPECT_EQ(scratch_.Read("state.1"), damaged);
  EXPECT_EQ(store.Commit(ChangeAt(revision + 1)).code(), absl::StatusCode::kResourceExhausted);
  FreeDisk();
  EXPECT_THAT(store.Commit(ChangeAt(revision + 1)), IsOk());
  EXPECT_TRUE(scratch_.Has("state.2"));
  EXPECT_EQ(scratch_.Read("state.1"), damaged);
}

}  // namespace
}  // namespace vmqd

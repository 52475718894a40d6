// The daemon dies, or the disk fails, at every single step of writing; and at random moments. What
// was acknowledged is there afterwards, and nothing that was never asked for.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "daemon/store/state_directory.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/store/sample_history.h"
#include "tests/unit/store/scratch_directory.h"
#include "tests/unit/store/syscall_gate.h"

namespace vmqd {
namespace {

using ::vmqd::testing::IsOk;

constexpr size_t kEarly = 2000;  // bytes at which a file is written anew
constexpr int kChanges = 25;     // a child makes; enough for two generations
constexpr uint64_t kGenerations = 3;

// Commits what comes next, `changes` times, and reports a byte for each: acknowledged or not. After
// a failure the same change is tried again, as a caller would. A first byte tells of the start.
int Work(const std::string& path, int changes, int report) {
  auto opened = OpenStateDirectory({.path = path, .turn_over_bytes = kEarly});
  if (write(report, opened.ok() ? "o" : "x", 1) != 1) return 1;
  if (!opened.ok()) opened = OpenStateDirectory({.path = path, .turn_over_bytes = kEarly});
  if (!opened.ok()) return 2;
  StateStore& store = *opened->store;
  for (int i = 0; i < changes; ++i) {
    const bool acknowledged = store.Commit(ChangeAt(store.state().revision + 1)).ok();
    if (write(report, acknowledged ? "+" : "-", 1) != 1) return 3;
  }
  return 0;
}

// The revision found, if the state is the one of that revision.
uint64_t Recovered(const std::string& path) {
  const auto opened = OpenStateDirectory({.path = path, .turn_over_bytes = kEarly});
  EXPECT_THAT(opened, IsOk());
  if (!opened.ok()) return ~uint64_t{0};
  const DesiredState& state = opened->store->state();
  EXPECT_EQ(state, StateAt(state.revision, state.state_id));
  return state.revision;
}

uint64_t Acknowledged(const std::string& said) {
  return static_cast<uint64_t>(std::count(said.begin(), said.end(), '+'));
}

enum class Beginning { kFresh, kTornTail, kDamagedSnapshot };

class EveryStep : public ::testing::TestWithParam<Beginning> {
 protected:
  void SetUp() override {
    if (GetParam() == Beginning::kFresh) return;
    ASSERT_EQ(Work(scratch_.path(), 20, open("/dev/null", O_WRONLY | O_CLOEXEC)), 0);
    ASSERT_TRUE(scratch_.Has("state.2"));
    std::string bytes = scratch_.Read("state.2");
    if (GetParam() == Beginning::kTornTail) {
      bytes.resize(bytes.size() - 3);
    } else {
      bytes[40] ^= 1;
    }
    scratch_.Write("state.2", bytes);
    files_ = scratch_.All();
    before_ = Recovered(scratch_.path());
    ASSERT_EQ(before_, 20u) << "neither damage loses anything";
  }

  // Runs Work with `verdict` from the same beginning every time; false: the gate cannot be made.
  bool Run(const std::function<GateVerdict(int, long)>& verdict) {
    scratch_.Become(files_);
    result_ = RunBehindGate([this](int report) { return Work(scratch_.path(), kChanges, report); },
                            verdict);
    return result_.unavailable.empty();
  }

  const ScratchDirectory scratch_;
  ScratchDirectory::Files files_;
  uint64_t before_ = 0;
  GateResult result_;
};

TEST_P(EveryStep, Killed) {
  int step = 1;
  for (;; ++step) {
    SCOPED_TRACE(::testing::Message() << "killed before call " << step);
    const bool made = Run([step](int number, long) {
      return GateVerdict{number == step ? GateVerdict::What::kKill : GateVerdict::What::kGoOn};
    });
    if (!made) GTEST_SKIP() << "this kernel has no such gate: " << result_.unavailable;
    const uint64_t acknowledged = before_ + Acknowledged(result_.said);
    const uint64_t recovered = Recovered(scratch_.path());
    ASSERT_FALSE(HasFailure());
    if (!result_.killed) {
      ASSERT_EQ(result_.exit_code, 0);
      ASSERT_EQ(recovered, before_ + kChanges);
      break;
    }
    ASSERT_GE(recovered, acknowledged);
    ASSERT_LE(recovered, acknowledged + 1);
  }
  EXPECT_GT(step, 2 * kChanges + 3 * static_cast<int>(kGenerations)) << "the gate sees the calls";
}

class EveryStepFails : public EveryStep {
 protected:
  void FailEach(int error) {
    bool failed = true;
    for (int step = 1; failed; ++step) {
      SCOPED_TRACE(::testing::Message() << "call " << step << ": errno " << error);
      failed = false;
      const bool made = Run([&](int number, long) -> GateVerdict {
        if (number != step) return {};
        failed = true;
        return {GateVerdict::What::kFail, error};
      });
      if (!made) GTEST_SKIP() << "this kernel has no such gate: " << result_.unavailable;
      ASSERT_EQ(result_.exit_code, 0) << "one failed call is not the end";
      ASSERT_LE(std::count(result_.said.begin(), result_.said.end(), '-'), 1);
      const uint64_t acknowledged = before_ + Acknowledged(result_.said);
      const uint64_t recovered = Recovered(scratch_.path());
      ASSERT_FALSE(HasFailure());
      // The last change, when its failure is the failure to make its success durable.
      const uint64_t uncertain = result_.said.back() == '-' ? 1 : 0;
      ASSERT_GE(recovered, acknowledged);
      ASSERT_LE(recovered, acknowledged + uncertain);
    }
  }
};

TEST_P(EveryStepFails, DiskFull) { FailEach(ENOSPC); }
TEST_P(EveryStepFails, InputOutputError) { FailEach(EIO); }

// The disk fails for good in the middle: every later change is refused, nothing is lost.
TEST_P(EveryStepFails, FromThereOn) {
  for (int step = 1; step < 200; step += 3) {
    SCOPED_TRACE(step);
    const bool made = Run([step](int number, long) -> GateVerdict {
      if (number < step) return {};
      return {GateVerdict::What::kFail, EIO};
    });
    if (!made) GTEST_SKIP() << "this kernel has no such gate: " << result_.unavailable;
    if (result_.exit_code == 2) continue;  // no start at all
    ASSERT_EQ(result_.exit_code, 0);
    const size_t refused = result_.said.find('-');
    if (refused != std::string::npos) {
      ASSERT_EQ(result_.said.find('+', refused), std::string::npos);
    }
    const uint64_t acknowledged = before_ + Acknowledged(result_.said);
    const uint64_t recovered = Recovered(scratch_.path());
    ASSERT_FALSE(HasFailure());
    ASSERT_GE(recovered, acknowledged);
    ASSERT_LE(recovered, acknowledged + 1);
  }
}

std::string NameOf(const ::testing::TestParamInfo<Beginning>& info) {
  switch (info.param) {
    case Beginning::kFresh:
      return "Fresh";
    case Beginning::kTornTail:
      return "TornTail";
    case Beginning::kDamagedSnapshot:
      return "DamagedSnapshot";
  }
  return "";
}
const auto kBeginnings =
    ::testing::Values(Beginning::kFresh, Beginning::kTornTail, Beginning::kDamagedSnapshot);
INSTANTIATE_TEST_SUITE_P(, EveryStep, kBeginnings, NameOf);
INSTANTIATE_TEST_SUITE_P(, EveryStepFails, kBeginnings, NameOf);

// What a power failure needs, as nothing here can take the power away: what is written is synced
// before anything is built on it, and a name before its file is relied on.
TEST(Order, EveryStepIsDurableBeforeTheNext) {
  const ScratchDirectory scratch;
  std::string calls;
  const GateResult result = RunBehindGate(
      [&scratch](int) {
        auto opened = OpenStateDirectory({.path = scratch.path(), .turn_over_bytes = 150});
        if (!opened.ok()) return 1;
        for (uint64_t revision = 1; revision <= 2; ++revision) {
          if (!opened->store->Commit(ChangeAt(revision)).ok()) return 2;
        }
        opened->store.reset();
        return OpenStateDirectory({.path = scratch.path()}).ok() ? 0 : 3;
      },
      [&calls](int, long call) {
        calls += call == SYS_openat      ? "make "
                 : call == SYS_pwrite64  ? "write "
                 : call == SYS_fsync     ? "sync "
                 : call == SYS_fdatasync ? "datasync "
                 : call == SYS_ftruncate ? "cut "
                 : call == SYS_unlinkat  ? "remove "
                                         : "rename ";
        return GateVerdict{};
      });
  if (!result.unavailable.empty()) GTEST_SKIP() << "this kernel has no such gate";
  ASSERT_EQ(result.exit_code, 0);
  const std::string lock = "make cut write ", file = "make write sync rename sync ";
  const std::string change = "write datasync ", take_up = "sync sync ";
  EXPECT_EQ(calls, lock + file + change + change + file + lock + take_up);
}

// The kernel tells of a failed write-back once: what the next sync says of that file means nothing.
TEST(Order, FileIsNotTrustedAfterAFailedSync) {
  const ScratchDirectory scratch;
  bool failed = false;
  const GateResult result = RunBehindGate(
      [&scratch](int) {
        const auto opened = OpenStateDirectory({.path = scratch.path()});
        if (!opened.ok() || opened->store->Commit(ChangeAt(1)).ok()) return 1;
        return opened->store->Commit(ChangeAt(1)).ok() ? 0 : 2;
      },
      [&failed](int, long call) -> GateVerdict {
        if (failed || call != SYS_fdatasync) return {};
        failed = true;
        return {GateVerdict::What::kFail, EIO};
      });
  if (!result.unavailable.empty()) GTEST_SKIP() << "this kernel has no such gate";
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_TRUE(scratch.Has("state.2")) << "the change went into the same file";
  EXPECT_EQ(Recovered(scratch.path()), 1u);
}

// On a real disk, by kill -9, at whatever moment it happens to be.
TEST(RandomMoments, TwoHundredKills) {
  const ScratchDirectory scratch(::testing::TempDir());
  std::minstd_rand random(std::random_device{}());
  uint64_t revision = 0;
  uint64_t acknowledged_in_all = 0;
  for (int round = 0; round < 200; ++round) {
    int report[2];
    ASSERT_EQ(pipe(report), 0);
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      close(report[0]);
      _exit(Work(scratch.path(), 1000000, report[1]));
    }
    close(report[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30000));
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it had an end of its own: " << status;
    std::string said;
    char bytes[4096];
    for (ssize_t size; (size = read(report[0], bytes, sizeof(bytes))) > 0;) {
      said.append(bytes, static_cast<size_t>(size));
    }
    close(report[0]);
    ASSERT_EQ(said.find('-'), std::string::npos);
    const uint64_t recovered = Recovered(scratch.path());
    ASSERT_FALSE(HasFailure()) << "round " << round;
    ASSERT_GE(recovered, revision + Acknowledged(said));
    ASSERT_LE(recovered, revision + Acknowledged(said) + 1);
    revision = recovered;
    acknowledged_in_all += Acknowledged(said);
  }
  EXPECT_GT(acknowledged_in_all, 200u) << "killed too early to tell anything";
}

}  // namespace
}  // namespace vmqd

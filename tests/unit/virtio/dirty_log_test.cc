// The bitmap of a live migration: which bits are set, and that none beyond it ever is.
#include "daemon/virtio/dirty_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <vector>

#include "daemon/virtio/guest_memory.h"
#include "tests/unit/virtio/ring_fixture.h"

namespace vmqd {
namespace {

using testing::DriverConfig;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RingFixture;
using testing::StatusIs;
using testing::TestMemory;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

class DirtyLogTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kFile = 2 * kPage, kOffset = 128, kSize = 1280;

  DirtyLogTest() : fd_(memfd_create("log", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, kFile), 0);
    file_ = static_cast<uint8_t*>(mmap(nullptr, kFile, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    auto log = DirtyLog::Map(UniqueFd(dup(fd_)), kSize, kOffset);
    EXPECT_THAT(log, IsOk());
    log_ = *std::move(log);
  }
  ~DirtyLogTest() override {
    munmap(file_, kFile);
    close(fd_);
  }

  // Numbers of the pages that are noted; then none is any more.
  std::vector<uint64_t> Pages() {
    std::vector<uint64_t> pages;
    for (uint64_t i = 0; i < kFile; ++i) {
      if (file_[i] != 0 && (i < kOffset || i >= kOffset + kSize)) ADD_FAILURE() << "outside: " << i;
      for (uint64_t bit = 0; bit < 8; ++bit) {
        if ((file_[i] >> bit & 1) != 0) pages.push_back((i - kOffset) * 8 + bit);
      }
      file_[i] = 0;
    }
    return pages;
  }

  int fd_;
  uint8_t* file_;
  std::unique_ptr<DirtyLog> log_;
};

using PageNumbers = std::vector<uint64_t>;

TEST_F(DirtyLogTest, OneBitForEachPage) {
  log_->Set(0, 1);
  log_->Set(3 * kPage, kPage);
  EXPECT_EQ(Pages(), (PageNumbers{0, 3}));
  log_->Set(kPage - 1, 2);
  EXPECT_EQ(Pages(), (PageNumbers{0, 1}));
  log_->Set(5 * kPage, 0);
  EXPECT_EQ(Pages(), PageNumbers{});
  log_->Set(6 * kPage + 1, 12 * kPage);
  EXPECT_EQ(Pages(), (PageNumbers{6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}));
}

TEST_F(DirtyLogTest, V8NothingIsWrittenBeyondTheLog) {
  log_->Set((kSize * 8 - 1) * kPage, 10 * kPage);
  EXPECT_EQ(Pages(), PageNumbers{kSize * 8 - 1});
  log_->Set(kSize * 8 * kPage, kPage);
  log_->Set(kMax, 1);
  log_->Set(kMax - kPage, kMax);
  EXPECT_EQ(Pages(), PageNumbers{});
}

TEST_F(DirtyLogTest, V8TheLogMustLieInItsFile) {
  const auto map = [this](uint64_t size, uint64_t offset) {
    return DirtyLog::Map(UniqueFd(dup(fd_)), size, offset);
  };
  EXPECT_THAT(map(kFile, 0), IsOk());
  EXPECT_THAT(map(kFile + 1, 0), StatusIs(kInvalid, HasSubstr("beyond")));
  EXPECT_THAT(map(kFile, 1), StatusIs(kInvalid, HasSubstr("beyond")));
  EXPECT_THAT(map(kMax, kPage), StatusIs(kInvalid, HasSubstr("beyond")));
  EXPECT_THAT(map(kPage, kMax - kPage + 1), StatusIs(kInvalid, HasSubstr("beyond")));
  EXPECT_THAT(map(0, 0), StatusIs(kInvalid, HasSubstr("no bytes")));
  EXPECT_THAT(DirtyLog::Map(UniqueFd(), 1, 0), StatusIs(kInvalid, HasSubstr("")));
}

TEST_F(DirtyLogTest, V8ALogCutShortIsNoHarm) {
  GuardGuestMemory();
  ASSERT_EQ(ftruncate(fd_, 0), 0);
  log_->Set(0, kPage);
}

TEST_F(DirtyLogTest, MemoryNotesGuestAddresses) {
  const TestMemory guest({{16 * kPage, 2 * kPage}, {32 * kPage, kPage}});
  const auto memory = guest.Lend();
  GuestSpan span;
  uint32_t count = 0;
  ASSERT_TRUE(memory->Gather(17 * kPage - 1, 2, &span, &count, 1));
  memory->Log(*log_, span);
  EXPECT_EQ(Pages(), (PageNumbers{16, 17}));
  memory->LogRing(*log_, memory->Ring(TestMemory::User(32 * kPage + 64), 8, 8), 8);
  EXPECT_EQ(Pages(), PageNumbers{32});
  memory->LogRing(*log_, &count, sizeof(count));
  EXPECT_EQ(Pages(), PageNumbers{});
}

// Everything that a queue writes by itself is noted; what the worker writes it notes itself.
TEST_F(DirtyLogTest, QueuesNoteTheirRings) {
  for (const bool packed : {false, true}) {
    RingFixture ring({.use = RingUse::kWrites, .packed = packed, .size = 512}, log_.get());
    Pages();
    const uint64_t device_page = (ring.driver.ForDevice().device - TestMemory::kUserBase) / kPage;
    ring.queue->WantKicks(false);
    EXPECT_EQ(Pages(), PageNumbers{device_page});
    const uint64_t used_page = packed ? 0 : device_page;
    ring.driver.Add({{RingFixture::kData, 100}});
    ASSERT_EQ(ring.Take(), 1u);
    EXPECT_EQ(Pages(), PageNumbers{});
    ring.queue->LogWritten(ring.batch->spans[0].Part(0, 10));
    EXPECT_EQ(Pages(), PageNumbers{RingFixture::kData / kPage});
    ring.batch->chains[0].written = 10;
    ring.queue->Use(ring.batch->chains.data(), 1);
    EXPECT_EQ(Pages(), PageNumbers{used_page});
  }
}

}  // namespace
}  // namespace vmqd

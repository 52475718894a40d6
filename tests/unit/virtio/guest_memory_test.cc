// Regions against the files they claim to be, translation at every border, and files that are cut
// short under us. V numbers are those of the list of threats.
#include "daemon/virtio/guest_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

#include "tests/support/status_matchers.h"
#include "tests/support/test_driver.h"

namespace vmqd {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TestMemory;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

UniqueFd MemoryFileOf(uint64_t size) {
  UniqueFd fd(memfd_create("region", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

absl::StatusOr<std::shared_ptr<const GuestMemory>> Map(const MemoryRegion& region, uint64_t file) {
  return GuestMemory().With(region, MemoryFileOf(file));
}

// Sizes of what [address, address + size) is made of; empty if it is not.
std::vector<uint32_t> Pieces(const GuestMemory& memory, uint64_t address, uint32_t size,
                             uint32_t max = 8) {
  std::array<GuestSpan, 8> spans;
  uint32_t count = 0;
  if (!memory.Gather(address, size, spans.data(), &count, max)) {
    EXPECT_EQ(count, 0u);
    return {};
  }
  std::vector<uint32_t> sizes;
  for (uint32_t i = 0; i < count; ++i) sizes.push_back(spans[i].size());
  return sizes;
}

using Sizes = std::vector<uint32_t>;

TEST(GuestMemoryTest, V1AddressAndLengthAreTranslatedTogether) {
  const TestMemory guest({{0x1000, kPage}, {0x2000, 2 * kPage}, {0x8000, kPage}});
  const auto memory = guest.Lend();
  EXPECT_EQ(Pieces(*memory, 0x1000, kPage), Sizes{kPage});
  EXPECT_EQ(Pieces(*memory, 0x1ff0, 0x20), (Sizes{0x10, 0x10}));
  EXPECT_EQ(Pieces(*memory, 0x1000, 3 * kPage), (Sizes{kPage, 2 * kPage}));
  EXPECT_EQ(Pieces(*memory, 0x1000, 3 * kPage + 1), Sizes{});
  EXPECT_EQ(Pieces(*memory, 0x3fff, 1), Sizes{1});
  EXPECT_EQ(Pieces(*memory, 0x3fff, 2), Sizes{});
  EXPECT_EQ(Pieces(*memory, 0x0fff, 2), Sizes{});
  EXPECT_EQ(Pieces(*memory, 0x9000, 1), Sizes{});
  EXPECT_EQ(Pieces(*memory, 0x1000, 0), Sizes{});
  EXPECT_EQ(Pieces(*memory, 0x1ff0, 0x20, 1), Sizes{}) << "no room for the second";
  EXPECT_EQ(Pieces(GuestMemory(), 0, 1), Sizes{});
}

TEST(GuestMemoryTest, WhatIsGatheredAreTheGuestsBytes) {
  const TestMemory guest({{0x1000, kPage}, {0x2000, kPage}});
  std::memcpy(guest.At(0x1ffc), "left", 4);
  std::memcpy(guest.At(0x2000), "right", 5);
  const auto memory = guest.Lend();
  std::array<GuestSpan, 2> spans;
  uint32_t count = 0;
  ASSERT_TRUE(memory->Gather(0x1ffc, 9, spans.data(), &count, 2));
  std::array<char, 9> bytes;
  spans[0].CopyTo(reinterpret_cast<uint8_t*>(bytes.data()));
  spans[1].CopyTo(reinterpret_cast<uint8_t*>(bytes.data()) + 4);
  EXPECT_EQ(std::string(bytes.data(), 9), "leftright");
}

TEST(GuestMemoryTest, ManyRegionsAreFoundAsFewAre) {
  std::vector<std::pair<uint64_t, uint64_t>> regions;
  for (uint64_t i = 0; i < GuestMemory::kMaxRegions; ++i)
    regions.emplace_back(2 * i * kPage, kPage);
  const TestMemory guest(regions);
  const auto memory = guest.Lend();
  EXPECT_EQ(memory->regions(), GuestMemory::kMaxRegions);
  EXPECT_EQ(memory->bytes(), GuestMemory::kMaxRegions * kPage);
  for (uint64_t i = 0; i < GuestMemory::kMaxRegions; ++i) {
    *guest.At(2 * i * kPage + 5) = static_cast<uint8_t>(i);
    GuestSpan span;
    uint32_t count = 0;
    ASSERT_TRUE(memory->Gather(2 * i * kPage + 5, 1, &span, &count, 1));
    uint8_t byte = 0xff;
    span.CopyTo(&byte);
    EXPECT_EQ(byte, i);
    EXPECT_EQ(Pieces(*memory, (2 * i + 1) * kPage, 1), Sizes{});
    EXPECT_EQ(Pieces(*memory, 2 * i * kPage, kPage + 1), Sizes{});
  }
}

TEST(GuestMemoryTest, V2NothingWraps) {
  EXPECT_THAT(Map({kMax - kPage + 1, 2 * kPage, 0, 0}, 2 * kPage),
              StatusIs(kInvalid, HasSubstr("64-bit")));
  EXPECT_THAT(Map({0, 2 * kPage, kMax - kPage + 1, 0}, 2 * kPage),
              StatusIs(kInvalid, HasSubstr("64-bit")));
  EXPECT_THAT(Map({0, kPage, 0, kMax - kPage + 1}, kPage),
              StatusIs(kInvalid, HasSubstr("beyond the end of its file")));
  EXPECT_THAT(Map({0, kMax - kPage + 1, 0, kPage}, 2 * kPage),
              StatusIs(kInvalid, HasSubstr("beyond the end of its file")));

  const TestMemory guest({{kMax - 2 * kPage + 1 - kPage, 2 * kPage}});
  const auto memory = guest.Lend();
  EXPECT_EQ(Pieces(*memory, kMax - kPage, 2), Sizes{});
  EXPECT_EQ(Pieces(*memory, kMax, 1), Sizes{});
  EXPECT_EQ(Pieces(*memory, kMax - 2 * kPage, 0xffffffff), Sizes{});
  EXPECT_EQ(memory->Ring(kMax, 16, 1), nullptr);
  EXPECT_EQ(memory->Ring(TestMemory::User(kMax - 2 * kPage), kMax, 1), nullptr);
}

TEST(GuestMemoryTest, V3ARegionIsCheckedAgainstItsFileBeforeItIsMapped) {
  EXPECT_THAT(Map({0, 2 * kPage, 0, 0}, kPage), StatusIs(kInvalid, HasSubstr("of 4096 bytes")));
  EXPECT_THAT(Map({0, kPage, 0, kPage}, kPage), StatusIs(kInvalid, HasSubstr("beyond")));
  EXPECT_THAT(Map({0, 0, 0, 0}, kPage), StatusIs(kInvalid, HasSubstr("no bytes")));
  EXPECT_THAT(Map({0, kPage, 0, 1}, 2 * kPage), StatusIs(kInvalid, HasSubstr("whole pages")));
  EXPECT_THAT(Map({0, kPage + 1, 0, 0}, 2 * kPage), StatusIs(kInvalid, HasSubstr("whole pages")));
  EXPECT_THAT(Map({0, 0xa0000, 0, 0xc0000}, 0x160000), IsOk()) << "as QEMU cuts a PC's memory";
}

TEST(GuestMemoryTest, V3TheDescriptorMustBeOfMemory) {
  const MemoryRegion region{0, kPage, 0, 0};
  const GuestMemory none;
  EXPECT_THAT(none.With(region, UniqueFd()), StatusIs(kInvalid, HasSubstr("cannot be examined")));
  EXPECT_THAT(none.With(region, UniqueFd(open("/dev/zero", O_RDWR))),
              StatusIs(kInvalid, HasSubstr("memory file")));
  EXPECT_THAT(none.With(region, UniqueFd(open("/proc/self/exe", O_RDONLY))),
              StatusIs(kInvalid, HasSubstr("memory file")));
  EXPECT_THAT(none.With(region, UniqueFd(open("/", O_RDONLY | O_DIRECTORY))),
              StatusIs(kInvalid, HasSubstr("memory file")));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  UniqueFd other(ends[1]);
  EXPECT_THAT(none.With(region, UniqueFd(ends[0])), StatusIs(kInvalid, HasSubstr("memory file")));

  const UniqueFd file = MemoryFileOf(kPage);
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_THAT(none.With(region, UniqueFd(open(path.c_str(), O_RDONLY))),
              StatusIs(kInvalid, HasSubstr("for writing")));
}

TEST(GuestMemoryTest, V3HugePagesAreWhole) {
  UniqueFd fd(memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  if (!fd || ftruncate(fd.get(), 1 << 30) != 0) {
    GTEST_SKIP() << "this kernel has no huge pages";
  }
  const auto half = GuestMemory().With({0, kPage, 0, 0}, std::move(fd));
  EXPECT_THAT(half, StatusIs(kInvalid, HasSubstr("bytes each")));
}

#ifndef __SANITIZE_THREAD__  // which leaves no room for so many addresses
TEST(GuestMemoryTest, V3ThereIsACapOnBytes) {
  const uint64_t half = GuestMemory::kMaxBytes / 2;
  const auto one = Map({0, half, 0, 0}, half);
  ASSERT_THAT(one, IsOk());
  const auto two = (*one)->With({half, half, half, 0}, MemoryFileOf(half));
  ASSERT_THAT(two, IsOk());
  EXPECT_THAT((*two)->With({2 * half, kPage, 2 * half, 0}, MemoryFileOf(kPage)),
              StatusIs(kInvalid, HasSubstr("more than 8 TiB")));
}
#endif

TEST(GuestMemoryTest, V4SealsAreSeen) {
  EXPECT_FALSE(TestMemory({{0, kPage}}, false).Lend()->sealed());
  EXPECT_TRUE(TestMemory({{0, kPage}, {kPage, kPage}}, true).Lend()->sealed());
}

// The handler under test stays for the whole process; so does the sanitizers' behind it.
TEST(GuestMemoryTest, V4AFileCutShortBreaksOneGuestOnly) {
  GuardGuestMemory();
  const TestMemory healthy({{0, 4 * kPage}}), cut({{0, kPage}, {kPage, 4 * kPage}});
  *healthy.At(kPage) = 42;
  const auto good = healthy.Lend(), bad = cut.Lend();
  auto* ring = static_cast<uint8_t*>(bad->Ring(TestMemory::User(2 * kPage), 2 * kPage, 16));
  ASSERT_NE(ring, nullptr);
  EXPECT_FALSE(bad->Broken());
  ASSERT_EQ(ftruncate(cut.fd(), kPage), 0);

  std::vector<std::thread> threads;  // as several workers would
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(__atomic_load_n(ring + kPage, __ATOMIC_RELAXED), 0); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(bad->Broken());
  __atomic_store_n(ring, 1, __ATOMIC_RELAXED);
  GuestSpan span;
  uint32_t count = 0;
  ASSERT_TRUE(bad->Gather(2 * kPage, kPage, &span, &count, 1));
  const std::vector<uint8_t> bytes(kPage, 7);
  span.CopyFrom(bytes.data());

  EXPECT_FALSE(good->Broken());
  EXPECT_EQ(Pieces(*good, 0, kPage), Sizes{kPage});
  count = 0;
  ASSERT_TRUE(good->Gather(kPage, 1, &span, &count, 1));
  uint8_t byte = 0;
  span.CopyTo(&byte);
  EXPECT_EQ(byte, 42);
  // What is mapped next in the same place starts whole.
  EXPECT_FALSE(TestMemory({{0, kPage}}).Lend()->Broken());
}

// With a sanitizer its own handler is what was before.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(GuestMemoryDeathTest, V4AnyOtherSigbusEndsTheProcessAsBefore) {
  GuardGuestMemory();
  const TestMemory lent({{0, kPage}});
  const auto memory = lent.Lend();  // a range that the handler looks at
  EXPECT_EXIT(
      {
        const TestMemory other({{0, kPage}});
        if (ftruncate(other.fd(), 0) == 0) __atomic_load_n(other.At(0), __ATOMIC_RELAXED);
      },
      ::testing::KilledBySignal(SIGBUS), "");
  EXPECT_EXIT(raise(SIGBUS), ::testing::KilledBySignal(SIGBUS), "");
}
#endif

TEST(GuestMemoryTest, V5RegionsDoNotOverlap) {
  const auto one = Map({0x10000, 4 * kPage, 0x500000, 0}, 4 * kPage);
  ASSERT_THAT(one, IsOk());
  const auto add = [&](uint64_t guest, uint64_t user, uint64_t pages) {
    return (*one)->With({guest, pages * kPage, user, 0}, MemoryFileOf(pages * kPage));
  };
  EXPECT_THAT(add(0x10000, 0x900000, 4), StatusIs(kInvalid, HasSubstr("in guest addresses")));
  EXPECT_THAT(add(0x13000, 0x900000, 4), StatusIs(kInvalid, HasSubstr("in guest addresses")));
  EXPECT_THAT(add(0xf000, 0x900000, 9), StatusIs(kInvalid, HasSubstr("in guest addresses")));
  EXPECT_THAT(add(0x20000, 0x4ff000, 2), StatusIs(kInvalid, HasSubstr("in user addresses")));
  EXPECT_THAT(add(0x14000, 0x504000, 1), IsOk());
  EXPECT_THAT(add(0xf000, 0x4ff000, 1), IsOk());
}

TEST(GuestMemoryTest, V5ThereIsACapOnRegions) {
  auto memory = std::make_shared<const GuestMemory>();
  for (uint64_t i = 0; i < GuestMemory::kMaxRegions; ++i) {
    const auto more = memory->With({i * kPage, kPage, i * kPage, 0}, MemoryFileOf(kPage));
    ASSERT_THAT(more, IsOk());
    memory = *more;
  }
  EXPECT_THAT(memory->With({1 << 30, kPage, 1 << 30, 0}, MemoryFileOf(kPage)),
              StatusIs(kInvalid, HasSubstr("64 already")));
}

TEST(GuestMemoryTest, V6ARegionStaysMappedForWhoStillHoldsIt) {
  const TestMemory guest({{0, kPage}, {kPage, kPage}});
  const auto both = guest.Lend();
  const auto one = both->Without(guest.regions()[1]);
  ASSERT_THAT(one, IsOk());
  EXPECT_EQ((*one)->regions(), 1u);
  EXPECT_EQ(Pieces(**one, kPage, 1), Sizes{});
  EXPECT_EQ(Pieces(*both, kPage, 1), Sizes{1});
  EXPECT_THAT((*one)->Without(guest.regions()[1]),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("0x1000")));
  MemoryRegion wrong = guest.regions()[0];
  wrong.size += kPage;
  EXPECT_THAT((*one)->Without(wrong), StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
}

TEST(GuestMemoryTest, V7ARingLiesInOneRegionAndIsAligned) {
  const TestMemory guest({{0, kPage}, {kPage, kPage}});
  const auto memory = guest.Lend();
  const auto ring = [&](uint64_t address, uint64_t size, uint64_t alignment) {
    return memory->Ring(TestMemory::User(address), size, alignment);
  };
  EXPECT_NE(ring(0, kPage, 16), nullptr);
  EXPECT_NE(ring(16, 16, 16), nullptr);
  EXPECT_EQ(ring(8, 16, 16), nullptr);
  EXPECT_EQ(ring(kPage - 16, 32, 16), nullptr) << "crosses into the next region";
  EXPECT_EQ(ring(kPage, kPage + 16, 16), nullptr);
  EXPECT_EQ(ring(2 * kPage, 1, 1), nullptr);
  EXPECT_EQ(ring(0, 0, 1), nullptr);
  EXPECT_EQ(memory->Ring(0, 16, 16), nullptr) << "a guest address is not a user address";
}

TEST(GuestMemoryTest, DescriptorsAreClosedWhateverComesOut) {
  UniqueFd fd = MemoryFileOf(kPage);
  const int number = fd.get();
  EXPECT_THAT(GuestMemory().With({0, 2 * kPage, 0, 0}, std::move(fd)),
              StatusIs(kInvalid, HasSubstr("")));
  EXPECT_EQ(fcntl(number, F_GETFD), -1);
}

}  // namespace
}  // namespace vmqd

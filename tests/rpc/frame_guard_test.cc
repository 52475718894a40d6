// What the front makes of a client's bytes: the same however they are cut, and never a crash.
#include "daemon/rpc/frame_guard.h"

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "tests/rpc/http2.h"

namespace vmqd::rpc {
namespace {

using testing::HasSubstr;

constexpr uint8_t kEndHeaders = 4;

TEST(FrameGuard, PrefaceFirst) {
  FrameGuard guard;
  EXPECT_FALSE(guard.speaks_http2());
  EXPECT_TRUE(guard.Feed(kPreface.substr(0, 23)));
  EXPECT_FALSE(guard.speaks_http2());
  EXPECT_TRUE(guard.Feed(kPreface.substr(23)));
  EXPECT_TRUE(guard.speaks_http2());
}

TEST(FrameGuard, OtherProtocols) {
  for (const std::string bytes :
       {"GET / HTTP/1.1\r\n", "\x16\x03\x01\x02", "PRI * HTTP/1.1", "\n"}) {
    FrameGuard guard;
    EXPECT_FALSE(guard.Feed(bytes)) << bytes;
    EXPECT_FALSE(guard.Feed(kPreface)) << "once closed, closed";
    EXPECT_THAT(guard.error(), HasSubstr("HTTP/2"));
  }
}

// Feeds `frames` after the preface; the error, empty when there is none.
std::string ErrorOf(const std::string& frames, size_t piece) {
  FrameGuard guard;
  const std::string bytes = std::string(kPreface) + frames;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (!guard.Feed(std::string_view(bytes).substr(at, piece))) return guard.error();
  }
  return "";
}

struct Row {
  const char* what;
  std::string frames;
  const char* error;  // a part of it; nullptr: none
};

std::string Continuations(int count, size_t length) {
  std::string frames = Frame(1, 0, 1, std::string(length, 'x'));
  for (int i = 0; i < count; ++i) {
    frames += Frame(9, i + 1 == count ? kEndHeaders : 0, 1, std::string(length, 'x'));
  }
  return frames;
}

const Row kRows[] = {
    {"a call", Frame(4, 0, 0, "") + Frame(1, kEndHeaders, 1, "abc") + Frame(0, 1, 1, "12345"),
     nullptr},
    {"a large message", Frame(0, 0, 1, std::string(1 << 20, 'x')), nullptr},
    {"the largest headers", Frame(1, kEndHeaders, 1, std::string(16 << 10, 'x')), nullptr},
    {"larger headers", Frame(1, kEndHeaders, 1, std::string((16 << 10) + 1, 'x')), "headers of"},
    {"fifteen continuations", Continuations(15, 1000), nullptr},
    {"sixteen", Continuations(16, 1), "in 17 frames"},
    {"empty ones", Continuations(16, 0), "in 17 frames"},
    {"together too large", Continuations(10, 2000), "headers of"},
    {"two blocks", Continuations(10, 1000) + Continuations(10, 1000), nullptr},
    {"a frame within a block", Frame(1, 0, 1, "x") + Frame(6, 0, 0, "12345678"), "within"},
    {"a continuation of nothing", Frame(9, kEndHeaders, 1, "x"), "without"},
    {"a push", Frame(5, kEndHeaders, 1, "x"), "pushes"},
    {"huge settings", Frame(4, 0, 0, std::string(20'000, 'x')), "type 4 with 20000 bytes"},
    {"an unknown frame", Frame(77, 255, 3, "hello"), nullptr},
};

TEST(FrameGuard, Frames) {
  for (const Row& row : kRows) {
    for (const size_t piece : {size_t{1}, size_t{7}, size_t{4096}, row.frames.size() + 24}) {
      const std::string error = ErrorOf(row.frames, piece);
      if (row.error == nullptr) {
        EXPECT_EQ(error, "") << row.what << " in pieces of " << piece;
      } else {
        EXPECT_THAT(error, HasSubstr(row.error)) << row.what << " in pieces of " << piece;
      }
    }
  }
}

TEST(FrameGuard, AResetCostsMoreThanACall) {
  FrameGuard guard;
  ASSERT_TRUE(guard.Feed(kPreface));
  guard.TakeCost();
  ASSERT_TRUE(guard.Feed(Frame(1, kEndHeaders, 1, "abc") + Frame(0, 1, 1, "12345")));
  const size_t call = guard.TakeCost();
  ASSERT_TRUE(guard.Feed(Frame(3, 0, 1, "1234")));
  EXPECT_GE(guard.TakeCost(), 5 * call);
  EXPECT_EQ(guard.TakeCost(), 0u) << "it was taken";
}

TEST(FrameGuard, Garbage) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    FrameGuard guard;
    ASSERT_TRUE(guard.Feed(kPreface));
    std::string bytes(random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    for (int i = 0; i < 50 && guard.Feed(bytes); ++i) guard.TakeCost();
  }
}

}  // namespace
}  // namespace vmqd::rpc

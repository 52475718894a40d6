// Clients that do not behave: too many, silent, flooding, deaf. While they are at it another client
// is answered, and afterwards everything they had is free again.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <thread>

#include "gmock/gmock.h"
#include "grpcpp/impl/client_unary_call.h"
#include "tests/rpc/http2.h"
#include "tests/rpc/served.h"

namespace vmqd::rpc {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;

class FrontTest : public Served {
 protected:
  ~FrontTest() override {
    for (const int fd : fds_) close(fd);
  }
  int Keep(int fd) {
    fds_.push_back(fd);
    return fd;
  }
  // Begins to speak, and acknowledges the server's settings if `ack`.
  void Hello(int fd, bool ack = true) {
    Send(fd, std::string(kPreface) + Frame(4, 0, 0, "") + (ack ? Frame(4, 1, 0, "") : ""));
  }
  // False when the other side has closed, or nothing moved for a minute.
  bool Send(int fd, std::string_view bytes) {
    const timeval patience{.tv_sec = 60, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    while (!bytes.empty()) {
      const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(n);
    }
    return true;
  }
  static size_t OpenFiles() {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
      ++count;
    }
    return count;
  }
  // Until `condition` holds; a test that would hang here fails after a minute.
  template <typename Condition>
  static bool Eventually(const Condition& condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  static size_t ResidentKilobytes() {
    const std::string status = Contents("/proc/self/status");
    return std::stoul(status.substr(status.find("VmRSS:") + 6));
  }

  std::vector<int> fds_;
};

TEST_F(FrontTest, TooManyConnections) {
  settings_.mutable_limits()->set_connections(40);
  settings_.mutable_limits()->set_connections_per_peer(16);
  Start();
  ASSERT_TRUE(CallVmqd(Control(), "GetSwitch").ok());  // what gRPC opens once is open now
  ASSERT_TRUE(CallVmqd(Tcp("admin"), "GetSwitch").ok());
  const size_t base = OpenFiles();
  const auto first = Tcp("viewer");
  ASSERT_TRUE(CallVmqd(first, "GetSwitch").ok());
  for (int i = 0; i < 3000; ++i) close(Dial(settings_.monitor().path()));
  for (int i = 0; i < 30; ++i) Keep(Dial(settings_.monitor().path()));
  EXPECT_TRUE(
      Eventually([&] { return Log().find("limits.connections_per_peer") != std::string::npos; }));
  EXPECT_TRUE(CallVmqd(first, "GetSwitch").ok()) << "who is in stays in";
  EXPECT_TRUE(CallVmqd(Tcp("operator"), "GetSwitch").ok()) << "another peer is let in";
  for (const int fd : fds_) close(fd);
  fds_.clear();
  EXPECT_TRUE(Eventually([&] { return CallVmqd(Monitor(), "GetSwitch").ok(); }));
  EXPECT_TRUE(Eventually([&] { return OpenFiles() <= base + 8; })) << OpenFiles() << " of " << base;
}

TEST_F(FrontTest, AProcessLeavesItsUserSome) {
  settings_.mutable_limits()->set_connections_per_peer(8);
  Start();
  for (int i = 0; i < 20; ++i) Keep(Dial(settings_.control().path()));
  // The kernel has all twenty; six have a seat, and the others are closed.
  int closed = 0;
  for (size_t i = 6; i < fds_.size(); ++i) closed += Closed(fds_[i]);
  EXPECT_EQ(closed, 14);
  for (size_t i = 0; i < 6; ++i) {
    char byte;
    EXPECT_EQ(recv(fds_[i], &byte, 1, MSG_DONTWAIT), -1) << "still open";
  }
  EXPECT_THAT(Log(), HasSubstr("three quarters of limits.connections_per_peer"));
}

#ifndef __SANITIZE_ADDRESS__  // the sanitizers look at memory through a pipe of their own
TEST_F(FrontTest, WithoutDescriptors) {
  Start();
  const auto early = Control();
  ASSERT_TRUE(CallVmqd(early, "GetSwitch").ok());
  const int waiting = Keep(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 3;  // all below are taken
  setrlimit(RLIMIT_NOFILE, &none);
  const bool connected = Connect(waiting, settings_.control().path());
  const bool noted =
      Eventually([&] { return Log().find("cannot accept connections") != std::string::npos; });
  const bool served = CallVmqd(early, "GetSwitch").ok();
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(connected && noted);
  EXPECT_TRUE(served) << "who is in goes on";
  Hello(waiting);
  char byte;
  EXPECT_EQ(recv(waiting, &byte, 1, 0), 1) << "and who waited is let in";
}
#endif

TEST_F(FrontTest, SilenceIsNotWaitedFor) {
  Start();
  Keep(Dial(settings_.control().path()));
  Send(Keep(Dial(settings_.monitor().path())), kPreface.substr(0, 10));
  Keep(DialTcp(server_->port()));
  Send(Keep(DialTcp(server_->port())), "\x16\x03\x01");
  Hello(Keep(Dial(settings_.control().path())));
  for (const int fd : fds_) {
    if (fd == fds_.back()) break;
    EXPECT_TRUE(Closed(fd));
  }
  EXPECT_THAT(Log(), HasSubstr("did not begin to speak HTTP/2 in time"));
  char byte;
  EXPECT_EQ(recv(fds_.back(), &byte, 1, 0), 1) << "who has begun stays";
}

TEST_F(FrontTest, OtherProtocolsAndHeaderBombs) {
  Start();
  const std::string hello = std::string(kPreface) + Frame(4, 0, 0, "");
  std::string endless = hello + Frame(1, 0, 1, "x");
  for (int i = 0; i < 100; ++i) endless += Frame(9, 0, 1, "x");
  const std::string bombs[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", endless,
                               hello + Frame(1, kEndHeaders, 1, std::string(17'000, 'x')),
                               hello + Frame(5, kEndHeaders, 1, "x")};
  for (const std::string& bomb : bombs) {
    const int fd = Keep(Dial(settings_.monitor().path()));
    Send(fd, bomb);
    EXPECT_TRUE(Closed(fd));
  }
  EXPECT_TRUE(CallVmqd(Monitor(), "GetSwitch").ok());
}

// Sends `frames` on each of some connections, as fast as it goes or until it is closed, while
// another client calls all the time. What memory grew by, in kilobytes.
class Flood : public FrontTest {
 protected:
  size_t Run(const std::string& frames, bool ack = true) {
    constexpr int kConnections = 4;
    const auto other = Control();
    EXPECT_TRUE(CallVmqd(other, "GetSwitch").ok());
    const size_t before = ResidentKilobytes();
    size_t most = before;
    std::vector<std::thread> floods;
    std::atomic<int> running = kConnections;
    for (int i = 0; i < kConnections; ++i) {
      floods.emplace_back([&, fd = Keep(Dial(settings_.monitor().path()))] {
        Hello(fd, ack);
        std::thread reader([fd] { Closed(fd); });
        Send(fd, frames);
        shutdown(fd, SHUT_RDWR);
        reader.join();
        --running;
      });
    }
    int calls = 0;
    while (running > 0 || calls < 10) {
      EXPECT_TRUE(CallVmqd(other, "GetSwitch").ok());
      ++calls;
      most = std::max(most, ResidentKilobytes());
    }
    for (std::thread& flood : floods) flood.join();
    // The flooded socket has threads of its own; they come free as its calls are cancelled.
    EXPECT_TRUE(Eventually([&] { return CallVmqd(Monitor(), "GetSwitch").ok(); }));
    RecordProperty("grew_kilobytes", static_cast<int>(most - before));
    std::cout << "grew by " << most - before << " KiB during " << calls << " calls\n";
    return most - before;
  }
};

// KiB: gRPC's 64 MiB, and the test's own. The address sanitizer keeps what was freed.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kBound = 1 << 20;
#else
constexpr size_t kBound = 96 << 10;
#endif

std::string Repeat(const std::string& frame, int times) {
  std::string frames;
  for (int i = 0; i < times; ++i) frames += frame;
  return frames;
}

// `frame` after the headers of a call, on one new stream after the other.
std::string Calls(const std::string& method, const std::function<std::string(uint32_t)>& frame,
                  uint32_t count) {
  std::string frames;
  for (uint32_t stream = 1; stream < 2 * count; stream += 2) {
    frames += Frame(1, kEndHeaders, stream, CallHeaders("/vmqd.v1.Vmqd/" + method));
    frames += frame(stream);
  }
  return frames;
}

const std::string kFour("\0\0\0\x8", 4);
const std::string kNothing(4, '\0');

TEST_F(Flood, RapidReset) {
  Start();
  const auto reset = [](uint32_t stream) { return Frame(3, 0, stream, kFour); };
  EXPECT_LT(Run(Calls("GetSwitch", reset, 1500)), kBound);
}

// The server is made to reset: a window that grows by nothing is a mistake.
TEST_F(Flood, ResetsOfTheServer) {
  Start();
  const auto mistake = [](uint32_t stream) { return Frame(8, 0, stream, kNothing); };
  EXPECT_LT(Run(Calls("GetSwitch", mistake, 5000)), kBound);
}

TEST_F(Flood, StreamsBeyondTheLimit) {
  Start();
  const std::string calls = Calls(
      "GetSwitch", [](uint32_t) { return std::string(); }, 5000);
  EXPECT_LT(Run(calls), kBound);
  EXPECT_LT(Run(calls, /*ack=*/false), kBound);
  EXPECT_THAT(Log(), HasSubstr("129 streams before"));
}

TEST_F(Flood, MessagesWithoutEnd) {
  Start();
  const auto part = [](uint32_t stream) {  // the beginning of a megabyte
    std::string frames = Frame(0, 0, stream, std::string("\0\0\x10\0\0", 5));
    for (int i = 0; i < 4; ++i) frames += Frame(0, 0, stream, std::string(15'000, 'x'));
    return frames;
  };
  EXPECT_LT(Run(Calls("CreatePort", part, 64)), kBound);
}

TEST_F(Flood, MessagesOfGarbage) {
  Start();
  const auto garbage = [](uint32_t stream) {
    // A group within a group within a group, and none of them ends.
    return Frame(0, kEndStream, stream, std::string("\0\0\0\4\0", 5) + std::string(1024, '\x0b'));
  };
  EXPECT_LT(Run(Calls("CreatePort", garbage, 2000)), kBound);
}

TEST_F(Flood, Pings) {
  Start();
  EXPECT_LT(Run(Repeat(Frame(6, 0, 0, "12345678"), 500)), kBound);
}

TEST_F(Flood, AnswersToNoPing) {
  Start();
  EXPECT_LT(Run(Repeat(Frame(6, 1, 0, "12345678"), 10'000)), kBound);
}

TEST_F(Flood, Settings) {
  Start();
  EXPECT_LT(Run(Repeat(Frame(4, 0, 0, ""), 500)), kBound);
}

TEST_F(Flood, SmallFrames) {
  Start();
  std::string frames = Frame(1, kEndHeaders, 1, CallHeaders("/vmqd.v1.Vmqd/CreatePort"));
  frames += Repeat(Frame(0, 0, 1, "") + Frame(8, 0, 1, std::string("\0\0\0\1", 4)) +
                       Frame(2, 0, 1, "12345") + Frame(99, 0, 1, ""),
                   10'000);
  EXPECT_LT(Run(frames), kBound);
}

// 64 requests for a megabyte each, and nothing is read.
TEST_F(FrontTest, DeafClients) {
  Start();
  const auto other = Control();
  ASSERT_TRUE(CallVmqd(other, "GetSwitch").ok());
  const size_t before = ResidentKilobytes();
  std::string frames = std::string(kPreface) +
                       Frame(4, 0, 0, std::string("\0\4\x7f\xff\xff\xff", 6)) +
                       Frame(8, 0, 0, std::string("\x7f\xfe\0\0", 4));
  for (uint32_t stream = 1; stream < 128; stream += 2) {
    frames += Frame(1, kEndHeaders, stream, CallHeaders("/vmqd.v1.Vmqd/ListPorts"));
    frames += Frame(0, kEndStream, stream, std::string(5, '\0'));
  }
  for (int i = 0; i < 8; ++i) Send(Keep(Dial(settings_.monitor().path())), frames);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(CallVmqd(other, "GetSwitch").ok()) << "its threads are its own";
  }
  EXPECT_LT(ResidentKilobytes() - before, 1u << 20) << "160 threads' answers, some copies each";
  // Dropped after 30 s without a byte taken: then their threads are free again.
  EXPECT_TRUE(Eventually([&] { return CallVmqd(Monitor(), "GetSwitch").ok(); }));
  EXPECT_TRUE(
      Eventually([&] { return Log().find("does not take its answers") != std::string::npos; }));
}

TEST_F(FrontTest, OversizeMessage) {
  Start();
  const grpc::internal::RpcMethod method("/vmqd.v1.Vmqd/GetSwitch",
                                         grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::ClientContext context;
  const grpc::Slice large(std::string((1 << 20) + 1, 'x'));
  grpc::ByteBuffer response;
  const auto channel = Control();
  const auto status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), method, &context, grpc::ByteBuffer(&large, 1), &response);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(CallVmqd(channel, "GetSwitch").ok()) << "the connection goes on";
}

TEST_F(FrontTest, ShutdownLetsNobodyWait) {
  Start();
  const auto channel = Control();
  ASSERT_TRUE(CallVmqd(channel, "GetSwitch").ok());
  Hello(Keep(Dial(settings_.control().path())));
  Keep(Dial(settings_.control().path()));
  Keep(DialTcp(server_->port()));
  server_->Shutdown(std::chrono::seconds(1));
  for (const int fd : fds_) EXPECT_TRUE(Closed(fd));
  EXPECT_EQ(CallVmqd(channel, "GetSwitch").error_code(), StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace vmqd::rpc

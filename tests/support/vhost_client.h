// A vhost-user front end for tests: speaks the protocol with a back end over a real socket, well
// formed or byte by byte as the test wants it. Written from the specification and with nothing of
// daemon/virtio, so that the two can disagree.
#ifndef VMQD_TESTS_SUPPORT_VHOST_CLIENT_H_
#define VMQD_TESTS_SUPPORT_VHOST_CLIENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vmqd::testing {

// Request numbers, protocol feature bits, flags: vhost-user.rst.
enum VhostUser : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogFd = 7,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kSendRarp = 19,
  kNetSetMtu = 20,
  kGetConfig = 24,
  kSetConfig = 25,
  kGetInflightFd = 31,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
  kSetStatus = 39,
  kGetStatus = 40,
};
inline constexpr uint32_t kVersion1 = 1;
inline constexpr uint32_t kReplyFlag = 4;
inline constexpr uint32_t kNeedReplyFlag = 8;

// A descriptor of the test's own, closed with it.
class TestFd {
 public:
  explicit TestFd(int fd = -1) : fd_(fd) {}
  TestFd(TestFd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  TestFd& operator=(TestFd&& other) noexcept;
  ~TestFd();
  int get() const { return fd_; }

 private:
  int fd_;
};

TestFd NewEventFd();
// A sealed memory file, and one that is not.
TestFd NewMemory(uint64_t bytes, bool sealed = true);

struct VhostRegion {
  uint64_t guest_address = 0;
  uint64_t size = 0;
  uint64_t user_address = 0;
  uint64_t mmap_offset = 0;
};

struct VhostReply {
  uint32_t request = 0;
  uint32_t flags = 0;
  std::string payload;
  // The first eight bytes; 0 when there are fewer.
  uint64_t u64() const;
};

// The bytes of a value, to put a payload together.
template <typename T>
std::string Raw(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::string Raw(const VhostRegion& region);

class VhostClient {
 public:
  VhostClient() = default;
  // Takes a connected socket.
  explicit VhostClient(TestFd socket) : socket_(std::move(socket)) {}

  // Tries for two seconds.
  bool ConnectTo(const std::string& path);
  // Listens at `path`, as a VMM that is the server; then Accept, which waits for two seconds.
  bool ListenAt(const std::string& path);
  bool Accept();
  void Close() { socket_ = TestFd(); }
  int fd() const { return socket_.get(); }

  // Exactly these bytes and descriptors, in one sendmsg.
  bool SendRaw(const std::string& bytes, const std::vector<int>& fds = {});
  // A header with the right size in front of `payload`.
  bool Send(uint32_t request, const std::string& payload = "", const std::vector<int>& fds = {},
            uint32_t flags = kVersion1);
  // Waits for two seconds.
  std::optional<VhostReply> Receive();
  // Whether the far end closes within `milliseconds`; what it still says is thrown away.
  bool Closed(int milliseconds = 2000);

  // Send and Receive; a reply to another request is none.
  std::optional<VhostReply> Ask(uint32_t request, const std::string& payload = "",
                                const std::vector<int>& fds = {}, uint32_t flags = kVersion1);
  // With NEED_REPLY: the value acknowledged; nothing without an answer.
  std::optional<uint64_t> Acknowledged(uint32_t request, const std::string& payload = "",
                                       const std::vector<int>& fds = {});

  bool SetU64(uint32_t request, uint64_t value) { return Send(request, Raw(value)); }
  bool SetVring(uint32_t request, uint32_t index, uint32_t value) {
    return Send(request, Raw(index) + Raw(value));
  }
  bool SetVringFd(uint32_t request, uint64_t index, int fd);
  bool SetVringAddr(uint32_t index, uint64_t descriptors, uint64_t used, uint64_t available,
                    uint32_t flags = 0, uint64_t log = 0);
  bool SetMemTable(const std::vector<VhostRegion>& regions, const std::vector<int>& fds);
  // The back end has handled all that was sent before: it answered a GET_FEATURES.
  bool Synchronise() { return Ask(kGetFeatures).has_value(); }

 private:
  TestFd socket_;
  TestFd listener_;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_VHOST_CLIENT_H_

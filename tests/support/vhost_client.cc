// See vhost_client.h.
#include "tests/support/vhost_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

namespace vmqd::testing {
namespace {

constexpr int kPatience = 2000;  // milliseconds

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

bool Readable(int fd, int milliseconds) {
  pollfd waited = {fd, POLLIN, 0};
  return poll(&waited, 1, milliseconds) == 1;
}

// All `size` bytes, or false.
bool ReadAll(int fd, char* to, size_t size) {
  while (size > 0) {
    if (!Readable(fd, kPatience)) return false;
    const ssize_t got = recv(fd, to, size, 0);
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

TestFd& TestFd::operator=(TestFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
TestFd::~TestFd() {
  if (fd_ >= 0) close(fd_);
}

TestFd NewEventFd() { return TestFd(eventfd(0, EFD_CLOEXEC)); }

TestFd NewMemory(uint64_t bytes, bool sealed) {
  TestFd memory(memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0) return TestFd();
  if (sealed) fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return memory;
}

std::string Raw(const VhostRegion& region) {
  return Raw(region.guest_address) + Raw(region.size) + Raw(region.user_address) +
         Raw(region.mmap_offset);
}

uint64_t VhostReply::u64() const {
  uint64_t value = 0;
  if (payload.size() >= sizeof(value)) std::memcpy(&value, payload.data(), sizeof(value));
  return value;
}

bool VhostClient::ConnectTo(const std::string& path) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
  const sockaddr_un address = AddressOf(path);
  do {
    socket_ = TestFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

bool VhostClient::ListenAt(const std::string& path) {
  listener_ = TestFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(path);
  unlink(path.c_str());
  return bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
         listen(listener_.get(), 4) == 0;
}

bool VhostClient::Accept() {
  if (!Readable(listener_.get(), kPatience)) return false;
  socket_ = TestFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return fd() >= 0;
}

bool VhostClient::SendRaw(const std::string& bytes, const std::vector<int>& fds) {
  iovec piece = {const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
  }
  return sendmsg(fd(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

bool VhostClient::Send(uint32_t request, const std::string& payload, const std::vector<int>& fds,
                       uint32_t flags) {
  return SendRaw(Raw(request) + Raw(flags) + Raw(static_cast<uint32_t>(payload.size())) + payload,
                 fds);
}

std::optional<VhostReply> VhostClient::Receive() {
  uint32_t header[3];
  if (!ReadAll(fd(), reinterpret_cast<char*>(header), sizeof(header))) return std::nullopt;
  VhostReply reply{header[0], header[1], std::string(header[2], '\0')};
  if (!ReadAll(fd(), reply.payload.data(), reply.payload.size())) return std::nullopt;
  return reply;
}

bool VhostClient::Closed(int milliseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !Readable(fd(), static_cast<int>(left.count()))) return false;
    char thrown_away[256];
    if (recv(fd(), thrown_away, sizeof(thrown_away), 0) <= 0) return true;
  }
}

std::optional<VhostReply> VhostClient::Ask(uint32_t request, const std::string& payload,
                                           const std::vector<int>& fds, uint32_t flags) {
  if (!Send(request, payload, fds, flags)) return std::nullopt;
  std::optional<VhostReply> reply = Receive();
  if (!reply.has_value() || reply->request != request ||
      (reply->flags & (kReplyFlag | 3)) != (kReplyFlag | kVersion1)) {
    return std::nullopt;
  }
  return reply;
}

std::optional<uint64_t> VhostClient::Acknowledged(uint32_t request, const std::string& payload,
                                                  const std::vector<int>& fds) {
  const auto reply = Ask(request, payload, fds, kVersion1 | kNeedReplyFlag);
  if (!reply.has_value() || reply->payload.size() != sizeof(uint64_t)) return std::nullopt;
  return reply->u64();
}

bool VhostClient::SetVringFd(uint32_t request, uint64_t index, int fd) {
  constexpr uint64_t kNoFd = 1 << 8;
  return fd < 0 ? Send(request, Raw(index | kNoFd)) : Send(request, Raw(index), {fd});
}

bool VhostClient::SetVringAddr(uint32_t index, uint64_t descriptors, uint64_t used,
                               uint64_t available, uint32_t flags, uint64_t log) {
  return Send(kSetVringAddr,
              Raw(index) + Raw(flags) + Raw(descriptors) + Raw(used) + Raw(available) + Raw(log));
}

bool VhostClient::SetMemTable(const std::vector<VhostRegion>& regions,
                              const std::vector<int>& fds) {
  std::string payload = Raw(static_cast<uint32_t>(regions.size())) + Raw(uint32_t{0});
  for (const VhostRegion& region : regions) payload += Raw(region);
  return Send(kSetMemTable, payload, fds);
}

}  // namespace vmqd::testing

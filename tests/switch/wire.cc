#include "tests/switch/wire.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "daemon/net/ethernet.h"

namespace vmqd::testing {
namespace {

constexpr uint16_t kEtherType = 0x88b5;  // IEEE 802 local experimental 1
constexpr size_t kFrameLen = 64;

int OpenPacketSocket(const std::string& device, uint16_t ether_type) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  const int size = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
  const int one = 1;
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ether_type);
  address.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0)
      << device << ": " << std::strerror(errno);
  return fd;
}

// The tag that the kernel took off, if it did (packet(7), PACKET_AUXDATA).
std::optional<tpacket_auxdata> TagOf(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata aux;
    std::memcpy(&aux, CMSG_DATA(part), sizeof(aux));
    if ((aux.tp_status & TP_STATUS_VLAN_VALID) != 0) return aux;
  }
  return std::nullopt;
}

}  // namespace

Wire::Wire(const std::string& device) : fd_(OpenPacketSocket(device, kEtherType)) {}

Wire::~Wire() { close(fd_); }

void Wire::Send(const MacAddress& destination, const MacAddress& source, uint32_t sequence) {
  std::array<uint8_t, kFrameLen> frame{};
  std::memcpy(frame.data(), destination.bytes.data(), 6);
  std::memcpy(frame.data() + 6, source.bytes.data(), 6);
  StoreBe16(frame.data() + 12, kEtherType);
  std::memcpy(frame.data() + 14, &sequence, sizeof(sequence));
  while (send(fd_, frame.data(), frame.size(), 0) < 0 && errno == ENOBUFS) usleep(50);
}

std::multiset<uint32_t> Wire::Collect(const MacAddress& destination, size_t count,
                                      int patience_ms) {
  std::multiset<uint32_t> sequences;
  std::array<uint8_t, 2048> frame;
  pollfd ready{fd_, POLLIN, 0};
  while (sequences.size() < count && poll(&ready, 1, patience_ms) > 0) {
    const ssize_t length = recv(fd_, frame.data(), frame.size(), MSG_DONTWAIT);
    if (length < 18 || MacAddress::FromWire(frame.data()) != destination) continue;
    uint32_t sequence = 0;
    std::memcpy(&sequence, frame.data() + 14, sizeof(sequence));
    sequences.insert(sequence);
  }
  return sequences;
}

FrameWire::FrameWire(const std::string& device) : fd_(OpenPacketSocket(device, ETH_P_ALL)) {
  const int one = 1;
  setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one));
}

FrameWire::~FrameWire() { close(fd_); }

void FrameWire::Send(const Bytes& frame) {
  while (send(fd_, frame.data(), frame.size(), 0) < 0 && errno == ENOBUFS) usleep(50);
}

std::optional<Bytes> FrameWire::Receive(int patience_ms) {
  pollfd ready{fd_, POLLIN, 0};
  if (poll(&ready, 1, patience_ms) <= 0) return std::nullopt;
  Bytes frame(70000);
  iovec piece = {frame.data(), frame.size()};
  alignas(cmsghdr) char control[256];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t length = recvmsg(fd_, &message, MSG_DONTWAIT);
  if (length < 0) return std::nullopt;
  frame.resize(static_cast<size_t>(length));
  if (const auto tag = TagOf(message)) {
    const uint8_t bytes[] = {
        static_cast<uint8_t>(tag->tp_vlan_tpid >> 8), static_cast<uint8_t>(tag->tp_vlan_tpid),
        static_cast<uint8_t>(tag->tp_vlan_tci >> 8), static_cast<uint8_t>(tag->tp_vlan_tci)};
    frame.insert(frame.begin() + 12, bytes, bytes + sizeof(bytes));
  }
  return frame;
}

}  // namespace vmqd::testing

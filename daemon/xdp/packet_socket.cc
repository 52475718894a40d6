#include "daemon/xdp/packet_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

// Room for a burst of 1000 large segments' worth of bookkeeping; the kernel doubles the figure.
constexpr int kReceiveBufferBytes = 4 << 20;

// Accepts what the kernel classed as broadcast or multicast, but not 01:80:c2:00:00:0x: the very
// frames uplink.bpf.c counts as flooded.
constexpr sock_filter kFloodFilter[] = {
    {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)},
    {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, PACKET_BROADCAST},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 6, PACKET_MULTICAST},
    {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
    {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0x0180c200},
    {BPF_LD | BPF_H | BPF_ABS, 0, 0, 4},
    {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xfff0},
    {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0},
    {BPF_RET | BPF_K, 0, 0, 0x40000},
    {BPF_RET | BPF_K, 0, 0, 0},
};
constexpr sock_filter kNothing[] = {{BPF_RET | BPF_K, 0, 0, 0}};

bool Filter(int fd, std::span<const sock_filter> code) {
  const sock_fprog program{static_cast<unsigned short>(code.size()),
                           const_cast<sock_filter*>(code.data())};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

// A large frame is received in two parts: what fits into the buffer given, and the rest, which
// leaves room before it for the first part to be put in front.
constexpr uint32_t kLargeHead = 4096;
constexpr uint32_t kLargeStride = kLargeHead + PacketSocket::kMaxLarge;

bool Set(int fd, int option, int value) {
  return setsockopt(fd, SOL_PACKET, option, &value, sizeof(value)) == 0;
}

packet_mreq Membership(int ifindex, int type, const MacAddress& mac) {
  packet_mreq request{};
  request.mr_ifindex = ifindex;
  request.mr_type = static_cast<unsigned short>(type);
  request.mr_alen = ETH_ALEN;
  std::memcpy(request.mr_address, mac.bytes.data(), ETH_ALEN);
  return request;
}

}  // namespace

struct PacketSocket::Slot {
  virtio_net_hdr header;
  iovec parts[3];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(tpacket_auxdata))];
};

PacketSocket::PacketSocket(int fd, int ifindex, Role role, bool large)
    : fd_(fd),
      ifindex_(ifindex),
      role_(role),
      large_(role == Role::kDevice || large ? new uint8_t[kBatch * kLargeStride] : nullptr),
      slots_(std::make_unique<std::array<Slot, kBatch>>()) {}

PacketSocket::~PacketSocket() { close(fd_); }

absl::StatusOr<std::unique_ptr<PacketSocket>> PacketSocket::Open(int ifindex,
                                                                 const std::string& device,
                                                                 Role role, bool large) {
  const auto failed = [&](absl::string_view step) {
    return absl::FailedPreconditionError(absl::StrCat("opening a packet socket on ", device, ": ",
                                                      step, ": ", std::strerror(errno),
                                                      "; vmqd needs CAP_NET_RAW"));
  };
  // Protocol 0: nothing arrives before the filter is set and the socket bound.
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("socket");
  std::unique_ptr<PacketSocket> packet_socket(new PacketSocket(fd, ifindex, role, large));
  if (role == Role::kFlood) {
    if (!Filter(fd, kFloodFilter)) return failed("SO_ATTACH_FILTER");
  } else if (!Set(fd, PACKET_VNET_HDR, 1)) {
    return failed("PACKET_VNET_HDR");
  }
  if (!Set(fd, PACKET_AUXDATA, 1)) return failed("PACKET_AUXDATA");
  if (!Set(fd, PACKET_IGNORE_OUTGOING, 1)) return failed("PACKET_IGNORE_OUTGOING");
  // FORCE goes beyond net.core.rmem_max and needs CAP_NET_ADMIN, which vmqd has.
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes, sizeof(kReceiveBufferBytes));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = ifindex;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return failed("bind");
  if (role == Role::kFlood) {
    const packet_mreq request = Membership(ifindex, PACKET_MR_ALLMULTI, {});
    if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof(request)) != 0) {
      return failed("PACKET_MR_ALLMULTI");
    }
  }
  return packet_socket;
}

uint32_t PacketSocket::Receive(uint8_t* const* buffers, uint32_t capacity, uint32_t count,
                               Received* out) {
  const bool device = role_ == Role::kDevice;
  for (uint32_t i = 0; i < count; ++i) {
    Slot& slot = (*slots_)[i];
    slot.parts[0] = {&slot.header, sizeof(slot.header)};
    slot.parts[1] = {buffers[i], capacity};
    if (large_ != nullptr)
      slot.parts[2] = {large_.get() + i * kLargeStride + kLargeHead, kMaxLarge};
    msghdr& message = messages_[i].msg_hdr;
    message.msg_iov = device ? slot.parts : slot.parts + 1;
    message.msg_iovlen = 1 + (device ? 1 : 0) + (large_ != nullptr ? 1 : 0);
    message.msg_control = slot.control;
    message.msg_controllen = sizeof(slot.control);
  }
  // MSG_TRUNC: the true length, also of a frame that did not fit.
  const int received = recvmmsg(fd_, messages_.data(), count, MSG_DONTWAIT | MSG_TRUNC, nullptr);
  // EINVAL ends a batch, or comes with the next one, and stands for exactly one frame that is gone.
  if (received < 0 && errno == EINVAL) unspeakable_.Add(1);
  if (received <= 0) return 0;
  for (int i = 0; i < received; ++i) {
    Slot& slot = (*slots_)[static_cast<size_t>(i)];
    Received& frame = out[i];
    frame = {};
    frame.data = buffers[i];
    frame.length = messages_[static_cast<size_t>(i)].msg_len;
    if (device) {
      frame.header = slot.header;
      frame.length -= std::min<uint32_t>(frame.length, sizeof(slot.header));
    }
    if (frame.length > capacity && large_ != nullptr) {
      frame.data = static_cast<uint8_t*>(slot.parts[2].iov_base) - capacity;
      std::memcpy(frame.data, buffers[i], capacity);
    }
    const cmsghdr* control = CMSG_FIRSTHDR(&messages_[static_cast<size_t>(i)].msg_hdr);
    if (control != nullptr && control->cmsg_type == PACKET_AUXDATA) {
      tpacket_auxdata aux;
      std::memcpy(&aux, CMSG_DATA(control), sizeof(aux));
      frame.tagged = aux.tp_status & TP_STATUS_VLAN_VALID;
      frame.tci = aux.tp_vlan_tci;
      frame.tpid = aux.tp_vlan_tpid;
    }
  }
  return static_cast<uint32_t>(received);
}

absl::Status PacketSocket::Claim(const MacAddress& mac) {
  const packet_mreq request = Membership(ifindex_, PACKET_MR_UNICAST, mac);
  if (setsockopt(fd_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof(request)) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("having the NIC accept frames for ",
                                                    mac.ToString(), ": ", std::strerror(errno)));
}

void PacketSocket::Release(const MacAddress& mac) {
  const packet_mreq request = Membership(ifindex_, PACKET_MR_UNICAST, mac);
  setsockopt(fd_, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &request, sizeof(request));
}

void PacketSocket::Silence() { Filter(fd_, kNothing); }

PacketSocket::Statistics PacketSocket::ReadStatistics() {
  tpacket_stats fresh{};
  socklen_t length = sizeof(fresh);
  if (getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &fresh, &length) == 0) {
    statistics_.received += fresh.tp_packets;
    statistics_.dropped += fresh.tp_drops;
  }
  return statistics_;
}

}  // namespace vmqd

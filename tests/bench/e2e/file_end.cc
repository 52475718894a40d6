// See file_end.h.
#include "tests/bench/e2e/file_end.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "daemon/net/virtio_net_header.h"

namespace vmqd::bench {
namespace {

constexpr size_t kRoom = 65600;
constexpr uint32_t kSegment =
    128;  // bytes of TCP payload: large frames that cost their sender little
constexpr size_t kTcpHeaders = 54;
constexpr size_t kTcpOffset = 34;

int OpenTap(const std::string& device, int flags) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | flags);
  if (ioctl(fd, TUNSETIFF, &request) == 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

FileEnd::FileEnd(std::vector<int> files, size_t header, bool hears)
    : files_(std::move(files)),
      header_(header),
      hears_(hears),
      out_(kRoom),
      answer_(header + kLongest),
      in_(kRoom) {}

FileEnd::~FileEnd() {
  for (const int file : files_) close(file);
}

std::unique_ptr<FileEnd> FileEnd::Tap(const std::string& device) {
  const int fd = OpenTap(device, IFF_VNET_HDR);
  if (fd < 0) return nullptr;
  return std::unique_ptr<FileEnd>(new FileEnd({fd}, sizeof(virtio_net_hdr), true));
}

std::unique_ptr<FileEnd> FileEnd::Nic(const std::string& device, int queues) {
  std::vector<int> files;
  for (int queue = 0; queue < queues; ++queue) {
    files.push_back(OpenTap(device, IFF_MULTI_QUEUE));
    if (files.back() < 0) return nullptr;
  }
  return std::unique_ptr<FileEnd>(new FileEnd(std::move(files), 0, true));
}

std::unique_ptr<FileEnd> FileEnd::Packet(const std::string& device) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  const int yes = 1;
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes));
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return nullptr;
  }
  return std::unique_ptr<FileEnd>(new FileEnd({fd}, 0, false));
}

size_t FileEnd::QueueOf(const uint8_t* frame) const {
  return static_cast<size_t>(frame[4] << 8 | frame[5]) % files_.size();
}

bool FileEnd::Write(size_t file, size_t length) {
  return write(files_[file], out_.data(), header_ + length) > 0;
}

bool FileEnd::SendOne(uint64_t number) {
  if (stream_bytes_ > 0) return Write(0, stream_bytes_);
  const uint32_t size = bench_size(&load_, number);
  uint8_t* frame = &out_[header_];
  bench_stamp(&load_, number, size, load_.probe_each != 0 ? NowNs() : 0, frame);
  return Write(QueueOf(frame), size);
}

uint32_t FileEnd::Receive() {
  uint32_t frames = 0;
  if (!hears_) return 0;
  for (const int file : files_) {
    for (uint32_t i = 0; i < kBurst; ++i, ++frames) {
      const ssize_t got = read(file, in_.data(), in_.size());
      if (got <= static_cast<ssize_t>(header_)) break;
      Took(&in_[header_], static_cast<size_t>(got) - header_);
    }
  }
  return frames;
}

void FileEnd::Answer(const uint8_t* frame, size_t length) {
  std::memcpy(&answer_[header_], frame, length);
  [[maybe_unused]] const ssize_t rc =
      write(files_[QueueOf(frame)], answer_.data(), header_ + length);
}

bool FileEnd::Stream(const bench_load& load, uint32_t segments) {
  if (header_ != sizeof(virtio_net_hdr) || segments * kSegment > 60000) return false;
  virtio_net_hdr offload{};
  offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  offload.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  offload.hdr_len = kTcpHeaders;
  offload.gso_size = kSegment;
  offload.csum_start = kTcpOffset;
  offload.csum_offset = 16;
  stream_bytes_ = kTcpHeaders + size_t{segments} * kSegment;
  std::memcpy(out_.data(), &offload, sizeof(offload));
  uint8_t* frame = &out_[header_];
  bench_stamp(&load, 0, static_cast<uint32_t>(stream_bytes_), 0, frame);
  const uint8_t tcp[] = {0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0};
  std::memcpy(frame + 38, tcp, sizeof(tcp));  // behind the ports, which bench_stamp wrote
  frame[23] = IPPROTO_TCP;
  Send(load);
  return true;
}

}  // namespace vmqd::bench

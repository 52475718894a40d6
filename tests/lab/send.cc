// vmqd_lab_send DEVICE COUNT FLOWS MAC [VLAN]: sends COUNT UDP frames for MAC out of DEVICE, of
// FLOWS flows in turn, at a pace that an emulated machine keeps up with, and prints how many went
// out. It needs nothing but the device: no address, no neighbour, no answer. One thread; exit code
// 1 and a sentence on error.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/lab/generator.h"

namespace {

constexpr int kBurst = 8;              // frames
constexpr useconds_t kPauseUs = 1000;  // behind each

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "vmqd_lab_send: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int OpenOn(const char* device) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("packet socket");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_IP);
  address.sll_ifindex = static_cast<int>(if_nametoindex(device));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0) Die(device);
  return fd;
}

std::vector<vmqd::lab::Frame> Flows(int flows, const vmqd::lab::Mac& mac, int vlan) {
  std::vector<vmqd::lab::Frame> frames;
  for (int flow = 0; flow < flows; ++flow) {
    vmqd::lab::Frame frame = vmqd::lab::UdpFrame(mac, flow, vmqd::lab::kMinSize);
    const auto id = static_cast<uint8_t>(vlan);
    const uint8_t tag[] = {0x81, 0, static_cast<uint8_t>(vlan >> 8), id};
    if (vlan != 0) frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
    frames.push_back(std::move(frame));
  }
  return frames;
}

}  // namespace

int main(int argc, char** argv) {
  const ether_addr* address = argc >= 5 ? ether_aton(argv[4]) : nullptr;
  const int flows = address != nullptr ? std::atoi(argv[3]) : 0;
  if (flows < 1 || argc > 6) {
    std::fprintf(stderr, "usage: vmqd_lab_send DEVICE COUNT FLOWS MAC [VLAN]\n");
    return 1;
  }
  vmqd::lab::Mac mac;
  std::copy_n(address->ether_addr_octet, mac.size(), mac.begin());
  const auto frames = Flows(flows, mac, argc == 6 ? std::atoi(argv[5]) : 0);
  const int fd = OpenOn(argv[1]);
  const int count = std::atoi(argv[2]);
  for (int sent = 0; sent < count; ++sent) {
    const vmqd::lab::Frame& frame = frames[static_cast<size_t>(sent % flows)];
    if (write(fd, frame.data(), frame.size()) < 0) Die("sending");
    if (sent % kBurst == kBurst - 1) usleep(kPauseUs);
  }
  close(fd);
  std::printf("%d\n", count);
}

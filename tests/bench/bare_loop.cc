// vmqd_bench_bare_loop [-w] FROM TO: the least that an AF_XDP program can do to move frames from
// one device to another, as the measure for vmqd. One thread, which the caller pins; one UMEM
// shared by both devices, so that a frame moves by descriptor; nothing is looked at. With -w it
// sleeps in poll() when there is nothing to do, else it spins. Prints "ready" and runs until it is
// killed; the kernel takes the programs off and closes the sockets.
#include <bpf/bpf.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <linux/types.h>

#include "tests/bench/load.h"

#include "bench.skel.h"  // needs load.h

namespace {

constexpr uint32_t kBuffers = 8192;
constexpr uint32_t kBufferSize = 2048;
constexpr uint32_t kRing = 2048;
constexpr uint32_t kBatch = 64;
constexpr uint32_t kFramesACall = 32;  // of one transmit call in copy mode

[[noreturn]] void Die(const std::string& what, int error) {
  std::fprintf(stderr, "vmqd_bench_bare_loop: %s: %s\n", what.c_str(), std::strerror(error));
  std::exit(1);
}

struct Device {
  std::string name;
  bench_bpf* program = nullptr;
  bpf_link* link = nullptr;
  xsk_socket* socket = nullptr;
  xsk_ring_prod fill{}, tx{};
  xsk_ring_cons completion{}, rx{};
  uint32_t unsent = 0;

  int fd() const { return xsk_socket__fd(socket); }
};

class Loop {
 public:
  Loop(const char* from, const char* to, bool sleeps) : sleeps_(sleeps) {
    void* memory = mmap(nullptr, size_t{kBuffers} * kBufferSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) Die("memory", errno);
    for (uint32_t i = 0; i < kBuffers; ++i) pool_.push_back(uint64_t{i} * kBufferSize);
    const xsk_umem_config config = {2 * kRing, kRing, kBufferSize, XSK_UMEM__DEFAULT_FRAME_HEADROOM,
                                    0};
    const int error = xsk_umem__create(&umem_, memory, uint64_t{kBuffers} * kBufferSize,
                                       &from_.fill, &from_.completion, &config);
    if (error != 0) Die("register memory", -error);
    Open(from_, from);
    Open(to_, to);
  }

  [[noreturn]] void Run() {
    for (;;) {
      bool idle = true;
      for (Device* in : {&from_, &to_}) {
        Refill(*in);
        idle &= !Move(*in, in == &from_ ? to_ : from_);
      }
      for (Device* out : {&from_, &to_}) {
        Kick(*out);
        Reclaim(*out);
        idle &= out->unsent == 0;
      }
      if (idle && sleeps_) {
        pollfd waits[] = {{from_.fd(), POLLIN, 0}, {to_.fd(), POLLIN, 0}};
        poll(waits, 2, -1);
      }
    }
  }

 private:
  void Open(Device& device, const char* name) {
    device.name = name;
    const int index = static_cast<int>(if_nametoindex(name));
    if (index == 0) Die(name, errno);
    device.program = bench_bpf__open_and_load();
    if (device.program == nullptr) Die("load programs", errno);
    xsk_socket_config config{};
    config.rx_size = kRing;
    config.tx_size = kRing;
    config.bind_flags = XDP_USE_NEED_WAKEUP | XDP_COPY;
    config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
    const int error =
        xsk_socket__create_shared(&device.socket, name, 0, umem_, &device.rx, &device.tx,
                                  &device.fill, &device.completion, &config);
    if (error != 0) Die("socket on " + device.name, -error);
    const uint32_t key = 0;
    const int fd = device.fd();
    if (bpf_map_update_elem(bpf_map__fd(device.program->maps.sockets), &key, &fd, BPF_ANY) != 0) {
      Die("socket map", errno);
    }
    device.link = bpf_program__attach_xdp(device.program->progs.bench_to_socket, index);
    if (device.link == nullptr) Die("attach to " + device.name, errno);
  }

  void Refill(Device& device) {
    const uint32_t count = std::min(
        {xsk_prod_nb_free(&device.fill, kBatch), kBatch, static_cast<uint32_t>(pool_.size())});
    uint32_t index = 0;
    if (count == 0 || xsk_ring_prod__reserve(&device.fill, count, &index) != count) return;
    for (uint32_t i = 0; i < count; ++i) {
      *xsk_ring_prod__fill_addr(&device.fill, index + i) = pool_.back();
      pool_.pop_back();
    }
    xsk_ring_prod__submit(&device.fill, count);
  }

  void Reclaim(Device& device) {
    uint32_t index = 0;
    const uint32_t count = xsk_ring_cons__peek(&device.completion, kBatch, &index);
    for (uint32_t i = 0; i < count; ++i) {
      Give(*xsk_ring_cons__comp_addr(&device.completion, index + i));
    }
    if (count > 0) xsk_ring_cons__release(&device.completion, count);
  }

  void Give(uint64_t addr) { pool_.push_back(addr & ~uint64_t{kBufferSize - 1}); }

  // Up to a batch from one device's receive ring to the other's transmit ring.
  bool Move(Device& in, Device& out) {
    std::array<xdp_desc, kBatch> frames;
    uint32_t index = 0;
    const uint32_t count = xsk_ring_cons__peek(&in.rx, kBatch, &index);
    if (count == 0) return false;
    for (uint32_t i = 0; i < count; ++i) frames[i] = *xsk_ring_cons__rx_desc(&in.rx, index + i);
    xsk_ring_cons__release(&in.rx, count);
    const uint32_t room = std::min(xsk_prod_nb_free(&out.tx, count), count);
    for (uint32_t i = room; i < count; ++i) Give(frames[i].addr);
    if (room == 0 || xsk_ring_prod__reserve(&out.tx, room, &index) != room) return true;
    for (uint32_t i = 0; i < room; ++i) *xsk_ring_prod__tx_desc(&out.tx, index + i) = frames[i];
    xsk_ring_prod__submit(&out.tx, room);
    out.unsent += room;
    return true;
  }

  void Kick(Device& device) {
    for (int calls = 0; device.unsent > 0 && calls < 4; ++calls) {
      sendto(device.fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
      device.unsent -= std::min(device.unsent, kFramesACall);
      Reclaim(device);
    }
  }

  const bool sleeps_;
  xsk_umem* umem_ = nullptr;
  std::vector<uint64_t> pool_;
  Device from_, to_;
};

}  // namespace

int main(int argc, char** argv) {
  const bool sleeps = argc == 4 && std::strcmp(argv[1], "-w") == 0;
  if (argc != 3 && !sleeps) {
    std::fprintf(stderr, "usage: vmqd_bench_bare_loop [-w] FROM TO\n");
    return 2;
  }
  Loop loop(argv[argc - 2], argv[argc - 1], sleeps);
  std::puts("ready");
  std::fflush(stdout);
  loop.Run();
}

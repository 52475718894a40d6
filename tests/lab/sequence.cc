// vmqd_lab_sequence WIRE_FD VM_FD VM_MAC WIRE_MAC: numbered frames both ways between two taps whose
// descriptors it inherits: a queue of the NIC stand-in, and a VM's tap with IFF_VNET_HDR. As fast
// as it goes, but never with more than kWindow frames of a direction under way, so that no ring
// fills up and a frame that is missing was lost on the way. Runs until standard input ends, then
// prints {"to_vm": {"sent": N, "lost": N, "reordered": N}, "from_vm": {...}}.
//
// A thread a direction; each writes to one descriptor and reads from the other.
#include <netinet/ether.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace {

constexpr uint32_t kWindow = 256;  // frames; the smallest ring on the way has 500
constexpr size_t kVnetHeader = 10;
constexpr size_t kFrame = 60;
constexpr size_t kNumberAt = 22;  // behind addresses, type, "vmqd" and the flow
constexpr std::chrono::seconds kGivenUp{5};

std::atomic<bool> stopping{false};

struct End {
  int fd;
  size_t header;  // bytes before the frame
};

struct Result {
  uint32_t sent = 0;
  uint32_t lost = 0;
  uint32_t reordered = 0;
};

using Buffer = std::array<uint8_t, 2048>;

// As tests/lab/frames.py numbers them.
size_t Build(const End& from, const ether_addr& to, const ether_addr& source, Buffer& buffer) {
  buffer.fill(0);
  uint8_t* frame = buffer.data() + from.header;
  std::memcpy(frame, &to, 6);
  std::memcpy(frame + 6, &source, 6);
  std::memcpy(frame + 12, "\x88\xb5vmqd", 6);
  return from.header + kFrame;
}

// Takes the frames that have arrived; `expected` is the number of the next.
bool Take(const End& to, uint32_t& expected, Result& result) {
  Buffer buffer;
  bool any = false;
  ssize_t length;
  while ((length = read(to.fd, buffer.data(), buffer.size())) > 0) {
    const uint8_t* frame = buffer.data() + to.header;
    if (static_cast<size_t>(length) < to.header + kFrame ||
        std::memcmp(frame + 12, "\x88\xb5vmqd", 6) != 0) {
      continue;  // not of ours
    }
    uint32_t number;
    std::memcpy(&number, frame + kNumberAt, sizeof(number));
    any = true;
    if (number < expected) {
      ++result.reordered;  // it was taken for lost
      --result.lost;
      continue;
    }
    result.lost += number - expected;
    expected = number + 1;
  }
  return any;
}

void Run(End from, End to, ether_addr target, ether_addr source, Result& result) {
  Buffer buffer;
  const size_t length = Build(from, target, source, buffer);
  uint32_t expected = 0;
  auto progress = std::chrono::steady_clock::now();
  while (!stopping || expected != result.sent) {
    bool any = false;
    while (!stopping && result.sent - expected < kWindow) {
      std::memcpy(buffer.data() + from.header + kNumberAt, &result.sent, sizeof(result.sent));
      if (write(from.fd, buffer.data(), length) < 0) break;  // it is full for a moment
      ++result.sent;
      any = true;
    }
    any = Take(to, expected, result) || any;
    const auto now = std::chrono::steady_clock::now();
    if (any) {
      progress = now;
      continue;
    }
    if (now - progress > kGivenUp) {
      result.lost += result.sent - expected;
      expected = result.sent;
    }
    pollfd readable{to.fd, POLLIN, 0};
    poll(&readable, 1, 1);
  }
}

void Print(const char* name, const Result& result) {
  std::printf("\"%s\": {\"sent\": %u, \"lost\": %u, \"reordered\": %u}", name, result.sent,
              result.lost, result.reordered);
}

}  // namespace

int main(int argc, char** argv) {
  ether_addr vm_mac, wire_mac;
  if (argc != 5 || ether_aton_r(argv[3], &vm_mac) == nullptr ||
      ether_aton_r(argv[4], &wire_mac) == nullptr) {
    std::fprintf(stderr, "usage: vmqd_lab_sequence WIRE_FD VM_FD VM_MAC WIRE_MAC\n");
    return 2;
  }
  const End wire{std::atoi(argv[1]), 0};
  const End vm{std::atoi(argv[2]), kVnetHeader};
  Result to_vm, from_vm;
  std::thread down([&] { Run(wire, vm, vm_mac, wire_mac, to_vm); });
  std::thread up([&] { Run(vm, wire, wire_mac, vm_mac, from_vm); });
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  stopping = true;
  down.join();
  up.join();
  std::printf("{");
  Print("to_vm", to_vm);
  std::printf(", ");
  Print("from_vm", from_vm);
  std::printf("}\n");
  return 0;
}

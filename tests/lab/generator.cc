// The loop of the generator; generator.h says who calls it.
#include "tests/lab/generator.h"

#include <arpa/inet.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <sstream>

namespace vmqd::lab {
namespace {

constexpr size_t kBurst = 32;
constexpr long kPauseNs = 200000;  // timers are dear in a virtual machine

double Now(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

uint16_t HeaderChecksum(const uint8_t* header, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i < length; i += 2)
    sum += static_cast<uint32_t>(header[i] << 8 | header[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void Put16(Frame& frame, size_t at, size_t value) {
  frame[at] = static_cast<uint8_t>(value >> 8);
  frame[at + 1] = static_cast<uint8_t>(value);
}

}  // namespace

Frame UdpFrame(const Mac& destination, int flow, size_t size) {
  Frame frame(size, 0);
  constexpr Mac kSource = {0x02, 0x00, 0x00, 0x00, 0xff, 0xfe};
  std::copy(destination.begin(), destination.end(), frame.begin());
  std::copy(kSource.begin(), kSource.end(), frame.begin() + 6);
  Put16(frame, 12, 0x0800);
  Put16(frame, 14, 0x4500);
  Put16(frame, 16, size - 14);
  Put16(frame, 22, 64 << 8 | 17);  // TTL, UDP
  const uint32_t from = htonl(0xc6120001);
  const uint32_t to = htonl(0xc6130000 + destination[5]);
  std::memcpy(&frame[26], &from, sizeof(from));
  std::memcpy(&frame[30], &to, sizeof(to));
  Put16(frame, 24, HeaderChecksum(&frame[14], 20));
  Put16(frame, 34, 10000 + static_cast<size_t>(flow));
  Put16(frame, 36, 9);  // discard
  Put16(frame, 38, size - 34);
  return frame;
}

std::string Send(const Load& load) {
  prctl(PR_SET_TIMERSLACK, 1000);
  uint64_t sent = 0, refused = 0;
  size_t next = 0;
  const double start = Now(CLOCK_MONOTONIC);
  double elapsed = 0;
  for (; elapsed < load.seconds; elapsed = Now(CLOCK_MONOTONIC) - start) {
    const double due =
        load.rate > 0 ? elapsed * load.rate - static_cast<double>(sent + refused) : kBurst;
    if (due < 1) {
      const timespec pause = {0, kPauseNs};
      nanosleep(&pause, nullptr);
      continue;
    }
    for (size_t i = std::min(kBurst, static_cast<size_t>(due)); i > 0; --i) {
      const Flow& flow = load.flows[next];
      next = next + 1 == load.flows.size() ? 0 : next + 1;
      const ssize_t rc = write(flow.descriptor, flow.frame.data(), flow.frame.size());
      ++(rc < 0 ? refused : sent);
    }
  }
  std::ostringstream line;
  line << "sent " << sent << " refused " << refused << " seconds " << elapsed << " cpu "
       << Now(CLOCK_THREAD_CPUTIME_ID);
  return line.str();
}

}  // namespace vmqd::lab

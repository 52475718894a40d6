// vmqd_lab_guest SOCKET PAIRS: a VM on a vhost-user port, without a VM around it: connects, starts
// PAIRS pairs of queues, and prints which pair each frame came by, a line a frame, until it is
// killed. Exit code 1 when the port refuses it or breaks the rules of the rings.
#include <cstdio>
#include <cstdlib>

#include "tests/support/front_end.h"

int main(int argc, char** argv) {
  using vmqd::testing::FrontEnd;
  FrontEnd::Options options;
  options.pairs = argc == 3 ? static_cast<uint32_t>(std::atoi(argv[2])) : 0;
  if (options.pairs == 0) {
    std::fprintf(stderr, "usage: vmqd_lab_guest SOCKET PAIRS\n");
    return 1;
  }
  FrontEnd guest(options);
  if (!guest.Connect(argv[1])) {
    std::fprintf(stderr, "vmqd_lab_guest: %s refused\n", argv[1]);
    return 1;
  }
  while (guest.problems().empty()) {
    const auto frame = guest.Receive();
    if (!frame) continue;
    std::printf("%u\n", frame->pair);
    std::fflush(stdout);
  }
  std::fprintf(stderr, "vmqd_lab_guest: %s\n", guest.problems().c_str());
  return 1;
}

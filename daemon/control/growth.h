// How much a counter has grown since it was looked at last. A value; control threads.
#ifndef VMQD_DAEMON_CONTROL_GROWTH_H_
#define VMQD_DAEMON_CONTROL_GROWTH_H_

#include <cstdint>
#include <utility>

namespace vmqd {

class Growth {
 public:
  // A counter that went back began anew at 0: its socket, or whoever counted, was replaced.
  uint64_t Take(uint64_t now) {
    const uint64_t before = std::exchange(before_, now);
    return now >= before ? now - before : now;
  }

 private:
  uint64_t before_ = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_GROWTH_H_

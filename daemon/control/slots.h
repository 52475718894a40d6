// Places in a fixed table, taken and given back: the first free run of the length asked for.
#ifndef VMQD_DAEMON_CONTROL_SLOTS_H_
#define VMQD_DAEMON_CONTROL_SLOTS_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace vmqd {

class Slots {
 public:
  explicit Slots(uint32_t size) : taken_(size, false) {}

  std::optional<uint32_t> Take(uint32_t count) {
    const auto run = std::search_n(taken_.begin(), taken_.end(), count, false);
    if (run == taken_.end()) return std::nullopt;
    std::fill_n(run, count, true);
    return static_cast<uint32_t>(run - taken_.begin());
  }
  void Give(uint32_t first, uint32_t count) { std::fill_n(taken_.begin() + first, count, false); }

 private:
  std::vector<bool> taken_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_SLOTS_H_

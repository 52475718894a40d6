// A worker's free buffers: a stack, so that the buffer given back last, still in the cache, is the
// next one used. Owned by one worker; no locks.
#ifndef VMQD_DAEMON_XDP_FRAME_POOL_H_
#define VMQD_DAEMON_XDP_FRAME_POOL_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "daemon/xdp/frame_area.h"

namespace vmqd {

class FramePool {
 public:
  // Starts with every buffer of `area`, which must outlive the pool.
  explicit FramePool(FrameArea& area) : area_(area) {
    free_.reserve(area.buffers());
    for (uint32_t i = area.buffers(); i-- > 0;) {
      free_.push_back(static_cast<uint64_t>(i) * area.buffer_size());
    }
  }

  FrameArea& area() const { return area_; }
  uint32_t available() const { return static_cast<uint32_t>(free_.size()); }

  // The start address of a buffer; the caller has looked at available().
  uint64_t Take() {
    const uint64_t buffer = free_.back();
    free_.pop_back();
    return buffer;
  }
  // `addr` may point anywhere into the buffer. Never reallocates: the capacity is the whole area.
  void Give(uint64_t addr) {
    const uint64_t buffer = area_.BufferOf(addr);
    area_.SetOwner(buffer, FrameArea::kInHand);
    free_.push_back(buffer);
  }

 private:
  FrameArea& area_;
  std::vector<uint64_t> free_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_FRAME_POOL_H_

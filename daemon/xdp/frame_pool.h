// A worker's free buffers: a stack, so that the buffer given back last, still in the cache, is the
// next one used. With it the room for frames that take several. Owned by one worker; no locks.
#ifndef VMQD_DAEMON_XDP_FRAME_POOL_H_
#define VMQD_DAEMON_XDP_FRAME_POOL_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "daemon/net/frame_tail.h"
#include "daemon/xdp/frame_area.h"
#include "daemon/xdp/tail_room.h"

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

  // Starts empty; what is free in it is tagged `idle`.
  FramePool(FrameArea& area, FrameArea::Owner idle) : area_(area), idle_(idle) {
    free_.reserve(area.buffers());
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
    area_.SetOwner(buffer, idle_);
    free_.push_back(buffer);
  }

  TailRoom& tails() { return tails_; }

 private:
  FrameArea& area_;
  const FrameArea::Owner idle_ = FrameArea::kInHand;
  std::vector<uint64_t> free_;
  TailRoom tails_;
};

// The buffers of a frame behind its own.
inline void GivePieces(FramePool& pool, const FrameTail& tail) {
  for (uint32_t i = 0; i < tail.piece_count; ++i) {
    if (tail.pieces[i].buffer != FramePiece::kNotOurs) pool.Give(tail.pieces[i].buffer);
  }
}

// A frame with all its buffers.
inline void GiveFrame(FramePool& pool, const Frame& frame) {
  pool.Give(frame.addr);
  if (frame.tail != nullptr) GivePieces(pool, *frame.tail);
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_FRAME_POOL_H_

// TailRoom: where a worker keeps the tails of frames that lie in several of its own buffers, while
// it deals with a burst: those it received, and those that were made of them. A stack: who makes
// tails notes the mark before, and goes back to it when they are no longer needed. One worker's;
// nothing here allocates after construction.
#ifndef VMQD_DAEMON_XDP_TAIL_ROOM_H_
#define VMQD_DAEMON_XDP_TAIL_ROOM_H_

#include <array>
#include <cstdint>
#include <memory>

#include "daemon/net/frame_tail.h"
#include "daemon/xdp/frame_area.h"

namespace vmqd {

// Buffers of one frame, at most. The kernel sends no chain of more than 18 (MAX_SKB_FRAGS and one),
// and every port may have as many under way (the least quota).
inline constexpr uint32_t kMostBuffers = 16;

class TailRoom {
 public:
  // A burst of the longest frames, received and made again. What is received takes the first half.
  static constexpr uint32_t kTails = 256;
  static constexpr uint32_t kPieces = 2048;

  struct Mark {
    uint32_t tails = 0;
    uint32_t pieces = 0;
  };
  Mark mark() const { return used_; }
  void Release(Mark mark) { used_ = mark; }
  void Clear() { used_ = {}; }

  bool Has(uint32_t pieces) const {
    return used_.tails < kTails && used_.pieces + pieces <= kPieces;
  }
  bool HasForReceived(uint32_t pieces) const {
    return used_.tails < kTails / 2 && used_.pieces + pieces <= kPieces / 2;
  }
  // A tail of `count` pieces, which there is room for. They are the caller's to fill in.
  FrameTail* Take(uint32_t count, FramePiece** pieces) {
    FrameTail* tail = &tails_[used_.tails++];
    *pieces = &pieces_[used_.pieces];
    *tail = {.pieces = *pieces, .piece_count = count};
    used_.pieces += count;
    return tail;
  }

  // One frame in one place, before it is cut up; nobody keeps it.
  uint8_t* flat() { return flat_.get(); }
  static constexpr uint32_t kFlat = 65536;

 private:
  Mark used_;
  std::array<FrameTail, kTails> tails_;
  std::array<FramePiece, kPieces> pieces_;
  std::unique_ptr<uint8_t[]> flat_ = std::make_unique_for_overwrite<uint8_t[]>(kFlat);
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_TAIL_ROOM_H_

// Reading a frame that lies in several places. Called by workers for every frame with a tail.
//
// Most reads end inside the place they begin in; only those that do not come to Read's loop twice.
#include "daemon/net/frame_tail.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace vmqd {

// Bytes left in the place that is being read; moves on to the next one where there are none.
uint32_t FrameReader::Left() {
  for (;;) {
    const uint32_t size = piece_ == 0 ? tail_->head : tail_->pieces[piece_ - 1].bytes.size();
    if (offset_ < size) return size - offset_;
    assert(piece_ < tail_->piece_count);
    ++piece_;
    offset_ = 0;
  }
}

void FrameReader::Read(uint32_t count, uint8_t* to) {
  while (count > 0) {
    const uint32_t taken = std::min(count, Left());
    if (piece_ == 0) {
      std::memcpy(to, head_ + offset_, taken);
    } else {
      tail_->pieces[piece_ - 1].bytes.Part(offset_, taken).CopyTo(to);
    }
    offset_ += taken;
    to += taken;
    count -= taken;
  }
}

void FrameReader::Read(GuestSpan to) {
  uint32_t done = 0;
  while (done < to.size()) {
    const uint32_t taken = std::min(to.size() - done, Left());
    const GuestSpan part = to.Part(done, taken);
    if (piece_ == 0) {
      part.CopyFrom(head_ + offset_);
    } else {
      part.CopyFrom(tail_->pieces[piece_ - 1].bytes.Part(offset_, taken));
    }
    offset_ += taken;
    done += taken;
  }
}

void FrameReader::Skip(uint32_t count) {
  while (count > 0) {
    const uint32_t taken = std::min(count, Left());
    offset_ += taken;
    count -= taken;
  }
}

}  // namespace vmqd

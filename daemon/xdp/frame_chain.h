// Frames that lie in several buffers of the worker's area: the frame's own holds the first
// `tail->head` bytes, each piece's the next ones. They come from AF_XDP sockets that take frames of
// several descriptors (Linux 6.6), and go to such. One worker's; nothing here allocates.
#ifndef VMQD_DAEMON_XDP_FRAME_CHAIN_H_
#define VMQD_DAEMON_XDP_FRAME_CHAIN_H_

#include <cstdint>

#include "daemon/net/checksum.h"
#include "daemon/xdp/frame_pool.h"

namespace vmqd {

inline uint32_t BuffersOf(const Frame& frame) {
  return frame.tail == nullptr ? 1 : 1 + frame.tail->piece_count;
}

// Buffers of `area` that `length` bytes fill, at least one.
inline uint32_t BuffersFor(const FrameArea& area, uint32_t length) {
  return length <= area.max_frame_len() ? 1 : (length - 1) / area.max_frame_len() + 1;
}

// All pieces lie in buffers of the frame's own area.
inline bool IsChain(const FrameTail& tail) {
  return tail.piece_count > 0 && tail.piece_count < kMostBuffers &&
         tail.pieces[0].buffer != FramePiece::kNotOurs;
}

// How many of `count` frames, from the first on, have at most `room` buffers; *buffers: so many.
uint32_t FitInto(uint32_t room, const Frame* frames, uint32_t count, uint32_t* buffers);

// Says of all buffers of frames who has them. `chains`: some may have several.
inline void SetOwner(FrameArea& area, const Frame* frames, uint32_t count, FrameArea::Owner owner,
                     bool chains) {
  for (uint32_t i = 0; i < count; ++i) {
    area.SetOwner(frames[i].addr, owner);
    if (!chains || frames[i].tail == nullptr) continue;
    for (uint32_t piece = 0; piece < frames[i].tail->piece_count; ++piece) {
      area.SetOwner(frames[i].tail->pieces[piece].buffer, owner);
    }
  }
}

// A frame of the next `length` bytes of `reader`, in fresh buffers, as few as will do. False, and
// nothing read, when there are not enough, or more than kMostBuffers would be needed.
bool CopyToBuffers(FramePool& pool, FrameReader& reader, uint32_t length, Frame* out);
// The next `length` bytes, at least one, as the pieces of a new tail. Null, and nothing read, when
// there is not enough room.
FrameTail* CopyToPieces(FramePool& pool, FrameReader& reader, uint32_t length);
// A frame of bytes that lie in one place.
bool CopyToBuffers(FramePool& pool, const uint8_t* data, uint32_t length, Frame* out);

// A frame of at most `most` bytes, which write(to) puts into one place and returns how many they
// are. False, and nothing written, when there are not enough buffers.
template <typename Write>
bool WriteToBuffers(FramePool& pool, uint32_t most, Write write, Frame* out) {
  const uint32_t buffers = BuffersFor(pool.area(), most);
  if (pool.available() < buffers || !pool.tails().Has(buffers - 1)) return false;
  if (buffers > 1) {
    uint8_t* flat = pool.tails().flat();
    return CopyToBuffers(pool, flat, write(flat), out);
  }
  const uint64_t addr = pool.Take() + FrameArea::kHeadroom;
  *out = {addr, write(pool.area().Data(addr))};
  return true;
}

// CompleteChecksumAt, of a chain. The place of the checksum has to be in the first buffer.
bool CompleteChainChecksum(FrameArea& area, const Frame& frame, uint16_t start, uint16_t offset);

// Completes the checksum that a chain's sender left to the device, if it did: it asks for nothing
// any more. False when the place of the checksum is not in the first buffer.
bool CompleteChain(FrameArea& area, Frame& frame);

// A checksum that a virtual device's sender left to it is completed; of a chain it is left to who
// takes the frame (FrameTail::offload), which may never need it.
void FinishChainChecksum(FrameArea& area, Frame& frame);
inline void FinishChecksum(FrameArea& area, Frame& frame) {
  if (frame.tail == nullptr) {
    FinishPartialChecksum(area.Data(frame.addr), frame.len);
  } else {
    FinishChainChecksum(area, frame);
  }
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_FRAME_CHAIN_H_

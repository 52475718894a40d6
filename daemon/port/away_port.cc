#include "daemon/port/away_port.h"

#include <algorithm>
#include <cstring>

namespace vmqd {
namespace {

// A copy of `frame` in buffers of `to`, with what is left to do for it. False: there are not
// enough.
bool Copy(FrameArea& area, const Frame& frame, FramePool& to, Frame* copy) {
  if (frame.tail == nullptr) {
    if (to.available() == 0) return false;
    // A tag that was put back begins before the place of a frame without one.
    const uint64_t offset =
        std::min<uint64_t>(frame.addr - area.BufferOf(frame.addr), FrameArea::kHeadroom);
    *copy = {to.Take() + offset, frame.len};
    std::memcpy(to.area().Data(copy->addr), area.Data(frame.addr), frame.len);
    return true;
  }
  FrameReader reader(area.Data(frame.addr), *frame.tail);
  if (!CopyToBuffers(to, reader, frame.len, copy)) return false;
  if (copy->tail != nullptr) copy->tail->offload = frame.tail->offload;
  return true;
}

}  // namespace

void AwayPort::TakeBuffers(FramePool& pool) {
  if (&pool.area() != &pool_.area()) return;
  for (uint32_t held = pool.area().CountOwnedBy(owner_); held < keeps_; ++held) {
    if (pool.available() == 0) break;
    pool_.Give(pool.Take());
  }
}

std::vector<uint64_t> AwayPort::GiveBuffers() {
  std::vector<uint64_t> buffers;
  while (pool_.available() > 0) {
    buffers.push_back(pool_.Take());
    pool_.area().SetOwner(buffers.back(), FrameArea::kInHand);  // nobody else finds them by the tag
  }
  return buffers;
}

uint32_t AwayPort::Receive(FramePool& pool, Frame* out, uint32_t max) {
  // No more than there is surely room for.
  const uint32_t room = std::min(pool.available() / BuffersPerFrame(), pool_.available());
  const uint32_t count = port_.Receive(pool_, frames_.data(), std::min({max, room, kBurst}));
  pool.tails().Clear();
  uint32_t copied = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (Copy(pool_.area(), frames_[i], pool, &out[copied])) ++copied;
    GiveFrame(pool_, frames_[i]);
  }
  port_.Settle();
  return copied;
}

PortOffloads AwayPort::Offloads() const {
  PortOffloads offloads = port_.Offloads();
  offloads.pieces = offloads.chains;  // copied anyway
  return offloads;
}

uint32_t AwayPort::Room() { return std::min({port_.Room(), pool_.available(), kBurst}); }

uint32_t AwayPort::Transmit(FramePool& pool, const Frame* frames, uint32_t count) {
  pool_.tails().Clear();
  uint32_t copied = 0;
  while (copied < std::min(count, kBurst) &&
         Copy(pool.area(), frames[copied], pool_, &frames_[copied])) {
    ++copied;
  }
  const uint32_t sent = port_.Transmit(pool_, frames_.data(), copied);
  for (uint32_t i = sent; i < copied; ++i) GiveFrame(pool_, frames_[i]);
  for (uint32_t i = 0; i < sent; ++i) GiveFrame(pool, frames[i]);
  return sent;
}

}  // namespace vmqd

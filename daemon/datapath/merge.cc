#include "daemon/datapath/merge.h"

#include <algorithm>
#include <array>

namespace vmqd {
namespace {

// The frames of one group as one.
Frame Merged(Lane& lane, const Frame* frames, const Coalescing::Group& group, MergeRoom& room) {
  const FrameArea& area = lane.pool.area();
  const Frame& first = frames[group.first];
  FrameTail& tail = room.tails[room.tail_count++];
  FramePiece* pieces = &room.pieces[room.piece_count];
  tail = {.offload = group.offload,
          .head = first.len,
          .wire_len = first.len,  // no other is longer
          .frames = group.frames,
          .pieces = pieces,
          .piece_count = group.frames - 1};
  uint32_t at = room.coalescing.further(group.first).next;
  for (uint32_t i = 0; i < tail.piece_count; ++i) {
    const Coalescing::Further& further = room.coalescing.further(at);
    pieces[i] = {.bytes = {area.Data(frames[at].addr) + further.offset, further.length},
                 .buffer = frames[at].addr + further.offset};
    at = further.next;
  }
  room.piece_count += tail.piece_count;
  return {first.addr, group.length, &tail};
}

}  // namespace

uint32_t MergeSegments(Lane& lane, const PortEntry& entry, Frame* frames, uint32_t count) {
  static_assert(kBurst <= Coalescing::kMaxBurst);
  if (count < 2) return count;
  const PortOffloads takes = lane.PairOf(entry).port->Offloads();
  if (!takes.tso4 && !takes.tso6) return count;
  MergeRoom& room = lane.merge;
  std::array<Coalescing::Arrival, kBurst> arrivals;
  for (uint32_t i = 0; i < count; ++i) {
    arrivals[i] = {lane.pool.area().Data(frames[i].addr), frames[i].len, frames[i].tail == nullptr};
  }
  room.coalescing.Run({arrivals.data(), count}, {takes.tso4, takes.tso6});
  const auto groups = room.coalescing.groups();
  if (groups.size() == count) return count;
  room.tail_count = room.piece_count = 0;
  std::array<Frame, kBurst> merged;
  uint32_t left = 0;
  for (const Coalescing::Group& group : groups) {
    merged[left++] = group.frames == 1 ? frames[group.first] : Merged(lane, frames, group, room);
  }
  std::copy_n(merged.begin(), left, frames);
  return left;
}

}  // namespace vmqd

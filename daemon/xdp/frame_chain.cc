// Making, copying and summing up frames of several buffers. Called by workers, for every such
// frame.
#include "daemon/xdp/frame_chain.h"

#include <endian.h>

#include <algorithm>
#include <utility>

namespace vmqd {

uint32_t FitInto(uint32_t room, const Frame* frames, uint32_t count, uint32_t* buffers) {
  *buffers = 0;
  uint32_t fit = 0;
  for (; fit < count; ++fit) {
    const uint32_t more = BuffersOf(frames[fit]);
    if (*buffers + more > room) break;
    *buffers += more;
  }
  return fit;
}

FrameTail* CopyToPieces(FramePool& pool, FrameReader& reader, uint32_t length) {
  FrameArea& area = pool.area();
  const uint32_t count = BuffersFor(area, length);
  if (pool.available() < count || !pool.tails().Has(count)) return nullptr;
  FramePiece* pieces;
  FrameTail* tail = pool.tails().Take(count, &pieces);
  for (uint32_t left = length; left > 0; ++pieces) {
    const uint32_t size = std::min(left, area.max_frame_len());
    const uint64_t addr = pool.Take() + FrameArea::kHeadroom;
    reader.Read(size, area.Data(addr));
    *pieces = {.bytes = {area.Data(addr), size}, .buffer = addr};
    left -= size;
  }
  return tail;
}

bool CopyToBuffers(FramePool& pool, FrameReader& reader, uint32_t length, Frame* out) {
  FrameArea& area = pool.area();
  const uint32_t buffers = BuffersFor(area, length);
  if (buffers > kMostBuffers || pool.available() < buffers) return false;
  if (buffers > 1 && !pool.tails().Has(buffers - 1)) return false;
  const uint32_t head = std::min(length, area.max_frame_len());
  *out = {pool.Take() + FrameArea::kHeadroom, length};
  reader.Read(head, area.Data(out->addr));
  if (buffers == 1) return true;
  out->tail = CopyToPieces(pool, reader, length - head);
  out->tail->head = head;
  out->tail->wire_len = length;
  return true;
}

bool CopyToBuffers(FramePool& pool, const uint8_t* data, uint32_t length, Frame* out) {
  const FrameTail whole{.head = length};
  FrameReader reader(data, whole);
  return CopyToBuffers(pool, reader, length, out);
}

bool CompleteChainChecksum(FrameArea& area, const Frame& frame, uint16_t start, uint16_t offset) {
  const FrameTail& tail = *frame.tail;
  const uint32_t field = uint32_t{start} + offset;
  if (field + 2 > tail.head) return false;
  uint8_t* head = area.Data(frame.addr);
  ChecksumSum sum;
  sum.Add(head + start, tail.head - start);
  for (uint32_t i = 0; i < tail.piece_count; ++i) {
    sum.Add(area.Data(tail.pieces[i].buffer), tail.pieces[i].bytes.size());
  }
  sum.StoreAt(head + field);
  return true;
}

bool CompleteChain(FrameArea& area, Frame& frame) {
  const virtio_net_hdr offload = std::exchange(frame.tail->offload, {});
  return !(offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) ||
         CompleteChainChecksum(area, frame, le16toh(offload.csum_start),
                               le16toh(offload.csum_offset));
}

void FinishChainChecksum(FrameArea& area, Frame& frame) {
  FrameTail& tail = *frame.tail;
  const auto partial = FindPartialChecksum(area.Data(frame.addr), tail.head, frame.len);
  if (!partial) return;
  tail.offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  tail.offload.csum_start = htole16(partial->start);
  tail.offload.csum_offset = htole16(partial->offset);
}

}  // namespace vmqd

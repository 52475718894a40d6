#include "daemon/datapath/complete.h"

#include <endian.h>

#include <utility>

#include "daemon/net/checksum.h"
#include "daemon/xdp/frame_chain.h"

namespace vmqd {
namespace {

bool Takes(const PortOffloads& offloads, const FrameTail& tail) {
  if (tail.piece_count > 0 && !offloads.pieces && !(offloads.chains && IsChain(tail))) return false;
  if (tail.NeedsChecksum() && !offloads.checksum) return false;
  if (!tail.IsSegmented()) return true;
  if ((tail.offload.gso_type & VIRTIO_NET_HDR_GSO_ECN) && !offloads.ecn) return false;
  switch (tail.offload.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return offloads.tso4;
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return offloads.tso6;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return offloads.uso;
    default:
      return false;
  }
}

}  // namespace

bool TakesAll(const PortOffloads& offloads, const Frame* frames, uint32_t count) {
  return std::all_of(frames, frames + count, [&](const Frame& frame) {
    return frame.tail == nullptr || Takes(offloads, *frame.tail);
  });
}

Completion::Completion(Lane& lane, FrameCounters& target, const Frame& frame, bool chains)
    : lane_(lane),
      target_(target),
      frame_(frame),
      chains_(chains),
      reader_(lane.pool.area().Data(frame.addr), *frame.tail) {
  const FrameTail& tail = *frame_.tail;
  if (!tail.IsSegmented()) {
    reader_.Skip(tail.head);
    return;
  }
  plan_ =
      Segmentation::Plan({lane.pool.area().Data(frame.addr), tail.head}, frame.len, tail.offload);
  if (!plan_ || !Fits(plan_->max_length())) {
    Drop(plan_ ? DropReason::kMTU_EXCEEDED : DropReason::kBAD_OFFLOAD, tail.frames);
    done_ = true;
    return;
  }
  // It came in as one frame, or as those it was coalesced of.
  lane.counters.replicated.Add(plan_->count() - uint64_t{tail.frames});
}

Completion::~Completion() {
  if (owned_) lane_.GiveBack(&frame_, 1);
}

uint32_t Completion::Next(Frame* out, uint32_t max) {
  if (done_) return 0;
  return plan_ ? NextSegments(out, max) : NextWhole(out);
}

// Whether final frames of `length` bytes can be made.
bool Completion::Fits(uint32_t length) const {
  return BuffersFor(lane_.pool.area(), length) <= (chains_ ? kMostBuffers : 1);
}

// The rest comes into the frame's own buffer, behind what is there.
uint32_t Completion::NextWhole(Frame* out) {
  done_ = true;
  FrameTail& tail = *frame_.tail;
  if (!Fits(frame_.len)) {
    Drop(DropReason::kMTU_EXCEEDED, 1);
    return 0;
  }
  // Where a tag was taken off, the frame begins a little further on.
  const FrameArea& area = lane_.pool.area();
  if (frame_.len > area.max_frame_len() || frame_.len > area.RoomFrom(frame_.addr)) {
    if (chains_) return MakeChain(out) ? 1 : 0;
    Drop(DropReason::kMTU_EXCEEDED, 1);
    return 0;
  }
  uint8_t* data = area.Data(frame_.addr);
  reader_.Read(frame_.len - tail.head, data + tail.head);
  if (tail.NeedsChecksum() &&
      !CompleteChecksumAt(data, frame_.len, le16toh(tail.offload.csum_start),
                          le16toh(tail.offload.csum_offset))) {
    Drop(DropReason::kBAD_OFFLOAD, 1);
    return 0;
  }
  GivePieces(lane_.pool, tail);
  *out = {frame_.addr, frame_.len};
  owned_ = false;
  return 1;
}

// A chain goes on as it is, but for its checksum; what lies elsewhere is copied to buffers.
bool Completion::MakeChain(Frame* out) {
  FrameTail& tail = *frame_.tail;
  if (IsChain(tail)) {
    *out = frame_;
  } else if (!CopyChain(out)) {
    Drop(DropReason::kNO_BUFFER, 1);
    return false;
  }
  owned_ = false;
  if (CompleteChain(lane_.pool.area(), *out)) return true;
  Drop(DropReason::kBAD_OFFLOAD, 1);
  lane_.GiveBack(out, 1);
  return false;
}

// The frame's own buffer is filled up, the rest comes into further ones.
bool Completion::CopyChain(Frame* out) {
  FrameArea& area = lane_.pool.area();
  const FrameTail& tail = *frame_.tail;
  const uint32_t head = std::min(area.RoomFrom(frame_.addr), area.max_frame_len());
  reader_.Read(head - tail.head, area.Data(frame_.addr) + tail.head);
  FrameTail* made = CopyToPieces(lane_.pool, reader_, frame_.len - head);
  if (made == nullptr) return false;
  made->offload = tail.offload;
  made->head = head;
  made->wire_len = frame_.len;
  made->frames = tail.frames;
  GivePieces(lane_.pool, tail);
  *out = {frame_.addr, frame_.len, made};
  return true;
}

uint32_t Completion::NextSegments(Frame* out, uint32_t max) {
  const uint32_t left = plan_->count() - segment_;
  uint32_t count = 0;
  while (count < std::min(max, left) && WriteSegment(&out[count])) ++count;
  if (segment_ == plan_->count()) done_ = true;
  if (count == 0) {
    Drop(DropReason::kNO_BUFFER, left);
    done_ = true;
  }
  return count;
}

bool Completion::WriteSegment(Frame* out) {
  const auto write = [this](uint8_t* to) { return plan_->Write(segment_++, reader_, to); };
  return WriteToBuffers(lane_.pool, plan_->max_length(), write, out);
}

void Completion::Drop(DropReason reason, uint32_t count) {
  target_.offered.Add(count);
  target_.DropOut(reason, count);
}

}  // namespace vmqd

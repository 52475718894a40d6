// FrameTail: what a frame has beyond the bytes in its buffer: work its sender left to the device
// (checksum, segmentation), and bytes that lie elsewhere. A frame without one is whole and final.
//
// A tail belongs to whoever received the frame and lives until that burst has been dealt with; it
// is never queued. The first `head` bytes, all headers up to the transport header among them, lie
// in the frame's own buffer, where nobody else writes: what is checked there is what is delivered.
// Nothing here allocates. One worker's.
#ifndef VMQD_DAEMON_NET_FRAME_TAIL_H_
#define VMQD_DAEMON_NET_FRAME_TAIL_H_

#include <cstdint>

#include "daemon/net/guest_span.h"
#include "daemon/net/virtio_net_header.h"

namespace vmqd {

// Bytes of a frame that has a tail which are copied into its buffer: the longest headers that are
// understood (Ethernet, tag, IPv6 with extensions, TCP with options) fit.
inline constexpr uint32_t kFrameHead = 256;

struct FramePiece {
  static constexpr uint64_t kNotOurs = UINT64_MAX;
  GuestSpan bytes;
  uint64_t buffer = kNotOurs;  // where it begins in the frame's area; given back with the frame
};

struct FrameTail {
  // As VIRTIO 1.3, 5.1.6 has it, little endian; csum_start counts from the frame's first byte.
  // Only bits that were negotiated are set, and csum_start + csum_offset + 2 lies in the frame.
  virtio_net_hdr offload{};
  uint32_t head = 0;  // bytes in the frame's own buffer; all of it, if there are no pieces
  uint32_t wire_len =
      0;  // longest frame it becomes on a wire, bytes; its length, if it is not segmented
  uint32_t frames = 1;  // that were received for it: more than one, where they were coalesced
  const FramePiece* pieces = nullptr;  // the rest, in order
  uint32_t piece_count = 0;

  bool NeedsChecksum() const { return offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM; }
  bool IsSegmented() const { return offload.gso_type != VIRTIO_NET_HDR_GSO_NONE; }
};

// Reads a frame with a tail from front to back. `head` is where its first byte is.
class FrameReader {
 public:
  FrameReader(const uint8_t* head, const FrameTail& tail) : head_(head), tail_(&tail) {}
  // The next `count` bytes, which the frame has, to `to`.
  void Read(uint32_t count, uint8_t* to);
  // The same into `to`, all of it.
  void Read(GuestSpan to);
  void Skip(uint32_t count);

 private:
  uint32_t Left();

  const uint8_t* head_;
  const FrameTail* tail_;
  uint32_t offset_ = 0;  // into the head, or into the piece
  uint32_t piece_ = 0;   // 0: the head; then 1 + index
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_FRAME_TAIL_H_

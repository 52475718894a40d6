// VLAN tags of frames in an area: the bytes at `data`, where the frame starts, and the descriptor
// with them. For whoever has the frame in hand; net/ethernet.h says what the bytes must be like.
#ifndef VMQD_DAEMON_XDP_FRAME_TAG_H_
#define VMQD_DAEMON_XDP_FRAME_TAG_H_

#include <cstdint>

#include <endian.h>

#include "daemon/net/ethernet.h"
#include "daemon/net/frame_tail.h"
#include "daemon/xdp/frame_area.h"

namespace vmqd {

// Everything a tail counts from the frame's first byte moves with it.
inline void MoveTail(Frame& frame, int32_t longer) {
  if (frame.tail == nullptr) return;
  FrameTail& tail = *frame.tail;
  tail.head += static_cast<uint32_t>(longer);
  tail.wire_len += static_cast<uint32_t>(longer);
  if (const uint16_t headers = le16toh(tail.offload.hdr_len); headers >= kEthHeaderLen) {
    tail.offload.hdr_len = htole16(static_cast<uint16_t>(headers + longer));
  }
  if (!tail.NeedsChecksum()) return;
  const uint16_t start = le16toh(tail.offload.csum_start);
  tail.offload.csum_start = htole16(static_cast<uint16_t>(start + longer));
}

inline void PushVlanTag(uint8_t* data, Frame& frame, uint16_t control,
                        uint16_t type = kEtherTypeVlan) {
  PushVlanTag(data, control, type);
  frame.addr -= kVlanTagLen;
  frame.len += kVlanTagLen;
  MoveTail(frame, kVlanTagLen);
}

inline void PopVlanTag(uint8_t* data, Frame& frame) {
  PopVlanTag(data);
  frame.addr += kVlanTagLen;
  frame.len -= kVlanTagLen;
  MoveTail(frame, -static_cast<int32_t>(kVlanTagLen));
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_FRAME_TAG_H_

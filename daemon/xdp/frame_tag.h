// VLAN tags of frames in an area: the bytes at `data`, where the frame starts, and the descriptor
// with them. For whoever has the frame in hand; net/ethernet.h says what the bytes must be like.
#ifndef VMQD_DAEMON_XDP_FRAME_TAG_H_
#define VMQD_DAEMON_XDP_FRAME_TAG_H_

#include <cstdint>

#include "daemon/net/ethernet.h"
#include "daemon/xdp/frame_area.h"

namespace vmqd {

inline void PushVlanTag(uint8_t* data, Frame& frame, uint16_t control,
                        uint16_t type = kEtherTypeVlan) {
  PushVlanTag(data, control, type);
  frame.addr -= kVlanTagLen;
  frame.len += kVlanTagLen;
}

inline void PopVlanTag(uint8_t* data, Frame& frame) {
  PopVlanTag(data);
  frame.addr += kVlanTagLen;
  frame.len -= kVlanTagLen;
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_FRAME_TAG_H_

#include "daemon/datapath/uplink_queue.h"

#include <algorithm>
#include <iterator>

namespace vmqd {

void UplinkQueue::Recycle(FramePool& pool) {
  uint64_t buffers[64];
  while (outstanding_ > 0) {
    const uint32_t done = anchor_.Complete(buffers, std::size(buffers));
    for (uint32_t i = 0; i < done; ++i) pool.Give(buffers[i]);
    outstanding_ -= done;
    if (done < std::size(buffers)) break;
  }
  const uint32_t spare = pool.available() > kPoolReserve ? pool.available() - kPoolReserve : 0;
  for (uint32_t room = std::min(anchor_.FillRoom(), spare); room > 0;) {
    const uint32_t count = std::min(room, static_cast<uint32_t>(std::size(buffers)));
    for (uint32_t i = 0; i < count; ++i) {
      buffers[i] = pool.Take();
      pool.area().SetOwner(buffers[i], FrameArea::kUplinkRings);
    }
    anchor_.Fill(buffers, count);
    room -= count;
  }
  anchor_.KickFillIfNeeded();
}

}  // namespace vmqd

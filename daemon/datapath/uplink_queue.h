// The worker's side of one hardware queue: the anchor, which owns fill and completion ring and is
// the way to the wire; the default socket, which receives for ports at home elsewhere; and on queue
// 0 the packet socket that takes the switch's copies of broadcast and multicast. The VMs' own
// sockets belong to their ports.
//
// Two sockets and not one, because the worker sleeps on what it receives from: on a socket that
// also transmits, every completed frame would walk the list of sleepers (measured at 64 bytes: a
// tenth of the worker's time).
//
// Built by control threads, then owned by the worker.
#ifndef VMQD_DAEMON_DATAPATH_UPLINK_QUEUE_H_
#define VMQD_DAEMON_DATAPATH_UPLINK_QUEUE_H_

#include <algorithm>
#include <cstdint>

#include "daemon/xdp/frame_chain.h"
#include "daemon/xdp/frame_pool.h"
#include "daemon/xdp/packet_socket.h"
#include "daemon/xdp/socket.h"

namespace vmqd {

class UplinkQueue {
 public:
  // Ring sizes of a hardware queue, in descriptors. The fill ring is refilled every turn, so it has
  // to hold what arrives in one: at 10 million frames a second and a turn of 100 us, 1000.
  // Completion must hold all that is in flight.
  static constexpr uint32_t kFillRing = 2048;
  static constexpr uint32_t kDefaultRxRing = 512;  // misplaced frames only
  static constexpr uint32_t kTxRing = 1024;
  // Buffers of an area that no port can claim: the default receive ring, grants, and a working
  // margin of a turn's bursts, so that the fill ring never starves while every port stalls.
  static constexpr uint32_t kWorkingMargin = 512;
  // Of the margin, what the fill ring leaves in the pool for copies and for what ports receive.
  static constexpr uint32_t kPoolReserve = kWorkingMargin / 2;

  UplinkQueue(XskSocket& anchor, XskSocket& default_socket, PacketSocket* flood)
      : anchor_(anchor),
        default_(default_socket),
        flood_(flood),
        quota_(QuotaFor(anchor.area().buffers())) {}

  uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) {
    return default_.Receive(pool.tails(), out, max);
  }
  void RunNapi() { default_.RunNapi(); }
  // Of the default socket; see XskSocket.
  uint32_t Come() const { return default_.RxCome(); }
  uint32_t Taken() const { return default_.RxTaken(); }
  PacketSocket* flood() const { return flood_; }  // null on every queue but 0

  // Whether frames of several buffers can come and go; and how many one may have.
  bool chains() const { return anchor_.chains(); }
  uint32_t buffers_per_frame() const { return anchor_.buffers_per_frame(); }

  // Buffers that may be under way to the wire at once, out of an area of `buffers`.
  static uint32_t QuotaFor(uint32_t buffers) { return std::min(kTxRing, buffers / 16); }

  uint32_t Room() {
    const uint32_t allowed = quota_ - outstanding_;
    const uint32_t room = anchor_.TxRoom();
    return room < allowed ? room : allowed;
  }
  // How many of `count` frames, from the first on, there is room for; *buffers: that they have.
  uint32_t Fit(const Frame* frames, uint32_t count, uint32_t* buffers) {
    const uint32_t room = Room();
    if (chains()) return FitInto(room, frames, count, buffers);
    return *buffers = std::min(room, count);
  }
  void Transmit(const Frame* frames, uint32_t count, uint32_t buffers) {
    SetOwner(anchor_.area(), frames, count, FrameArea::kUplinkRings, chains());
    anchor_.Transmit(frames, count, buffers);
    outstanding_ += buffers;
  }
  uint32_t Flush() { return anchor_.TxPending() ? anchor_.Kick() : 0; }
  bool Idle() const { return outstanding_ == 0; }  // all that was transmitted is completed
  bool Pending() const { return anchor_.TxPending(); }
  void Recycle(FramePool& pool);

 private:
  XskSocket& anchor_;
  XskSocket& default_;
  PacketSocket* flood_;
  const uint32_t quota_;
  uint32_t outstanding_ = 0;  // buffers transmitted, not completed
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_UPLINK_QUEUE_H_

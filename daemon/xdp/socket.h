// AF_XDP sockets through libxdp: the Umem that a device's sockets share and the rings of one
// socket. Opening and closing is for control threads under the Switch's mutex (libxdp keeps
// unlocked reference counts in the umem); the ring methods are for the one worker that owns the
// socket.
//
// Facts (Linux 6.18): sockets of one (device, queue) share one fill and one completion ring, which
// belong to the first of them, the anchor; re-binding a queue answers EBUSY for some 20 ms after
// the last socket was closed; one transmit call moves 32 descriptors unless XDP_MAX_TX_SKB_BUDGET
// (6.17) raises it; EBUSY from a transmit call means that exactly one frame was completed without
// having been sent (net/xdp/xsk.c, __xsk_generic_xmit), all its buffers with it.
//
// Frames longer than a buffer (6.6): a socket bound with XDP_USE_SG gets one as several
// descriptors, all but the last marked XDP_PKT_CONTD, each with its data behind the headroom of its
// buffer; any socket may send such. Sockets that share a Umem all do, or none, as the first.
#ifndef VMQD_DAEMON_XDP_SOCKET_H_
#define VMQD_DAEMON_XDP_SOCKET_H_

#include <sys/socket.h>
#include <xdp/xsk.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/net/counter.h"
#include "daemon/xdp/frame_area.h"
#include "daemon/xdp/tail_room.h"

namespace vmqd {

// A registration of a FrameArea with the kernel. It takes some 2 ms, and counts the whole area
// against RLIMIT_MEMLOCK each time. Sockets of several devices may share one, each (device, queue)
// with rings of these sizes, but: all of them copy or none does, as the first (a zero-copy NIC and
// a tap need one each of the same area); the first socket's device must stay as long as others are
// to be opened; and only there may a queue have several sockets (libxdp always names the first
// socket to the kernel, which then takes one of another queue for a new anchor).
class Umem {
 public:
  struct RingSizes {
    uint32_t fill;
    uint32_t completion;
  };
  // `area` must outlive the Umem, and the Umem its sockets.
  static absl::StatusOr<std::unique_ptr<Umem>> Register(FrameArea& area, RingSizes sizes);
  ~Umem();
  Umem(const Umem&) = delete;
  Umem& operator=(const Umem&) = delete;

  FrameArea& area() { return area_; }

 private:
  friend class XskSocket;
  Umem(FrameArea& area, RingSizes sizes) : area_(area), sizes_(sizes) {}
  FrameArea& area_;
  RingSizes sizes_;
  xsk_umem* umem_ = nullptr;
  xsk_ring_prod fill_{};  // of the first anchor
  xsk_ring_cons completion_{};
  bool first_taken_ = false;
  bool chains_ = false;  // its sockets take frames of several buffers
};

class XskSocket {
 public:
  enum class Copy { kForced, kAllowed };  // kAllowed: zero-copy where the driver has it
  struct Options {
    std::string device;
    uint32_t queue = 0;
    uint32_t rx_size = 0;  // descriptors, a power of two; 0: no receive ring
    uint32_t tx_size = 0;
    Copy copy = Copy::kForced;
    bool anchor = true;  // first socket on its (device, queue): owns fill and completion ring
    // What the longest frame takes. More than 1: the Umem's first socket asks the kernel for frames
    // of several buffers.
    uint32_t buffers_per_frame = 1;
  };
  // Binds; retries EBUSY for up to `kBindPatience`. The message of an error says which driver,
  // queue and mode refused, and what to try.
  static absl::StatusOr<std::unique_ptr<XskSocket>> Open(Umem& umem, const Options& options);
  ~XskSocket();
  XskSocket(const XskSocket&) = delete;
  XskSocket& operator=(const XskSocket&) = delete;

  int fd() const { return xsk_socket__fd(socket_); }
  uint32_t queue() const { return options_.queue; }
  const Options& options() const { return options_; }
  bool zero_copy() const { return zero_copy_; }
  FrameArea& area() const { return umem_->area(); }
  // Whether the kernel gives and takes frames of several buffers; and how many one may have.
  bool chains() const { return umem_->chains_; }
  uint32_t buffers_per_frame() const { return chains() ? options_.buffers_per_frame : 1; }

  // Takes up to `max` received frames, and no more once `bytes` of them have been taken. With
  // chains, frames of up to `max` buffers together, or one; their further buffers are in hand then,
  // and the tails, in `tails`, are the worker's.
  uint32_t Receive(TailRoom& tails, Frame* out, uint32_t max, int64_t bytes = INT64_MAX);
  bool RxEmpty() const { return RxBacklog() == 0; }                        // any thread
  bool RxHalfFull() const { return 2 * RxBacklog() >= options_.rx_size; }  // any thread
  uint32_t RxBacklog() const;  // any thread: entries of the receive ring, which there is

  // Positions of the receive ring, which wrap: behind the last frame that has come (any thread),
  // and behind the last one taken (the worker).
  uint32_t RxCome() const { return __atomic_load_n(rx_.producer, __ATOMIC_ACQUIRE); }
  uint32_t RxTaken() const { return *rx_.consumer; }
  // Whether it is bound: not any more when its device has left this network namespace, even if it
  // is back. A socket with a receive ring; any thread. True for zero-copy, where asking would call
  // the driver.
  bool Bound() const;

  // Buffers that can be queued for transmission now.
  uint32_t TxRoom();
  // Queues frames of `buffers` <= TxRoom() buffers together: one each, or several where chains().
  // They are the kernel's until Complete returns them.
  void Transmit(const Frame* frames, uint32_t count, uint32_t buffers);
  // Has the kernel send what is queued. Never waits for room, and stops at the first frame the
  // driver refuses; what is queued behind it stays. Returns how many frames were refused and lost,
  // 0 or 1.
  uint32_t Kick();
  bool TxPending() const { return tx_queued_ > 0; }

  // Anchor only. Up to `max` buffers whose transmission is over.
  uint32_t Complete(uint64_t* out, uint32_t max);
  // Anchor only. Free places in the fill ring, and putting `count` <= FillRoom() buffers there.
  uint32_t FillRoom();
  void Fill(const uint64_t* buffers, uint32_t count);
  // Anchor only. Wakes the driver when it waits for fill buffers (zero-copy).
  void KickFillIfNeeded();

  // The NAPI instance that receives for it; 0: it has not been told, or never will be. Any thread.
  uint32_t NapiId() const;
  // Whether RunNapi has an effect, and need_wakeup none.
  absl::Status PreferBusyPoll(bool prefer);
  // One poll of that NAPI instance, on this CPU.
  void RunNapi() { recvfrom(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr); }

  // XDP_STATISTICS; any thread.
  xdp_statistics Statistics() const;
  uint64_t kicks() const { return kicks_.Get(); }
  uint64_t completions() const { return completions_.Get(); }

 private:
  XskSocket(Umem& umem, const Options& options) : umem_(&umem), options_(options) {}
  absl::Status Bind();
  absl::Status BindAs(bool chains, bool first);
  uint32_t ReceiveChains(TailRoom& tails, Frame* out, uint32_t max, int64_t bytes);
  uint32_t DescriptorsOfNext(uint32_t index, uint32_t available) const;
  Frame Assemble(TailRoom& tails, uint32_t index, uint32_t count);
  void TransmitChains(const Frame* frames, uint32_t count, uint32_t index);
  uint32_t TxBacklog() const;  // buffers in the transmit ring that the kernel has not taken yet

  Umem* umem_;
  Options options_;
  xsk_socket* socket_ = nullptr;
  bool zero_copy_ = false;
  uint32_t tx_queued_ = 0;  // in the transmit ring, not yet taken by the kernel
  xsk_ring_cons rx_{};
  xsk_ring_prod tx_{};
  xsk_ring_prod own_fill_{};  // of an anchor that is not the Umem's first
  xsk_ring_cons own_completion_{};
  xsk_ring_prod* fill_ = nullptr;
  xsk_ring_cons* completion_ = nullptr;
  Counter kicks_;
  Counter completions_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_SOCKET_H_

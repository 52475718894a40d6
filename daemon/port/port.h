// Port: what a worker sees of one virtual NIC. A few virtual calls per burst, never per frame.
//
// Ownership of frames: Receive hands buffers to the worker; Transmit takes them until Recycle gives
// them back to the pool. All frames live in the FrameArea of the port's home worker, and every
// method of the first group is called by that worker only. The second group is for control threads.
#ifndef VMQD_DAEMON_PORT_PORT_H_
#define VMQD_DAEMON_PORT_PORT_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/net/drop_reason.h"
#include "daemon/xdp/attachment.h"
#include "daemon/xdp/frame_area.h"
#include "daemon/xdp/frame_chain.h"
#include "daemon/xdp/frame_pool.h"
#include "daemon/xdp/socket.h"

namespace vmqd {

// How many buffers a port may tie up; each a power of two, at least kMostBuffers. Their sum is set
// aside for the port in its queue's area, so that a port that stalls costs no other port a buffer.
struct PortBuffers {
  uint32_t vm_ring;  // receive ring of its socket on the home queue
  uint32_t fill;     // waiting for what the VM sends, per port
  uint32_t quota;    // sent to the device and not completed
  uint32_t total() const { return vm_ring + fill + quota; }
};

// What arrived from the VM before a worker saw it.
struct PortArrivals {
  uint64_t pkts = 0;  // frames, lost ones included
  std::array<uint64_t, kDropReasonCount> drops{};
};

// What a VM takes that is not final; see FrameTail.
struct PortOffloads {
  bool checksum = false;  // not computed
  bool tso4 = false;      // larger than its MTU: TCP over IPv4, over IPv6, UDP
  bool tso6 = false;
  bool uso = false;
  bool ecn = false;     // and of those with congestion notification
  bool pieces = false;  // bytes outside the frame's buffer: copied on Transmit
  bool chains = false;  // bytes in further buffers of the home worker's area
};

class Port {
 public:
  virtual ~Port() = default;

  // Up to `max` frames the VM has sent, Ethernet header first. Those without a tail are no larger
  // than a buffer and final; tails are valid until Settle.
  virtual uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) = 0;
  // What the last Receive gave out has been dealt with.
  virtual void Settle() {}
  // What may be left undone in frames for the VM; asked once a burst that has tails.
  virtual PortOffloads Offloads() const { return {}; }
  // Whether the VM receives by this queue pair at all: one that uses fewer than it was given gets
  // what is for it by the pair of the home worker.
  virtual bool Takes() const { return true; }
  // Frames that can be transmitted now, if each is in one buffer; 0 when the VM does not keep up.
  virtual uint32_t Room() = 0;
  // Takes frames of `count` <= Room(), from the first on, and returns how many: fewer, when there
  // was room for smaller ones only.
  virtual uint32_t Transmit(FramePool& pool, const Frame* frames, uint32_t count) = 0;
  // Sends what is queued. Returns how many of the frames taken were refused and lost.
  struct Refused {
    uint32_t frames = 0;
    DropReason reason = DropReason::kDEVICE_REFUSED;
  };
  virtual Refused Flush() = 0;
  // For a worker the port is not at home with, number `worker` of the uplink: takes frames as
  // Transmit does, and sends them. It never waits: `busy`, when another worker is at it.
  struct Shared {
    uint32_t taken = 0;
    uint32_t refused = 0;  // of those taken, and lost: GUEST_BUFFER
    bool busy = false;
  };
  virtual bool CanShare() const { return false; }
  virtual Shared TransmitShared(uint32_t, FramePool&, const Frame*, uint32_t) { return {}; }
  // Takes back buffers that were sent, tops up those waiting to receive.
  virtual void Recycle(FramePool& pool) = 0;
  // Something is queued that a further Flush would send.
  virtual bool Pending() const = 0;
  // The worker is about to sleep, and from here on is woken by what the VM sends.
  enum class Rest {
    kWoken,  // yes
    kWork,   // something has come already
    kPoll,   // nothing will wake it: it has to look
  };
  virtual Rest PrepareSleep() { return Rest::kWoken; }

  // The port goes to another worker. The one that has served it says so, which is the last thing it
  // does with it, and gives the port as it will be served from then on what that needs of the pool.
  virtual void Leave(uint32_t /*worker*/) {}
  virtual void TakeBuffers(FramePool& /*pool*/) {}

  // Descriptors that become readable when the VM sends, while the port lives.
  virtual std::vector<int> WakeFds() const = 0;
  virtual PortArrivals Arrivals() = 0;
  // From now on nothing arrives; the counts stay readable. Before the port is destroyed.
  virtual void StopArrivals() = 0;
  virtual std::vector<const XskSocket*> Sockets() const = 0;
  // The XDP program on the port's device, for kinds that attach one.
  virtual Attachment::State LookAtProgram() const { return {}; }
  virtual absl::Status AttachAgain() { return absl::OkStatus(); }
};

// The way to a port's device, which every kind has: one AF_XDP socket's transmit side, and the
// quota.
class DeviceSender {
 public:
  DeviceSender(XskSocket& socket, uint32_t quota, FrameArea::Owner owner)
      : socket_(socket), quota_(quota), owner_(owner) {}

  uint32_t Room() {
    const uint32_t allowed = quota_ - outstanding_;
    const uint32_t room = socket_.TxRoom();
    return room < allowed ? room : allowed;
  }
  // As Port::Transmit: Room is in buffers, and frames may have several.
  uint32_t Transmit(const Frame* frames, uint32_t count) {
    uint32_t buffers = count;
    if (socket_.chains()) count = FitInto(Room(), frames, count, &buffers);
    SetOwner(socket_.area(), frames, count, owner_, socket_.chains());
    socket_.Transmit(frames, count, buffers);
    outstanding_ += buffers;
    return count;
  }
  bool chains() const { return socket_.chains(); }
  // A device that refused a frame is full. It is left alone for a moment: the queue before it fills
  // up, Room becomes 0, and frames wait or drop where that costs least.
  uint32_t Flush() {
    if (!socket_.TxPending()) return 0;
    if (refused_ && std::chrono::steady_clock::now() < hold_until_) return 0;
    const uint32_t refused = socket_.Kick();
    refused_ = refused > 0;
    if (refused_) hold_until_ = std::chrono::steady_clock::now() + kHold;
    return refused;
  }
  bool Pending() const { return socket_.TxPending(); }
  void Recycle(FramePool& pool) {
    if (outstanding_ == 0) return;
    uint64_t done[kBatch];
    uint32_t count;
    do {
      count = socket_.Complete(done, kBatch);
      for (uint32_t i = 0; i < count; ++i) pool.Give(done[i]);
      outstanding_ -= count;
    } while (count == kBatch);
  }

 private:
  static constexpr uint32_t kBatch = 64;
  // A device queue of 1000 frames, the default, drains by a hundred at a million frames a second.
  static constexpr std::chrono::microseconds kHold{100};
  XskSocket& socket_;
  const uint32_t quota_;
  const FrameArea::Owner owner_;
  uint32_t outstanding_ = 0;  // buffers
  bool refused_ = false;
  std::chrono::steady_clock::time_point hold_until_{};
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_PORT_H_

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
#include "daemon/xdp/frame_pool.h"
#include "daemon/xdp/socket.h"

namespace vmqd {

// How many buffers a port may tie up, in frames; each a power of two. Their sum is set aside for
// the port in its queue's area, so that a port that stalls costs no other port a buffer.
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

class Port {
 public:
  virtual ~Port() = default;

  // Up to `max` frames the VM has sent, Ethernet header first, no larger than a buffer, partial
  // checksums complete.
  virtual uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) = 0;
  // Frames that can be transmitted now; 0 when the VM does not keep up.
  virtual uint32_t Room() = 0;
  // Queues `count` <= Room() frames.
  virtual void Transmit(const Frame* frames, uint32_t count) = 0;
  // Sends what is queued. Returns how many frames the device refused and lost.
  virtual uint32_t Flush() = 0;
  // Takes back buffers that were sent, tops up those waiting to receive.
  virtual void Recycle(FramePool& pool) = 0;
  // Something is queued that a further Flush would send.
  virtual bool Pending() const = 0;

  // Descriptors that become readable when the VM sends.
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
  void Transmit(const Frame* frames, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) socket_.area().SetOwner(frames[i].addr, owner_);
    socket_.Transmit(frames, count);
    outstanding_ += count;
  }
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
  uint32_t outstanding_ = 0;
  bool refused_ = false;
  std::chrono::steady_clock::time_point hold_until_{};
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_PORT_H_

// The memory of one queue: a memfd cut into equal buffers, registered with the kernel as the UMEM
// of the queue's sockets and of the netdev ports at home there, so that a frame moves between them
// by descriptor. A memfd, so that another process can be handed it.
//
// Every buffer has an owner tag. Whoever hands a buffer to a ring of the kernel tags it, and the
// tag goes back to kInHand when the buffer returns; when a socket is closed, the buffers its rings
// held are the ones that carry its tag. Tags are written by the worker only and read by control
// threads after that worker has let go of the socket.
#ifndef VMQD_DAEMON_XDP_FRAME_AREA_H_
#define VMQD_DAEMON_XDP_FRAME_AREA_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

namespace vmqd {

struct FrameTail;

// A frame in an area: where its first byte is, relative to the area, and its length in bytes. With
// a tail only the first bytes lie there; see net/frame_tail.h.
struct Frame {
  uint64_t addr = 0;
  uint32_t len = 0;
  FrameTail* tail = nullptr;
};

class FrameArea {
 public:
  using Owner = uint16_t;
  static constexpr Owner kInHand = 0;       // a worker's pool or a burst
  static constexpr Owner kUplinkRings = 1;  // rings of the uplink's sockets on this queue
  static constexpr Owner kGranted = 2;      // lent to another worker for its hand-overs
  static constexpr Owner kFirstPort = 3;    // + slot: rings of that port's device sockets

  // XDP_PACKET_HEADROOM (linux/bpf.h): the kernel writes received frames this far into the buffer.
  static constexpr uint32_t kHeadroom = 256;

  // `buffers` and `buffer_size` are powers of two; buffer_size is 2048 or 4096 (AF_XDP's aligned
  // mode wants at least 2048 and at most a page). Pages are populated here, not under traffic.
  static absl::StatusOr<std::unique_ptr<FrameArea>> Create(uint32_t buffers, uint32_t buffer_size);
  ~FrameArea();
  FrameArea(const FrameArea&) = delete;
  FrameArea& operator=(const FrameArea&) = delete;

  uint8_t* Data(uint64_t addr) const { return base_ + addr; }
  uint8_t* base() const { return base_; }
  uint64_t size() const { return static_cast<uint64_t>(buffers_) * buffer_size_; }
  uint32_t buffers() const { return buffers_; }
  uint32_t buffer_size() const { return buffer_size_; }
  // Longest frame that fits a buffer behind the headroom.
  uint32_t max_frame_len() const { return buffer_size_ - kHeadroom; }

  // Bytes from `addr` to the end of its buffer.
  uint32_t RoomFrom(uint64_t addr) const {
    return buffer_size_ - static_cast<uint32_t>(addr - BufferOf(addr));
  }
  // The start of the buffer that holds `addr`.
  uint64_t BufferOf(uint64_t addr) const { return addr & ~static_cast<uint64_t>(buffer_size_ - 1); }

  void SetOwner(uint64_t addr, Owner owner) {
    owners_[addr >> shift_].store(owner, std::memory_order_relaxed);
  }
  // Start addresses of all buffers tagged `owner`. Caller: see above.
  std::vector<uint64_t> OwnedBy(Owner owner) const;
  // How many there are; any thread, exact when the worker rests.
  uint32_t CountOwnedBy(Owner owner) const;

 private:
  FrameArea() = default;
  int memfd_ = -1;
  uint8_t* base_ = nullptr;
  uint32_t buffers_ = 0;
  uint32_t buffer_size_ = 0;
  uint32_t shift_ = 0;
  std::unique_ptr<std::atomic<Owner>[]> owners_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_FRAME_AREA_H_

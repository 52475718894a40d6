// Handover: the way of a frame from the worker that got it to the worker its port is at home with.
//
// The receiving worker lends buffers of its own memory (grants); the sending worker copies the
// frame into one of them, the only copy, and passes it back as an item. Both directions are rings
// with one writer and one reader, so neither side ever waits: without a grant the frame is dropped
// and counted.
#ifndef VMQD_DAEMON_DATAPATH_HANDOVER_H_
#define VMQD_DAEMON_DATAPATH_HANDOVER_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "daemon/xdp/frame_area.h"

namespace vmqd {

// A ring of N (a power of two) values with one writer and one reader thread.
template <typename T, uint32_t N>
class SpscRing {
  static_assert((N & (N - 1)) == 0);

 public:
  // Writer. False when full. Values become visible to the reader with Publish.
  bool Push(const T& value) {
    if (head_ - tail_seen_ == N) {
      tail_seen_ = tail_.load(std::memory_order_acquire);
      if (head_ - tail_seen_ == N) return false;
    }
    values_[head_++ & (N - 1)] = value;
    return true;
  }
  void Publish() { published_.store(head_, std::memory_order_release); }

  // Reader. False when empty. Places become free for the writer with Release.
  bool Pop(T* value) {
    if (next_ == head_seen_) {
      head_seen_ = published_.load(std::memory_order_acquire);
      if (next_ == head_seen_) return false;
    }
    *value = values_[next_++ & (N - 1)];
    return true;
  }
  // Reader. What Pop would return; null when empty.
  const T* Front() {
    if (next_ == head_seen_) head_seen_ = published_.load(std::memory_order_acquire);
    return next_ == head_seen_ ? nullptr : &values_[next_ & (N - 1)];
  }
  void Release() { tail_.store(next_, std::memory_order_release); }
  uint32_t Available() const { return published_.load(std::memory_order_acquire) - next_; }
  // Writer. The reader is done with all that was pushed.
  bool Drained() const { return tail_.load(std::memory_order_acquire) == head_; }
  bool Empty() const { return next_ == published_.load(std::memory_order_acquire); }

 private:
  // Each group on lines of its own: writer's, reader's, shared.
  alignas(64) uint32_t head_ = 0;
  uint32_t tail_seen_ = 0;
  alignas(64) uint32_t next_ = 0;
  uint32_t head_seen_ = 0;
  alignas(64) std::atomic<uint32_t> published_{0};
  alignas(64) std::atomic<uint32_t> tail_{0};
  alignas(64) std::array<T, N> values_{};
};

// A frame of one buffer, or the next buffer of one. Those of a frame follow one another and become
// visible together.
struct HandoverItem {
  Frame frame;          // in the receiver's memory, untagged
  uint64_t serial = 0;  // of the port it is for; 0: to every port of `vlan` at home there
  uint64_t source = 0;  // serial of the port a flood is from, which gets none; 0: the uplink
  uint16_t vlan = 0;
  bool more = false;  // the frame goes on in the next item
  uint8_t era = 0;    // of the topology by which it was handed over; see Lane
};

struct Handover {
  // What one worker can pass to another before that one has had a turn. A receiver that shares its
  // CPU may wait some milliseconds for it.
  static constexpr uint32_t kSize = 512;

  // Buffers lent to each of `peers` workers, out of an area of `buffers`: an eighth of it in all.
  static uint32_t GrantsFor(uint32_t peers, uint32_t buffers) {
    return peers == 0 ? 0 : std::min(kSize, buffers / 8 / peers);
  }

  SpscRing<HandoverItem, kSize> items;
  SpscRing<uint64_t, kSize> grants;  // buffer start addresses, from the receiver to the sender
  uint32_t granted = 0;              // lent and not returned; the receiver's
  bool unpublished = false;          // items pushed in this turn; the sender's
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_HANDOVER_H_

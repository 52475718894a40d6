// Virtqueue: the device's side of one ring in guest memory, split or packed (VIRTIO 1.3, 2.7 and
// 2.8). Chains are taken and used in bursts: a virtual call per burst, never per frame.
//
// The guest is hostile and writes while we read. Every descriptor is copied once, checked, and then
// used; indexes are our own copies; what we wrote is never read back. A ring that contradicts
// itself is poisoned: Take gives nothing any more and Fault says why.
//
// Made by the vhost thread; used by the one worker it is handed to, or by the vhost thread once
// that worker has let go. Nothing here allocates after construction.
#ifndef VMQD_DAEMON_VIRTIO_VIRTQUEUE_H_
#define VMQD_DAEMON_VIRTIO_VIRTQUEUE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "daemon/net/guest_span.h"
#include "daemon/virtio/guest_memory.h"

namespace vmqd {

enum class RingFault : uint8_t {
  kNone,
  kAvailIndex,  // more chains made available than the ring has entries, or fewer than were taken
  kHead,        // head or buffer id beyond the ring
  kNext,        // next descriptor beyond its table
  kLoop,        // a chain longer than its table
  kIndirect,  // an indirect table of a forbidden shape: empty, not whole, nested, too long, chained
              // on
  kAddress,   // a buffer outside guest memory
  kDirection,  // a writable buffer where the device reads, or the reverse
  kEmpty,      // a chain without a byte
  kTooLong,    // more bytes or pieces in a chain than any frame has
  kNotify,     // interrupts could not be given without waiting
  kMemory,     // the memory behind the ring is gone
};
// "made a descriptor chain longer than its table": completes "the guest ...".
std::string_view RingFaultText(RingFault fault);

// Which way the buffers of a queue go, seen from the device.
enum class RingUse : uint8_t {
  kReads,   // the guest transmits
  kWrites,  // the guest receives
};

struct VirtqueueConfig {
  RingUse use = RingUse::kReads;
  bool packed = false;     // VIRTIO_F_RING_PACKED
  bool event_idx = false;  // VIRTIO_F_EVENT_IDX
  bool indirect = false;   // VIRTIO_F_INDIRECT_DESC
  uint32_t size = 0;       // entries: 1..32768; a power of two for a split ring
  // As VHOST_USER_SET_VRING_ADDR: user addresses of descriptor table, available ring (packed:
  // driver event suppression) and used ring (packed: device event suppression).
  uint64_t descriptors = 0;
  uint64_t driver = 0;
  uint64_t device = 0;
  // As VHOST_USER_SET_VRING_BASE. Packed: bits 0-14 next available entry, 15 its wrap counter. What
  // stands above, the next used entry, is not looked at: nothing is outstanding when a ring begins,
  // and DPDK leaves it 0. Split: the next available index, which only has to be one: the ring
  // begins at the used index found in it (split_queue.cc says why).
  uint32_t base = 0;
};

// One descriptor chain, copied and checked: its buffers are spans [first, first + spans) of the
// batch. Only the direction of the ring's use occurs.
struct Chain {
  uint16_t id = 0;       // head, or buffer id
  uint16_t entries = 0;  // of the ring, that it takes (1 for a split ring)
  uint16_t first = 0;
  uint16_t spans = 0;
  uint32_t bytes = 0;     // in all its buffers
  uint32_t written = 0;   // set by the worker before Use: bytes written into it
  uint32_t position = 0;  // where in the ring it was taken; for PutBack
};

struct ChainBatch {
  static constexpr uint32_t kChains = 256;
  static constexpr uint32_t kSpans = 4096;
  std::array<Chain, kChains> chains;
  std::array<GuestSpan, kSpans> spans;
  uint32_t count = 0;  // chains
  uint32_t span_count = 0;
};

class Virtqueue {
 public:
  // Bytes of one chain, at most: the largest frame, 64 KiB, and headers, rounded up.
  static constexpr uint32_t kMaxChainBytes = 1 << 20;  // a driver may post larger receive buffers
  static constexpr uint32_t kMaxChainSpans = 1024;     // pieces, empty ones and those of tables too
  static constexpr uint32_t kMaxVisits = 4096;         // descriptors in one Take

  // kInvalidArgument, in words, when size or alignment is forbidden or a part of the ring does not
  // lie in one region of `memory`. `memory` is held while the queue lives; `log` (may be null) must
  // outlive it: then every byte written to the guest is noted there. Kicks are wanted at first.
  static absl::StatusOr<std::unique_ptr<Virtqueue>> Open(const VirtqueueConfig& config,
                                                         std::shared_ptr<const GuestMemory> memory,
                                                         DirtyLog* log);
  virtual ~Virtqueue() = default;
  Virtqueue(const Virtqueue&) = delete;
  Virtqueue& operator=(const Virtqueue&) = delete;

  // Appends up to `max` available chains to the batch, in ring order, while it has room (a chain
  // whose spans may not fit waits for the next batch). Returns how many. Looks at the guest's index
  // once, and at no more than kMaxVisits descriptors before the last chain: a guest that wastes
  // descriptors gets fewer chains, not more time.
  virtual uint32_t Take(ChainBatch& batch, uint32_t max) = 0;
  // As though `chain` and everything taken after it had not been taken.
  virtual void PutBack(const Chain& chain) = 0;
  // Hands `count` chains back, in the order they were taken; the guest sees all of them at once.
  // What was written into them must have been logged by LogWritten.
  virtual void Use(const Chain* chains, uint32_t count) = 0;
  // Whether the guest wants to be told of what was used since it was last told (which this call
  // takes as done).
  virtual bool ShouldNotify() = 0;
  // Whether the guest shall kick for new chains. After switching it on the caller looks at HasWork
  // once more: with a fence between the two, no kick is lost.
  virtual void WantKicks(bool wanted) = 0;
  virtual bool HasWork() const = 0;        // chains are available
  virtual uint32_t Available() const = 0;  // how many (packed: entries), at most the ring's size
  virtual uint32_t Base() const = 0;  // for VHOST_USER_GET_VRING_BASE; nothing taken is outstanding

  RingFault fault() const { return fault_; }
  bool MemoryBroken() const { return memory_->Broken(); }
  uint32_t size() const { return config_.size; }
  const VirtqueueConfig& config() const { return config_; }
  // Dirty logging, when it is on; for bytes the worker wrote into spans of a chain.
  bool logs() const { return log_ != nullptr; }
  void LogWritten(GuestSpan span) {
    if (log_ != nullptr) memory_->Log(*log_, span);
  }

 protected:
  Virtqueue(const VirtqueueConfig& config, std::shared_ptr<const GuestMemory> memory, DirtyLog* log)
      : config_(config), memory_(std::move(memory)), log_(log) {}
  const VirtqueueConfig config_;
  const std::shared_ptr<const GuestMemory> memory_;
  DirtyLog* const log_;
  RingFault fault_ = RingFault::kNone;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VIRTQUEUE_H_

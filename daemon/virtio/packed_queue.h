// PackedQueue: a Virtqueue of the packed layout (VIRTIO 1.3, 2.8): one ring of descriptors that
// both sides write, and a word of event suppression for each side.
#ifndef VMQD_DAEMON_VIRTIO_PACKED_QUEUE_H_
#define VMQD_DAEMON_VIRTIO_PACKED_QUEUE_H_

#include <cstdint>
#include <memory>

#include "daemon/virtio/chain_gather.h"
#include "daemon/virtio/virtqueue.h"

namespace vmqd {

class PackedQueue final : public Virtqueue {
 public:
  static constexpr uint64_t kEventBytes = 4;  // each side's event suppression

  // Descriptors for config.size entries and the two event suppressions, in `memory`; config.base is
  // one that BaseIsPossible. Made by Virtqueue::Open.
  PackedQueue(const VirtqueueConfig& config, std::shared_ptr<const GuestMemory> memory,
              DirtyLog* log, void* descriptors, void* driver, void* device);
  static bool BaseIsPossible(uint32_t base, uint32_t size);

  uint32_t Take(ChainBatch& batch, uint32_t max) override;
  void PutBack(const Chain& chain) override;
  void Use(const Chain* chains, uint32_t count) override;
  bool ShouldNotify() override;
  void WantKicks(bool wanted) override;
  bool HasWork() const override;
  uint32_t Available() const override;
  uint32_t Base() const override;

 private:
  // An entry, and the wrap counter with which the ring is passed there. As half of a base: bits
  // 0-14 and 15.
  struct Place {
    explicit Place(uint32_t half) : entry(half & 0x7fff), wrap((half & 0x8000) != 0) {}
    uint16_t ToHalf() const { return static_cast<uint16_t>(entry | (wrap ? 0x8000 : 0)); }
    // `entries` <= `size` further on.
    void Advance(uint32_t entries, uint32_t size) {
      entry += entries;
      if (entry >= size) {
        entry -= size;
        wrap = !wrap;
      }
    }
    uint32_t entry;
    bool wrap;
  };
  static uint32_t Between(Place from, Place to, uint32_t size);

  uint8_t* At(Place place) const {
    return descriptors_ + uint64_t{ring::kDescriptorSize} * place.entry;
  }
  // Whether descriptor flags say that its entry is available to us at this place.
  static bool IsAvailable(uint16_t flags, bool wrap) {
    return ((flags & ring::kAvailable) != 0) == wrap && ((flags & ring::kUsed) != 0) != wrap;
  }
  RingFault Walk(uint16_t flags, ChainGather& gather, uint32_t* entries, uint16_t* id) const;
  RingFault WalkTable(const ring::Descriptor& descriptor, ChainGather& gather) const;
  RingFault TakeOne(uint16_t flags, ChainGather& gather);
  void NoteRing(const void* at, uint64_t size) const;

  uint8_t* const descriptors_;
  uint8_t* const driver_;  // event suppression of the guest
  uint8_t* const device_;  // ours
  Place next_;             // taken next
  Place used_;             // written next
  uint32_t untold_ = 0;    // entries used since ShouldNotify
  bool told_ = false;      // ShouldNotify has been asked about a used chain
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_PACKED_QUEUE_H_

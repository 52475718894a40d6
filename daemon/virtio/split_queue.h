// SplitQueue: a Virtqueue of the split layout (VIRTIO 1.3, 2.7): a table of descriptors, a ring of
// heads that the guest makes available, a ring of those we have used.
#ifndef VMQD_DAEMON_VIRTIO_SPLIT_QUEUE_H_
#define VMQD_DAEMON_VIRTIO_SPLIT_QUEUE_H_

#include <cstdint>
#include <memory>

#include "daemon/virtio/chain_gather.h"
#include "daemon/virtio/virtqueue.h"

namespace vmqd {

class SplitQueue final : public Virtqueue {
 public:
  // Bytes of the parts of a ring of `size` entries, event fields included.
  static uint64_t DescriptorBytes(uint64_t size) { return 16 * size; }
  static uint64_t DriverBytes(uint64_t size) { return 6 + 2 * size; }
  static uint64_t DeviceBytes(uint64_t size) { return 6 + 8 * size; }

  // The parts are as long as that, in `memory`. Made by Virtqueue::Open.
  SplitQueue(const VirtqueueConfig& config, std::shared_ptr<const GuestMemory> memory,
             DirtyLog* log, void* descriptors, void* driver, void* device);

  uint32_t Take(ChainBatch& batch, uint32_t max) override;
  void PutBack(const Chain& chain) override;
  void Use(const Chain* chains, uint32_t count) override;
  bool ShouldNotify() override;
  void WantKicks(bool wanted) override;
  bool HasWork() const override;
  uint32_t Available() const override;
  uint32_t Base() const override;

 private:
  // How many chains are available; poisons the queue when that cannot be.
  uint32_t Look();
  bool TakeSingle(uint16_t head, ChainBatch& batch) const;
  RingFault Walk(uint16_t head, ChainGather& gather) const;
  RingFault WalkTable(const ring::Descriptor& descriptor, ChainGather& gather) const;
  uint8_t* DriverEvent() const { return driver_ + 4 + 2 * uint64_t{config_.size}; }
  uint8_t* DeviceEvent() const { return device_ + 4 + 8 * uint64_t{config_.size}; }
  void PrefetchAhead() const;
  void NoteRing(const void* at, uint64_t size) const;

  const uint8_t* const descriptors_;
  uint8_t* const driver_;  // flags, index, heads, used event
  uint8_t* const device_;  // flags, index, elements, available event
  const uint16_t mask_;
  uint16_t next_;        // available index that is taken next
  uint16_t used_;        // used index that is written next
  uint16_t seen_;        // available index when it was last looked at
  uint32_t untold_ = 0;  // chains used since ShouldNotify
  bool told_ = false;    // ShouldNotify has been asked about a used chain
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_SPLIT_QUEUE_H_

// Indirect tables; the contract is in chain_gather.h.
#include "daemon/virtio/chain_gather.h"

namespace vmqd {

RingFault IndirectTable::Open(const GuestMemory& memory, const ring::Descriptor& descriptor,
                              uint32_t most) {
  const uint32_t size = descriptor.length;
  if (size == 0 || size % ring::kDescriptorSize != 0) return RingFault::kIndirect;
  entries_ = size / ring::kDescriptorSize;
  if (entries_ > most) return RingFault::kIndirect;
  part_count_ = 0;
  return memory.Gather(descriptor.address, size, parts_, &part_count_, kMaxParts)
             ? RingFault::kNone
             : RingFault::kAddress;
}

ring::Descriptor IndirectTable::Load(uint32_t index) const {
  alignas(8) uint8_t bytes[ring::kDescriptorSize];
  uint32_t offset = index * ring::kDescriptorSize;
  uint32_t copied = 0;
  for (uint32_t i = 0; i < part_count_ && copied < sizeof(bytes); ++i) {
    const GuestSpan& part = parts_[i];
    if (offset >= part.size()) {
      offset -= part.size();
      continue;
    }
    const auto size = std::min<uint32_t>(part.size() - offset, sizeof(bytes) - copied);
    part.Part(offset, size).CopyTo(bytes + copied);
    copied += size;
    offset = 0;
  }
  return ring::LoadSplit(bytes);
}

}  // namespace vmqd

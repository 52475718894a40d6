// Opening a ring, and the words for its faults; the contract is in virtqueue.h.
#include "daemon/virtio/virtqueue.h"

#include <bit>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/virtio/packed_queue.h"
#include "daemon/virtio/split_queue.h"

namespace vmqd {
namespace {

absl::Status CheckConfig(const VirtqueueConfig& config) {
  const uint32_t size = config.size;
  if (size == 0 || size > ring::kMaxSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ring of ", size, " entries: there must be 1 to ", ring::kMaxSize));
  }
  if (!config.packed && !std::has_single_bit(size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a split ring of ", size, " entries: their number must be a power of two"));
  }
  if (config.packed ? !PackedQueue::BaseIsPossible(config.base, size) : config.base > 0xffff) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a %s ring of %u entries cannot begin at base %#x",
                        config.packed ? "packed" : "split", size, config.base));
  }
  return absl::OkStatus();
}

struct Part {
  const char* name;
  uint64_t address;
  uint64_t size;
  uint64_t alignment;
};

absl::StatusOr<void*> Locate(const GuestMemory& memory, const Part& part) {
  if (part.address % part.alignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the %s at user address %#x must be aligned to %u bytes", part.name,
                        part.address, part.alignment));
  }
  void* at = memory.Ring(part.address, part.size, part.alignment);
  if (at != nullptr) return at;
  return absl::InvalidArgumentError(absl::StrFormat(
      "the %s, %u bytes at user address %#x, must lie in one memory region, aligned "
      "there to %u bytes",
      part.name, part.size, part.address, part.alignment));
}

}  // namespace

std::string_view RingFaultText(RingFault fault) {
  switch (fault) {
    case RingFault::kNone:
      return "made no mistake";
    case RingFault::kAvailIndex:
      return "made more chains available than its ring has entries, or took some back";
    case RingFault::kHead:
      return "made a descriptor or buffer id available that its ring does not have";
    case RingFault::kNext:
      return "chained a descriptor that its table does not have";
    case RingFault::kLoop:
      return "made a descriptor chain longer than its table";
    case RingFault::kIndirect:
      return "made an indirect table that is empty, not whole, nested, too long, chained on or not "
             "negotiated";
    case RingFault::kAddress:
      return "pointed a descriptor outside its memory";
    case RingFault::kDirection:
      return "offered a buffer for writing where it is read, or the reverse";
    case RingFault::kEmpty:
      return "made a descriptor chain available that has no byte";
    case RingFault::kTooLong:
      return "made a descriptor chain of more bytes or pieces than any frame has";
    case RingFault::kNotify:
      return "has its VMM make interrupts block";
    case RingFault::kMemory:
      return "took memory away that it had shared";
  }
  return "made an unknown mistake";
}

absl::StatusOr<std::unique_ptr<Virtqueue>> Virtqueue::Open(
    const VirtqueueConfig& config, std::shared_ptr<const GuestMemory> memory, DirtyLog* log) {
  if (absl::Status possible = CheckConfig(config); !possible.ok()) return possible;
  const uint64_t size = config.size;
  const bool packed = config.packed;
  const auto descriptors = Locate(
      *memory, {"descriptor table", config.descriptors, SplitQueue::DescriptorBytes(size), 16});
  if (!descriptors.ok()) return descriptors.status();
  const auto driver = Locate(
      *memory, packed ? Part{"driver event suppression", config.driver, PackedQueue::kEventBytes, 4}
                      : Part{"available ring", config.driver, SplitQueue::DriverBytes(size), 2});
  if (!driver.ok()) return driver.status();
  const auto device = Locate(
      *memory, packed ? Part{"device event suppression", config.device, PackedQueue::kEventBytes, 4}
                      : Part{"used ring", config.device, SplitQueue::DeviceBytes(size), 4});
  if (!device.ok()) return device.status();

  std::unique_ptr<Virtqueue> queue;
  if (packed) {
    queue = std::make_unique<PackedQueue>(config, std::move(memory), log, *descriptors, *driver,
                                          *device);
  } else {
    queue = std::make_unique<SplitQueue>(config, std::move(memory), log, *descriptors, *driver,
                                         *device);
  }
  queue->WantKicks(true);
  return queue;
}

}  // namespace vmqd

// GuestMemory: the memory a VMM lends a port, mapped. The only way to a guest's bytes: an address
// is translated together with its length, and what comes out can only be copied (net/guest_span.h).
//
// Immutable: a front end that changes its memory gets a new object, and the old one is unmapped
// when its last user lets go. Made by the vhost thread, read by workers. Regions follow the
// vhost-user specification, "Memory region description".
#ifndef VMQD_DAEMON_VIRTIO_GUEST_MEMORY_H_
#define VMQD_DAEMON_VIRTIO_GUEST_MEMORY_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/net/guest_span.h"
#include "daemon/virtio/unique_fd.h"

namespace vmqd {

struct MemoryRegion {
  uint64_t guest_address = 0;  // physical, as descriptors have it
  uint64_t size = 0;           // bytes
  uint64_t user_address = 0;   // the front end's own, as ring addresses have it
  uint64_t mmap_offset = 0;    // into the file
};

// One mapped region; shared by the GuestMemory objects that contain it.
class MappedRegion;
class DirtyLog;

class GuestMemory {
 public:
  static constexpr uint32_t kMaxRegions = 64;               // slots offered for hot-plug
  static constexpr uint64_t kMaxBytes = uint64_t{8} << 40;  // mapped by one port, in all

  // No regions.
  GuestMemory();
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  // This one's regions and another, which is mapped here (MADV_DONTDUMP) and `fd` closed.
  // kInvalidArgument, in words, unless: size > 0, nothing wraps, offset and size are whole pages of
  // the file (huge pages of hugetlbfs), the file is a memory file and long enough, no overlap with
  // another region in guest or user addresses, at most kMaxRegions and kMaxBytes.
  absl::StatusOr<std::shared_ptr<const GuestMemory>> With(const MemoryRegion& region,
                                                          UniqueFd fd) const;
  // Without the region of that guest address, user address and size; kNotFound.
  absl::StatusOr<std::shared_ptr<const GuestMemory>> Without(const MemoryRegion& region) const;

  uint32_t regions() const;
  uint64_t bytes() const;
  // Sealed against shrinking, every region of it; if not, only SIGBUS guards against a file that is
  // cut short.
  bool sealed() const;

  // Guest physical [address, address + size), split where regions meet, appended at out[*count];
  // false, *count as it was, when a byte lies in no region, size is 0, or more than `max` spans in
  // all would be needed.
  bool Gather(uint64_t address, uint32_t size, GuestSpan* out, uint32_t* count, uint32_t max) const;

  // The same for a buffer that lies in one region, which is one of the first few, as nearly all do;
  // false also when it lies elsewhere.
  bool GatherWhole(uint64_t address, uint32_t size, GuestSpan* out) const {
    const Place* const end = places_.data() + std::min(places_.size(), kFewRegions);
    for (const Place* place = places_.data(); place != end; ++place) {
      // Below the region the offset wraps to more than any size.
      const uint64_t offset = address - place->guest_address;
      if (offset >= place->size) continue;
      if (size == 0 || size > place->size - offset) return false;
      *out = GuestSpan(place->host + offset, size);
      return true;
    }
    return false;
  }

  // A ring part: user address [address, address + size) within one region, aligned to `alignment`.
  // Null otherwise. For virtqueues only, which read it with atomic loads.
  void* Ring(uint64_t address, uint64_t size, uint64_t alignment) const;

  // Whether a page of it turned out not to be there (the file was cut short: SIGBUS). From then on
  // reads give zeros and writes go nowhere; whoever sees this faults the port.
  bool Broken() const;

  // Notes in `log` that these bytes were written by us.
  void Log(DirtyLog& log, GuestSpan written) const;
  void LogRing(DirtyLog& log, const void* at, uint64_t size) const;

 private:
  // What translation needs of a region, close together.
  struct Place {
    uint64_t guest_address;
    uint64_t size;
    uint8_t* host;
  };
  using Regions = std::vector<std::shared_ptr<MappedRegion>>;
  explicit GuestMemory(Regions regions);
  static constexpr size_t kFewRegions = 8;        // up to here looking at each in turn is fastest
  const Place* Find(uint64_t address) const;      // where the guest address lies; or null
  const Place* Containing(const void* at) const;  // whose mapping this points into; or null

  const Regions regions_;            // by guest address
  const std::vector<Place> places_;  // of them, in the same order
};

// Installs the SIGBUS handler, once in a process, before the first mapping. A SIGBUS that is not on
// guest memory ends the process as before.
void GuardGuestMemory();

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_GUEST_MEMORY_H_

// SharedMapping: a part of a memory file that a peer lent us, mapped for reading and writing. What
// is asked is checked against the file before anything is mapped. Guarded against a file that is
// cut short later (GuardGuestMemory). Control threads make and destroy it; owns the mapping, not
// the descriptor.
#ifndef VMQD_DAEMON_VIRTIO_SHARED_MAPPING_H_
#define VMQD_DAEMON_VIRTIO_SHARED_MAPPING_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/virtio/guest_memory_guard.h"

namespace vmqd {

// What a descriptor turns out to be.
struct MemoryFile {
  uint64_t size = 0;    // bytes, now
  uint64_t page = 0;    // bytes; a huge page of hugetlbfs
  bool sealed = false;  // cannot be cut short
};
// kInvalidArgument unless `fd` is a memfd or a file of tmpfs or hugetlbfs, `size` is not 0 and
// [offset, offset + size) lies in it. `what` begins the message: "a memory region".
absl::StatusOr<MemoryFile> InspectMemoryFile(int fd, uint64_t offset, uint64_t size,
                                             absl::string_view what);

class SharedMapping {
 public:
  // Maps what InspectMemoryFile found good. kResourceExhausted when the kernel or the table of
  // guarded ranges has no room, else kInvalidArgument.
  static absl::StatusOr<std::unique_ptr<SharedMapping>> Map(int fd, const MemoryFile& file,
                                                            uint64_t offset, uint64_t size,
                                                            absl::string_view what);
  ~SharedMapping();
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  uint8_t* data() const { return data_; }  // of `offset`
  bool broken() const { return guard_->broken(); }

 private:
  SharedMapping(void* base, uint64_t mapped, uint8_t* data, GuardedRange* guard)
      : base_(base), mapped_(mapped), data_(data), guard_(guard) {}
  void* base_;
  uint64_t mapped_;
  uint8_t* data_;
  GuardedRange* guard_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_SHARED_MAPPING_H_

// DirtyLog: the bitmap a VMM shares during a live migration, in which the device notes every guest
// page it writes (vhost-user specification, "Migration"). One bit for each 4 KiB of guest physical
// memory. Made by the vhost thread; workers set bits, atomically. Bits outside are ignored.
#ifndef VMQD_DAEMON_VIRTIO_DIRTY_LOG_H_
#define VMQD_DAEMON_VIRTIO_DIRTY_LOG_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "daemon/virtio/unique_fd.h"

namespace vmqd {

class SharedMapping;

class DirtyLog {
 public:
  // Maps [offset, offset + size) of `fd`; the same checks of the file as for guest memory.
  static absl::StatusOr<std::unique_ptr<DirtyLog>> Map(UniqueFd fd, uint64_t size, uint64_t offset);
  ~DirtyLog();
  DirtyLog(const DirtyLog&) = delete;
  DirtyLog& operator=(const DirtyLog&) = delete;

  // Guest physical [address, address + size).
  void Set(uint64_t address, uint64_t size);

 private:
  DirtyLog(std::unique_ptr<SharedMapping> mapping, uint64_t size);
  const std::unique_ptr<SharedMapping> mapping_;
  uint8_t* const bits_;
  const uint64_t size_;  // bytes of bitmap
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_DIRTY_LOG_H_

// The table behind GuardGuestMemory: which stretches of our address space are files that somebody
// else can cut short. An access beyond such a file's end is a SIGBUS; the handler puts zero pages
// in the place of the whole stretch, so that the access goes on, and notes it as broken.
//
// Add and Remove: control threads, under a lock of their own. The handler runs on any thread, takes
// no lock and uses only what a signal handler may. Whoever removes a stretch has made sure that no
// thread accesses it any more.
#ifndef VMQD_DAEMON_VIRTIO_GUEST_MEMORY_GUARD_H_
#define VMQD_DAEMON_VIRTIO_GUEST_MEMORY_GUARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vmqd {

class GuardedRange {
 public:
  // Null when kGuardedRanges are in use.
  static GuardedRange* Add(void* base, size_t size);
  static void Remove(GuardedRange* range);

  bool broken() const { return broken_.load(std::memory_order_acquire); }

 private:
  friend class GuardTable;
  void Set(uintptr_t begin, size_t size);

  // Odd while the range is being changed. A handler that sees it odd or changing looks elsewhere:
  // a range that a thread is accessing is not being changed.
  std::atomic<uint32_t> version_{0};
  std::atomic<uintptr_t> begin_{0};  // 0: free
  std::atomic<size_t> size_{0};
  std::atomic<bool> broken_{false};
};

constexpr uint32_t kGuardedRanges = 16384;  // 64 regions of 250 ports; 0.5 MiB, touched as needed

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_GUEST_MEMORY_GUARD_H_

// The SIGBUS handler and its table; the contract is in guest_memory_guard.h and guest_memory.h.
//
// Must stay true: the handler calls nothing but mmap, sigaction and raise, which are system calls
// and no more, and keeps errno. The table is static, so that it outlives every mapping and every
// thread.
#include "daemon/virtio/guest_memory_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>

#include "daemon/virtio/guest_memory.h"

namespace vmqd {

class GuardTable {
 public:
  GuardedRange* Add(uintptr_t begin, size_t size) {
    const std::lock_guard<std::mutex> lock(change_);
    for (uint32_t i = 0; i < kGuardedRanges; ++i) {
      GuardedRange& range = ranges_[i];
      if (range.begin_.load(std::memory_order_relaxed) != 0) continue;
      range.broken_.store(false, std::memory_order_relaxed);
      range.Set(begin, size);
      if (i >= end_.load(std::memory_order_relaxed)) end_.store(i + 1, std::memory_order_release);
      return &range;
    }
    return nullptr;
  }

  void Remove(GuardedRange* range) {
    const std::lock_guard<std::mutex> lock(change_);
    range->Set(0, 0);
  }

  // In the handler. True: zero pages are there now.
  bool Mend(uintptr_t address) {
    const uint32_t end = end_.load(std::memory_order_acquire);
    for (uint32_t i = 0; i < end; ++i) {
      GuardedRange& range = ranges_[i];
      const uint32_t version = range.version_.load(std::memory_order_acquire);
      const uintptr_t begin = range.begin_.load(std::memory_order_acquire);
      const size_t size = range.size_.load(std::memory_order_acquire);
      if (version % 2 != 0 || range.version_.load(std::memory_order_acquire) != version) continue;
      if (begin == 0 || address < begin || address - begin >= size) continue;
      range.broken_.store(true, std::memory_order_release);
      // The system call itself: sanitizers do things in mmap that a signal handler may not, and
      // would take it for a write to all of the range.
      return syscall(SYS_mmap, begin, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != -1;
    }
    return false;
  }

 private:
  std::mutex change_;
  std::atomic<uint32_t> end_{0};  // no range at or after it has ever been used
  std::array<GuardedRange, kGuardedRanges> ranges_;
};

namespace {

constinit GuardTable table;
struct sigaction before;  // what SIGBUS did; written once, before the handler is there

void OnSigbus(int signal, siginfo_t* info, void* /*context*/) {
  const int kept = errno;
  const bool accessed = info->si_code > 0;  // else somebody sent it, and si_addr means nothing
  if (!accessed || !table.Mend(reinterpret_cast<uintptr_t>(info->si_addr))) {
    // Not ours. The access is repeated, or the signal sent again, and ends as it did before us.
    sigaction(SIGBUS, &before, nullptr);
    if (!accessed) raise(signal);
  }
  errno = kept;
}

}  // namespace

void GuardedRange::Set(uintptr_t begin, size_t size) {
  version_.fetch_add(1, std::memory_order_acq_rel);
  begin_.store(begin, std::memory_order_release);
  size_.store(size, std::memory_order_release);
  version_.fetch_add(1, std::memory_order_release);
}

GuardedRange* GuardedRange::Add(void* base, size_t size) {
  return table.Add(reinterpret_cast<uintptr_t>(base), size);
}

void GuardedRange::Remove(GuardedRange* range) { table.Remove(range); }

void GuardGuestMemory() {
  static std::once_flag once;
  std::call_once(once, [] {
    sigaction(SIGBUS, nullptr, &before);
    struct sigaction ours {};
    ours.sa_sigaction = OnSigbus;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, nullptr);
  });
}

}  // namespace vmqd

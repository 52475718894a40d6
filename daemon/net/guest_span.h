// GuestSpan: a stretch of memory that somebody else, a guest or the kernel, may write at the same
// time. Its bytes can be copied and nothing else, so that what is checked is never read twice. The
// pointer does not come out. A value; valid while its mapping is. Nothing here allocates.
#ifndef VMQD_DAEMON_NET_GUEST_SPAN_H_
#define VMQD_DAEMON_NET_GUEST_SPAN_H_

#include <atomic>
#include <cstdint>
#include <cstring>

#include "daemon/net/short_copy.h"

namespace vmqd {

class GuestSpan {
 public:
  GuestSpan() = default;
  GuestSpan(uint8_t* at, uint32_t size) : at_(at), size_(size) {}

  uint32_t size() const { return size_; }
  // [offset, offset + size) of it, which the caller knows to lie inside.
  GuestSpan Part(uint32_t offset, uint32_t size) const { return {at_ + offset, size}; }
  // Its first cache lines, two: a virtio_net_hdr often ends one, and the frame begins in the next.
  void PrefetchToRead() const {
    __builtin_prefetch(at_);
    __builtin_prefetch(at_ + kCacheLine);
  }
  void PrefetchToWrite() const {
    PrefetchLineToWrite(at_);
    PrefetchLineToWrite(at_ + kCacheLine);
  }

  // All of it to `to`, which has room. What comes after reads the copy: without the fence, which
  // is no instruction, a compiler might read the guest's bytes again in the copy's place, after
  // they were checked.
  void CopyTo(uint8_t* to) const {
    std::memcpy(to, at_, size_);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  // The same, fast where the bytes are few.
  void ShortCopyTo(uint8_t* to) const {
    ShortCopy(to, at_, size_);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  // Its first bytes as a T, which it has; otherwise as CopyTo.
  template <typename T>
  T First() const {
    T value;
    std::memcpy(&value, at_, sizeof(T));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return value;
  }
  // Fills it from `from`, which has as many bytes.
  void CopyFrom(const uint8_t* from) const { std::memcpy(at_, from, size_); }
  void ShortCopyFrom(const uint8_t* from) const { ShortCopy(at_, from, size_); }
  // Puts `value` at its beginning, where there is room.
  template <typename T>
  void SetFirst(const T& value) const {
    std::memcpy(at_, &value, sizeof(T));
  }
  // Fills it from the beginning of `from`, which has at least as many bytes. The two do not
  // overlap, or what is copied is undefined (a guest that lends one page twice gets what it asks).
  void CopyFrom(GuestSpan from) const { std::memcpy(at_, from.at_, size_); }

 private:
  static constexpr uint32_t kCacheLine = 64;
  // The compiler's own prefetch for writing is one for reading unless built for newer processors;
  // where this one is unknown it does nothing.
  static void PrefetchLineToWrite(uint8_t* at) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*at));
#else
    __builtin_prefetch(at, 1);
#endif
  }

  friend class GuestMemory;  // finds the region it lies in, for the dirty log
  uint8_t* at_ = nullptr;
  uint32_t size_ = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_GUEST_SPAN_H_

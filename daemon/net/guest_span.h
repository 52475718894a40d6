// GuestSpan: a stretch of memory that somebody else, a guest or the kernel, may write at the same
// time. Its bytes can be copied and nothing else, so that what is checked is never read twice. The
// pointer does not come out. A value; valid while its mapping is. Nothing here allocates.
#ifndef VMQD_DAEMON_NET_GUEST_SPAN_H_
#define VMQD_DAEMON_NET_GUEST_SPAN_H_

#include <atomic>
#include <cstdint>
#include <cstring>

namespace vmqd {

class GuestSpan {
 public:
  GuestSpan() = default;
  GuestSpan(uint8_t* at, uint32_t size) : at_(at), size_(size) {}

  uint32_t size() const { return size_; }
  // [offset, offset + size) of it, which the caller knows to lie inside.
  GuestSpan Part(uint32_t offset, uint32_t size) const { return {at_ + offset, size}; }
  void Prefetch() const { __builtin_prefetch(at_); }

  // All of it to `to`, which has room. What comes after reads the copy: without the fence, which
  // is no instruction, a compiler might read the guest's bytes again in the copy's place, after
  // they were checked.
  void CopyTo(uint8_t* to) const {
    std::memcpy(to, at_, size_);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  // Fills it from `from`, which has as many bytes.
  void CopyFrom(const uint8_t* from) const { std::memcpy(at_, from, size_); }
  // Fills it from the beginning of `from`, which has at least as many bytes. The two do not
  // overlap, or what is copied is undefined (a guest that lends one page twice gets what it asks).
  void CopyFrom(GuestSpan from) const { std::memcpy(at_, from.at_, size_); }

 private:
  friend class GuestMemory;  // finds the region it lies in, for the dirty log
  uint8_t* at_ = nullptr;
  uint32_t size_ = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_GUEST_SPAN_H_

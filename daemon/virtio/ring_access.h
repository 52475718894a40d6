// How rings in guest memory are touched: word by word, with atomic loads and stores, because the
// guest writes at the same time. Layouts and flags follow VIRTIO 1.3, 2.7 and 2.8; everything there
// is little endian. Any thread; nothing here allocates.
#ifndef VMQD_DAEMON_VIRTIO_RING_ACCESS_H_
#define VMQD_DAEMON_VIRTIO_RING_ACCESS_H_

#include <endian.h>

#include <atomic>
#include <cstdint>

// GCC's word first: libraries define __has_feature for it as something that is never true.
#if defined(__SANITIZE_THREAD__)
#define VMQD_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VMQD_THREAD_SANITIZER 1
#endif
#endif

namespace vmqd::ring {

// Flags of descriptors; used and available only in packed rings.
constexpr uint16_t kNext = 1, kWrite = 2, kIndirect = 4;
constexpr uint16_t kAvailable = 1 << 7, kUsed = 1 << 15;
// Flags of a split ring's halves.
constexpr uint16_t kNoInterrupt = 1, kNoNotify = 1;
// Flags of a packed ring's event suppression.
constexpr uint16_t kEventsEnabled = 0, kEventsDisabled = 1, kEventsAtEntry = 2, kEventsMask = 3;

constexpr uint32_t kDescriptorSize = 16;
constexpr uint32_t kMaxSize = 32768;
// Offsets in a descriptor. A split ring's has flags and next after the length, a packed ring's has
// the buffer id and flags.
constexpr uint32_t kAddress = 0, kLength = 8;
constexpr uint32_t kSplitFlags = 12, kSplitNext = 14;
constexpr uint32_t kPackedId = 12, kPackedFlags = 14;

inline uint16_t Load16(const uint8_t* at) {
  return le16toh(__atomic_load_n(reinterpret_cast<const uint16_t*>(at), __ATOMIC_RELAXED));
}
inline uint16_t Acquire16(const uint8_t* at) {
  return le16toh(__atomic_load_n(reinterpret_cast<const uint16_t*>(at), __ATOMIC_ACQUIRE));
}
inline uint32_t Load32(const uint8_t* at) {
  return le32toh(__atomic_load_n(reinterpret_cast<const uint32_t*>(at), __ATOMIC_RELAXED));
}
inline uint64_t Load64(const uint8_t* at) {
  return le64toh(__atomic_load_n(reinterpret_cast<const uint64_t*>(at), __ATOMIC_RELAXED));
}
inline void Store16(uint8_t* at, uint16_t value) {
  __atomic_store_n(reinterpret_cast<uint16_t*>(at), htole16(value), __ATOMIC_RELAXED);
}
inline void Release16(uint8_t* at, uint16_t value) {
  __atomic_store_n(reinterpret_cast<uint16_t*>(at), htole16(value), __ATOMIC_RELEASE);
}
inline void Store32(uint8_t* at, uint32_t value) {
  __atomic_store_n(reinterpret_cast<uint32_t*>(at), htole32(value), __ATOMIC_RELAXED);
}

// Between a store the other side must see and a load of what it may have stored meanwhile.
inline void FullFence() {
#ifdef VMQD_THREAD_SANITIZER
  // It does not know fences.
  static std::atomic<uint32_t> between{0};
  between.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// A descriptor, copied. What is checked and what is used is this copy.
struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t last;  // split: next; packed: buffer id
};

// Of a descriptor table that is aligned to 16 bytes.
inline Descriptor LoadSplit(const uint8_t* at) {
  const uint64_t rest = Load64(at + kLength);
  return {Load64(at + kAddress), static_cast<uint32_t>(rest), static_cast<uint16_t>(rest >> 32),
          static_cast<uint16_t>(rest >> 48)};
}
// The flags come from the caller: for the first of a chain they have to be loaded before the rest.
inline Descriptor LoadPacked(const uint8_t* at, uint16_t flags) {
  return {Load64(at + kAddress), Load32(at + kLength), flags, Load16(at + kPackedId)};
}

}  // namespace vmqd::ring

#endif  // VMQD_DAEMON_VIRTIO_RING_ACCESS_H_

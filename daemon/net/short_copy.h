// Copying as few bytes as most frames have without a call: the C library's memcpy costs more than
// the copy itself there. Any thread; nothing here allocates.
#ifndef VMQD_DAEMON_NET_SHORT_COPY_H_
#define VMQD_DAEMON_NET_SHORT_COPY_H_

#include <cstdint>
#include <cstring>

namespace vmqd {

// As memcpy.
inline void ShortCopy(uint8_t* to, const uint8_t* from, uint32_t size) {
  constexpr uint32_t kWord = 16;  // what every x86-64 moves at once
  if (size < kWord || size > 16 * kWord) {
    std::memcpy(to, from, size);
    return;
  }
  // The last word overlaps the one before it.
  for (uint32_t at = 0; at < size - kWord; at += kWord) std::memcpy(to + at, from + at, kWord);
  std::memcpy(to + size - kWord, from + size - kWord, kWord);
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_SHORT_COPY_H_

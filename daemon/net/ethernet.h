// Reading and editing the Ethernet header of a frame in place. The caller guarantees the lengths
// named with each function; nothing here allocates. Any thread.
#ifndef VMQD_DAEMON_NET_ETHERNET_H_
#define VMQD_DAEMON_NET_ETHERNET_H_

#include <cstdint>
#include <cstring>

namespace vmqd {

inline constexpr uint32_t kEthHeaderLen = 14;
inline constexpr uint32_t kVlanTagLen = 4;
inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeVlan = 0x8100;         // IEEE 802.1Q
inline constexpr uint16_t kEtherTypeServiceVlan = 0x88a8;  // IEEE 802.1ad
inline constexpr uint16_t kVlanIdMask = 0x0fff;

inline uint16_t LoadBe16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }
inline void StoreBe16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

// Frame of at least 14 bytes.
inline uint16_t EtherTypeOf(const uint8_t* frame) { return LoadBe16(frame + 12); }

// Frame of at least 18 bytes that starts with an 802.1Q tag.
inline uint16_t VlanIdOf(const uint8_t* frame) { return LoadBe16(frame + 14) & kVlanIdMask; }

// Removes the tag of a tagged frame of at least 18 bytes; returns where the frame now starts, 4
// bytes later.
inline uint8_t* PopVlanTag(uint8_t* frame) {
  std::memmove(frame + kVlanTagLen, frame, 12);
  return frame + kVlanTagLen;
}

// Puts a tag in front of the EtherType; the 4 bytes before `frame` must be free. `control` is the
// VLAN id, with priority bits or without. Returns where the frame now starts, 4 bytes earlier.
inline uint8_t* PushVlanTag(uint8_t* frame, uint16_t control, uint16_t type = kEtherTypeVlan) {
  uint8_t* start = frame - kVlanTagLen;
  std::memmove(start, frame, 12);
  StoreBe16(start + 12, type);
  StoreBe16(start + 14, control);
  return start;
}

// 01:80:c2:00:00:00 .. 0f, which a bridge never forwards (IEEE 802.1Q-2018, table 8-1). Frame of at
// least 6 bytes.
inline bool IsReservedMulticast(const uint8_t* frame) {
  static constexpr uint8_t kPrefix[5] = {0x01, 0x80, 0xc2, 0, 0};
  return std::memcmp(frame, kPrefix, sizeof(kPrefix)) == 0 && (frame[5] & 0xf0) == 0;
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_ETHERNET_H_

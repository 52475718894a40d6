// A 48-bit Ethernet address as a value: parse, print, compare, hash. No I/O, any thread.
#ifndef VMQD_DAEMON_NET_MAC_ADDRESS_H_
#define VMQD_DAEMON_NET_MAC_ADDRESS_H_

#include <endian.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vmqd {

struct MacAddress {
  std::array<uint8_t, 6> bytes{};

  // Accepts six hexadecimal octets separated by ':' or '-', upper or lower case.
  // InvalidArgument names the text otherwise.
  static absl::StatusOr<MacAddress> Parse(std::string_view text);

  // Reads six bytes at `wire`; the caller guarantees they are there.
  static MacAddress FromWire(const uint8_t* wire) {
    MacAddress mac;
    std::memcpy(mac.bytes.data(), wire, mac.bytes.size());
    return mac;
  }

  // Lower case, colons: "52:54:00:00:00:01".
  std::string ToString() const;

  // The 48 bits in the low end of a word, first octet highest: a key for tables.
  uint64_t ToWord() const {
    uint32_t high;
    uint16_t low;
    std::memcpy(&high, bytes.data(), sizeof(high));
    std::memcpy(&low, bytes.data() + sizeof(high), sizeof(low));
    return uint64_t{be32toh(high)} << 16 | be16toh(low);
  }

  bool IsMulticast() const { return bytes[0] & 1; }
  bool IsZero() const { return ToWord() == 0; }

  friend auto operator<=>(const MacAddress&, const MacAddress&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const MacAddress& mac) {
    return H::combine(std::move(state), mac.ToWord());
  }
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_MAC_ADDRESS_H_

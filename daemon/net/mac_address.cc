// Text to MAC address and back: for the API, the CLI and log lines. Never on the path of a frame.
// Any thread.
#include "daemon/net/mac_address.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vmqd {
namespace {

constexpr size_t kTextLength = 17;  // "52:54:00:00:00:01"

uint8_t HexDigit(char c) {
  return static_cast<uint8_t>(absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10);
}

bool IsWellFormed(std::string_view text) {
  if (text.size() != kTextLength || (text[2] != ':' && text[2] != '-')) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool separator = i % 3 == 2;
    if (separator ? text[i] != text[2] : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<MacAddress> MacAddress::Parse(std::string_view text) {
  if (!IsWellFormed(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::Utf8SafeCHexEscape({text.data(), text.size()}),
                     "\" is not a MAC address: six octets of two hexadecimal digits with ':' or "
                     "'-' between them are, as in \"52:54:00:00:00:01\""));
  }
  MacAddress mac;
  for (size_t i = 0; i < mac.bytes.size(); ++i) {
    mac.bytes[i] = static_cast<uint8_t>(HexDigit(text[3 * i]) << 4 | HexDigit(text[3 * i + 1]));
  }
  return mac;
}

std::string MacAddress::ToString() const {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3],
                         bytes[4], bytes[5]);
}

}  // namespace vmqd

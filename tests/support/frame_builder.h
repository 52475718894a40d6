// Builds Ethernet frames for tests: tags, IPv4 and IPv6, TCP and UDP, with complete, partial or no
// checksum. Checksums are computed here, byte pair by byte pair, with nothing of daemon/net, so
// that a frame built here is a reference to compare the daemon's own work with.
#ifndef VMQD_TESTS_SUPPORT_FRAME_BUILDER_H_
#define VMQD_TESTS_SUPPORT_FRAME_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/net/mac_address.h"

namespace vmqd::testing {

using Bytes = std::vector<uint8_t>;

struct VlanTag {
  uint16_t type = 0x8100;
  uint16_t control = 0;  // priority and VLAN id
};

struct ExtensionHeader {
  uint8_t type = 60;  // what the header before it calls it
  Bytes body;         // from the third byte on, 6 + 8n bytes
};

enum class Checksum { kComplete, kPartial, kNone };

struct FrameSpec {
  MacAddress destination{{0x52, 0x54, 0, 0, 0, 1}};
  MacAddress source{{0x52, 0x54, 0, 0, 0, 2}};
  std::vector<VlanTag> tags;
  bool ipv6 = false;
  bool udp = false;
  Checksum checksum = Checksum::kComplete;
  uint16_t ip_id = 0x1234;
  uint8_t traffic_class = 0;        // IPv4's TOS
  uint8_t hop_limit = 64;           // IPv4's TTL
  uint8_t host = 2;                 // last byte of the source address
  uint16_t ipv4_fragment = 0x4000;  // flags and offset; don't fragment
  Bytes ipv4_options;               // a multiple of 4
  std::vector<ExtensionHeader> extensions;
  Bytes final_destination;  // IPv6: what a routing header makes the pseudo-header name
  uint16_t source_port = 40000;
  uint32_t tcp_sequence = 0x01020304;
  uint32_t tcp_acknowledged = 0x0a0b0c0d;
  uint8_t tcp_flags = 0x10;
  uint16_t tcp_window = 0x7210;
  uint16_t tcp_urgent = 0;
  Bytes tcp_options;  // a multiple of 4
  Bytes payload;
  size_t padding = 0;  // bytes of 0xa5 behind the IP packet
};

struct BuiltFrame {
  Bytes bytes;
  size_t network = 0;    // offset of the IP header
  size_t transport = 0;  // offset of the TCP or UDP header
  size_t field = 0;      // offset of the transport checksum
  size_t payload = 0;    // offset of the payload
};

BuiltFrame Build(const FrameSpec& spec);

// A frame of `length` bytes with this header; the rest counts up from 0. Shorter than its headers:
// cut.
Bytes EthernetFrame(const MacAddress& destination, const MacAddress& source,
                    const std::vector<VlanTag>& tags, uint16_t ether_type, size_t length);

// `length` bytes that do not repeat within 251.
Bytes Pattern(size_t length, uint8_t first = 0);

// The folded ones' complement sum, the plain way of RFC 1071.
uint16_t ReferenceSum(const uint8_t* data, size_t length, uint32_t sum = 0);

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_FRAME_BUILDER_H_

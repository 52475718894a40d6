// Finds the TCP or UDP header of a frame: the part that finishing a checksum and cutting a segment
// have in common. Nothing here allocates. Any thread.
//
// Any bytes are safe: what is returned lies inside the frame, whatever the headers claim.
#ifndef VMQD_DAEMON_NET_IP_TRANSPORT_H_
#define VMQD_DAEMON_NET_IP_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <optional>

namespace vmqd {

inline constexpr uint8_t kIpProtocolTcp = 6;
inline constexpr uint8_t kIpProtocolUdp = 17;
inline constexpr uint32_t kTcpHeaderLen = 20;  // without options
inline constexpr uint32_t kUdpHeaderLen = 8;
inline constexpr uint32_t kTcpChecksumOffset = 16;
inline constexpr uint32_t kUdpChecksumOffset = 6;
inline constexpr uint32_t kIpv4HeaderLen = 20;  // without options
inline constexpr uint32_t kIpv6HeaderLen = 40;

struct IpTransport {
  uint32_t network = 0;      // offset of the IP header
  uint32_t transport = 0;    // offset of the TCP or UDP header
  uint32_t end = 0;          // where the IP length ends; what follows is padding
  uint32_t destination = 0;  // offset of the address that the pseudo-header names
  uint8_t protocol = 0;      // kIpProtocolTcp or kIpProtocolUdp
  bool ipv6 = false;
};

// One 802.1Q tag is skipped, and so are IPv6 hop-by-hop, routing and destination options. At least
// the fixed part of the transport header lies before `end`. nullopt for everything else: not IP, a
// fragment, another protocol, an unknown extension header, lengths beyond the frame.
std::optional<IpTransport> FindIpTransport(const uint8_t* frame, size_t length);
// The same of a frame of which only the first `head` <= `length` bytes lie at `frame`: the fixed
// part of the transport header is among them.
std::optional<IpTransport> FindIpTransport(const uint8_t* frame, size_t head, size_t length);

// The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1) of a transport packet of `length`
// bytes, not folded.
uint64_t PseudoHeaderSum(const uint8_t* frame, const IpTransport& at, uint32_t length);

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_IP_TRANSPORT_H_

// Segmentation in software: cuts the large TCP or UDP segment a sender left to its device (TSO,
// USO) into frames of the size the sender asked for, with complete checksums. Nothing here
// allocates. Any thread.
//
// Input is hostile: header and frame are checked against each other once, in Plan, on the caller's
// private copies.
#ifndef VMQD_DAEMON_NET_SEGMENTATION_H_
#define VMQD_DAEMON_NET_SEGMENTATION_H_

#include <cstdint>
#include <optional>
#include <span>

#include "daemon/net/virtio_net_header.h"

namespace vmqd {

class Segmentation {
 public:
  // `frame` starts at the Ethernet header (one 802.1Q tag allowed) and must outlive the plan;
  // `header` is the virtio_net_hdr that came with it, little endian. GSO types TCPV4, TCPV6 and
  // UDP_L4 (VIRTIO 1.3, 5.1.6), with or without the ECN bit; every other type, a gso_size of 0, a
  // type that contradicts the IP version or protocol, lengths that do not fit: nullopt.
  static std::optional<Segmentation> Plan(std::span<const uint8_t> frame,
                                          const virtio_net_hdr& header);

  uint32_t count() const { return count_; }                     // frames, at least one
  uint32_t max_length() const { return headers_ + gso_size_; }  // longest frame, bytes

  // Writes segment `index` < count() to `out`, which has room for max_length() bytes; returns its
  // length. IP length, IPv4 id and header checksum, TCP sequence number, flags (FIN and PSH only on
  // the last, CWR only on the first) and checksum, UDP length and checksum are those of a frame of
  // its own.
  uint32_t Write(uint32_t index, uint8_t* out) const;

 private:
  Segmentation() = default;
  void WriteTcpHeader(uint8_t* tcp, uint32_t index) const;
  void WriteTransportChecksum(uint8_t* out, uint32_t length) const;

  std::span<const uint8_t> frame_;
  uint32_t network_ = 0;      // offset of the IP header
  uint32_t transport_ = 0;    // offset of the TCP or UDP header
  uint32_t destination_ = 0;  // offset of the address that the pseudo-header names
  uint32_t headers_ = 0;      // bytes before the payload
  uint32_t gso_size_ = 0;     // payload bytes a frame, at most the payload
  uint32_t count_ = 0;
  bool ipv6_ = false;
  bool tcp_ = false;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_SEGMENTATION_H_

// Segmentation in software: cuts the large TCP or UDP segment a sender left to its device (TSO,
// USO) into frames of the size the sender asked for, with complete checksums. Nothing here
// allocates. Any thread.
//
// Input is hostile: header and frame are checked against each other once, in Plan, on the caller's
// private copies. What Plan refuses is what Linux refuses (virtio_net_hdr_to_skb of 6.18), and a
// little more.
#ifndef VMQD_DAEMON_NET_SEGMENTATION_H_
#define VMQD_DAEMON_NET_SEGMENTATION_H_

#include <cstdint>
#include <optional>
#include <span>

#include "daemon/net/frame_tail.h"
#include "daemon/net/virtio_net_header.h"

namespace vmqd {

class Segmentation {
 public:
  // Least payload of a TCP segment: what options leave of Linux's least MSS (TCP_MIN_GSO_SIZE).
  static constexpr uint32_t kMinTcpSize = 8;
  // What a caller lets one large segment of a guest become, frames: 64 KiB at Linux's least MSS
  // (TCP_MIN_SND_MSS, 48 bytes) is some 1400. Who asks for more asks for work, not for delivery.
  static constexpr uint32_t kMaxCount = 1400;
  // Datagrams one large one may become (Linux, UDP_MAX_SEGMENTS).
  static constexpr uint32_t kMaxDatagrams = 128;

  // `head` is the beginning of a frame of `length` bytes, from the Ethernet header (one 802.1Q tag
  // allowed) to the end of the TCP or UDP header at least; it must outlive the plan. `header` is
  // the virtio_net_hdr that came with it, little endian; its hdr_len is a hint and not looked at.
  // GSO types TCPV4 and TCPV6, with or without the ECN bit, and UDP_L4 (VIRTIO 1.3, 5.1.6).
  // nullopt: another type, one that contradicts the IP version or protocol, a gso_size of 0, of
  // 65535 (which means something else to Linux) or below the least, too many datagrams, a checksum
  // place that is not the transport header's, headers beyond `head`, lengths that do not fit.
  static std::optional<Segmentation> Plan(std::span<const uint8_t> head, uint32_t length,
                                          const virtio_net_hdr& header);
  // The same for a frame that lies in one place.
  static std::optional<Segmentation> Plan(std::span<const uint8_t> frame,
                                          const virtio_net_hdr& header) {
    return Plan(frame, static_cast<uint32_t>(frame.size()), header);
  }

  uint32_t count() const { return count_; }                     // frames, at least one
  uint32_t max_length() const { return headers_ + gso_size_; }  // longest frame, bytes

  // Writes segment `index` < count() to `out`, which has room for max_length() bytes; returns its
  // length. IP length, IPv4 id and header checksum, TCP sequence number, flags (FIN and PSH only on
  // the last, CWR only on the first) and checksum, UDP length and checksum are those of a frame of
  // its own. `reader` reads the frame from its first byte on; it and the indices go from front to
  // back together.
  uint32_t Write(uint32_t index, FrameReader& reader, uint8_t* out) const;
  // The same, in any order, for a frame that lies in one place.
  uint32_t Write(uint32_t index, uint8_t* out) const;

 private:
  Segmentation() = default;
  uint32_t PayloadOf(uint32_t index) const;
  uint32_t Finish(uint32_t index, uint8_t* out) const;
  void WriteTcpHeader(uint8_t* tcp, uint32_t index) const;
  void WriteTransportChecksum(uint8_t* out, uint32_t length) const;

  const uint8_t* head_ = nullptr;
  uint32_t end_ = 0;          // where the IP length ends; what follows is padding
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

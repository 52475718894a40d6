// Finishing partial transport checksums in software. Nothing here allocates. Any thread.
//
// Linux leaves the checksum of a TCP or UDP segment to the device by storing the folded
// pseudo-header sum in the checksum field (CHECKSUM_PARTIAL). AF_XDP hands such frames over without
// saying so.
#ifndef VMQD_DAEMON_NET_CHECKSUM_H_
#define VMQD_DAEMON_NET_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

namespace vmqd {

// The ones' complement sum of `length` bytes added to `sum`, not folded (RFC 1071).
uint64_t ChecksumAdd(const uint8_t* data, size_t length, uint64_t sum);
// Folds to 16 bits, in network byte order as a number (first byte high).
uint16_t ChecksumFold(uint64_t sum);

// Completes the TCP or UDP checksum of an IPv4 or IPv6 frame when its checksum field equals the
// folded pseudo-header sum, and leaves every other frame alone: not IP, a fragment, truncated, a
// header chain it does not know, a checksum that is already complete. For a valid frame whose
// checksum happens to equal the pseudo-header sum the result is the value it already has. One
// 802.1Q tag is skipped. Any bytes are safe: nothing outside [frame, frame + length) is read or
// written. Returns whether the frame was changed or rewritten.
bool FinishPartialChecksum(uint8_t* frame, size_t length);

// Completes the checksum that covers [start, length) and is stored at start + offset
// (virtio_net_hdr csum_start, csum_offset). False, and nothing changed, when that does not lie
// inside the frame.
bool CompleteChecksumAt(uint8_t* frame, size_t length, uint16_t start, uint16_t offset);

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_CHECKSUM_H_

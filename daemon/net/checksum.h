// Finishing partial transport checksums in software. Nothing here allocates. Any thread.
//
// Linux leaves the checksum of a TCP or UDP segment to the device by storing the folded
// pseudo-header sum in the checksum field (CHECKSUM_PARTIAL). AF_XDP hands such frames over without
// saying so.
#ifndef VMQD_DAEMON_NET_CHECKSUM_H_
#define VMQD_DAEMON_NET_CHECKSUM_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace vmqd {

// The ones' complement sum of `length` bytes added to `sum`, not folded (RFC 1071). An odd last
// byte counts as the high one of a pair: only the last piece of a sum made of several may be odd.
uint64_t ChecksumAdd(const uint8_t* data, size_t length, uint64_t sum);
// The implementations behind ChecksumAdd that this processor can run, for tests and benchmarks to
// compare; the first is portable, the last is the one in use for long data.
struct ChecksumWay {
  const char* name;
  uint64_t (*add)(const uint8_t* data, size_t length, uint64_t sum);
};
std::span<const ChecksumWay> ChecksumWays();

// The checksum of bytes that lie in several places, of any lengths.
class ChecksumSum {
 public:
  void Add(const uint8_t* data, size_t length);
  // Stores the checksum, as CompleteChecksumAt does.
  void StoreAt(uint8_t* field) const;

 private:
  uint64_t sum_ = 0;
  bool odd_ = false;  // an odd number of bytes so far: what follows is the low half of a pair
};

// Folds to 16 bits, in network byte order as a number (first byte high).
uint16_t ChecksumFold(uint64_t sum);

// Completes the TCP or UDP checksum of an IPv4 or IPv6 frame when its checksum field equals the
// folded pseudo-header sum, and leaves every other frame alone: not IP, a fragment, truncated, a
// header chain it does not know, a checksum that is already complete. For a valid frame whose
// checksum happens to equal the pseudo-header sum the result is the value it already has. One
// 802.1Q tag is skipped. Any bytes are safe: nothing outside [frame, frame + length) is read or
// written. Returns whether the frame was changed or rewritten.
bool FinishPartialChecksum(uint8_t* frame, size_t length);

// Where FinishPartialChecksum would complete a checksum, in a frame of `length` bytes of which the
// first `head` lie at `frame`. The bytes covered are those from `start` to the frame's end: nothing
// where the headers name fewer.
struct PartialChecksum {
  uint16_t start = 0;
  uint16_t offset = 0;  // from there
};
std::optional<PartialChecksum> FindPartialChecksum(const uint8_t* frame, size_t head,
                                                   size_t length);

// Completes the checksum that covers [start, length) and is stored at start + offset
// (virtio_net_hdr csum_start, csum_offset). False, and nothing changed, when that does not lie
// inside the frame.
bool CompleteChecksumAt(uint8_t* frame, size_t length, uint16_t start, uint16_t offset);

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_CHECKSUM_H_

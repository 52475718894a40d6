// The Internet checksum, eight bytes at a time, and the two ways of finishing a partial one. Called
// by workers for every frame that a netdev port receives. Any thread.
//
// A sum is a number in network byte order: `sum + length` in a caller means what it says. The bytes
// are added in the machine's own order, which costs one swap at the end: a ones' complement sum is
// the same in either order but for that swap (RFC 1071, 2 (B)).
#include "daemon/net/checksum.h"

#include <bit>
#include <cstring>

#include "daemon/net/ethernet.h"
#include "daemon/net/ip_transport.h"

namespace vmqd {
namespace {

constexpr uint32_t kTcpChecksumOffset = 16;
constexpr uint32_t kUdpChecksumOffset = 6;

uint16_t Fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t NetworkToNative(uint16_t sum) {
  if constexpr (std::endian::native == std::endian::little) return __builtin_bswap16(sum);
  return sum;
}

template <typename Word>
uint64_t Load(const uint8_t* at) {
  Word word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// The last `length` < 16 bytes, in the machine's order; a single last byte is the first of a pair.
uint64_t SumTail(const uint8_t* data, size_t length) {
  uint64_t sum = 0;
  for (; length >= 4; data += 4, length -= 4) sum += Load<uint32_t>(data);
  if (length >= 2) sum += Load<uint16_t>(data);
  if (length % 2 == 0) return sum;
  const uint8_t pair[2] = {data[length - 1], 0};
  return sum + Load<uint16_t>(pair);
}

// How many bytes of the transport packet its checksum covers: all that IP carries for TCP, what the
// header says for UDP. 0 when the UDP length contradicts the IP length.
uint32_t CoveredLength(const uint8_t* frame, const IpTransport& at) {
  const uint32_t carried = at.end - at.transport;
  if (at.protocol == kIpProtocolTcp) return carried;
  const uint32_t stated = LoadBe16(frame + at.transport + 4);
  return stated < kUdpHeaderLen || stated > carried ? 0 : stated;
}

}  // namespace

// An odd last byte counts as the high one of a pair: only the last piece of a sum made of several
// may be odd.
uint64_t ChecksumAdd(const uint8_t* data, size_t length, uint64_t sum) {
  // Two accumulators side by side, carries counted apart, so that no addition waits for another.
  uint64_t even = 0, odd = 0, carries = 0;
  for (; length >= 16; data += 16, length -= 16) {
    const uint64_t first = Load<uint64_t>(data);
    const uint64_t second = Load<uint64_t>(data + 8);
    even += first;
    carries += even < first;
    odd += second;
    carries += odd < second;
  }
  // Folded one by one: three numbers of 16 bits and the carries, each worth 1, cannot overflow.
  const uint64_t native = uint64_t{Fold(even)} + Fold(odd) + Fold(SumTail(data, length)) + carries;
  const uint64_t total = sum + NetworkToNative(Fold(native));
  return total < sum ? total + 1 : total;  // end-around carry
}

uint16_t ChecksumFold(uint64_t sum) { return Fold(sum); }

bool FinishPartialChecksum(uint8_t* frame, size_t length) {
  const std::optional<IpTransport> at = FindIpTransport(frame, length);
  if (!at) return false;
  const uint32_t covered = CoveredLength(frame, *at);
  if (covered == 0) return false;
  const bool udp = at->protocol == kIpProtocolUdp;
  uint8_t* packet = frame + at->transport;
  uint8_t* field = packet + (udp ? kUdpChecksumOffset : kTcpChecksumOffset);
  // The pseudo-header names a protocol, so its sum is never 0, and a UDP checksum of 0 ("none")
  // never looks partial.
  if (LoadBe16(field) != ChecksumFold(PseudoHeaderSum(frame, *at, covered))) return false;
  uint16_t checksum = static_cast<uint16_t>(~ChecksumFold(ChecksumAdd(packet, covered, 0)));
  if (udp && checksum == 0) checksum = 0xffff;
  StoreBe16(field, checksum);
  return true;
}

bool CompleteChecksumAt(uint8_t* frame, size_t length, uint16_t start, uint16_t offset) {
  const size_t field = size_t{start} + offset;
  if (field + 2 > length) return false;
  const uint16_t sum = ChecksumFold(ChecksumAdd(frame + start, length - start, 0));
  // Which protocol it is nobody said: 0xffff is right for all, since it equals 0 in a sum and 0
  // would mean "none" to UDP.
  StoreBe16(frame + field, sum == 0xffff ? 0xffff : static_cast<uint16_t>(~sum));
  return true;
}

}  // namespace vmqd

// The two ways of finishing a partial checksum. Called by workers for every frame that a netdev
// port receives. Any thread.
#include "daemon/net/checksum.h"

#include "daemon/net/ethernet.h"
#include "daemon/net/ip_transport.h"

namespace vmqd {
namespace {

// How many bytes of the transport packet its checksum covers: all that IP carries for TCP, what the
// header says for UDP. 0 when the UDP length contradicts the IP length.
uint32_t CoveredLength(const uint8_t* frame, const IpTransport& at) {
  const uint32_t carried = at.end - at.transport;
  if (at.protocol == kIpProtocolTcp) return carried;
  const uint32_t stated = LoadBe16(frame + at.transport + 4);
  return stated < kUdpHeaderLen || stated > carried ? 0 : stated;
}

struct Partial {
  uint32_t start = 0;    // of the TCP or UDP header
  uint32_t offset = 0;   // of the checksum in it
  uint32_t covered = 0;  // bytes from `start` on
  bool udp = false;
};

// The pseudo-header names a protocol, so its sum is never 0, and a UDP checksum of 0 ("none") never
// looks partial.
std::optional<Partial> FindPartial(const uint8_t* frame, size_t head, size_t length) {
  const std::optional<IpTransport> at = FindIpTransport(frame, head, length);
  if (!at) return std::nullopt;
  const bool udp = at->protocol == kIpProtocolUdp;
  const Partial found{at->transport, udp ? kUdpChecksumOffset : kTcpChecksumOffset,
                      CoveredLength(frame, *at), udp};
  if (found.covered == 0 || LoadBe16(frame + found.start + found.offset) !=
                                ChecksumFold(PseudoHeaderSum(frame, *at, found.covered))) {
    return std::nullopt;
  }
  return found;
}

}  // namespace

bool FinishPartialChecksum(uint8_t* frame, size_t length) {
  const std::optional<Partial> found = FindPartial(frame, length, length);
  if (!found) return false;
  uint8_t* packet = frame + found->start;
  uint16_t checksum = static_cast<uint16_t>(~ChecksumFold(ChecksumAdd(packet, found->covered, 0)));
  if (found->udp && checksum == 0) checksum = 0xffff;
  StoreBe16(packet + found->offset, checksum);
  return true;
}

std::optional<PartialChecksum> FindPartialChecksum(const uint8_t* frame, size_t head,
                                                   size_t length) {
  const std::optional<Partial> found = FindPartial(frame, head, length);
  if (!found || found->start + found->covered != length) return std::nullopt;
  return PartialChecksum{static_cast<uint16_t>(found->start), static_cast<uint16_t>(found->offset)};
}

bool CompleteChecksumAt(uint8_t* frame, size_t length, uint16_t start, uint16_t offset) {
  const size_t field = size_t{start} + offset;
  if (field + 2 > length) return false;
  ChecksumSum sum;
  sum.Add(frame + start, length - start);
  sum.StoreAt(frame + field);
  return true;
}

void ChecksumSum::Add(const uint8_t* data, size_t length) {
  const uint64_t sum = ChecksumAdd(data, length, 0);
  // Behind an odd byte every byte is in the other half of its pair: so is its sum (RFC 1071, 2).
  sum_ += odd_ ? __builtin_bswap16(ChecksumFold(sum)) : ChecksumFold(sum);
  odd_ = odd_ != (length % 2 != 0);
}

// Which protocol it is nobody said: 0xffff is right for all, since it equals 0 in a sum and 0 would
// mean "none" to UDP.
void ChecksumSum::StoreAt(uint8_t* field) const {
  const uint16_t sum = ChecksumFold(sum_);
  StoreBe16(field, sum == 0xffff ? 0xffff : static_cast<uint16_t>(~sum));
}

}  // namespace vmqd

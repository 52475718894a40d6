// Bursts through Coalescing and then Segmentation: the same frames must come out, in the same order
// within a flow. Input: a byte, what the guest accepts; then frames, each as a byte of edits, two
// bytes of length, big endian, and its bytes. Edits give random bytes a chance to be merged: 1 the
// lengths and checksums are made right, 2 the frame before, moved on by its payload, is taken
// instead, and the bytes are laid over the headers by pairs of (offset, value).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "daemon/net/ip_transport.h"
#include "tests/fuzz/invariant.h"
#include "tests/support/coalesced.h"

namespace vmqd {
namespace {

using Bytes = std::vector<uint8_t>;
using testing::Delivered;

constexpr uint8_t kRepair = 1, kContinue = 2;
constexpr size_t kTcpInIpv4 = 34, kTcpInIpv6 = 54;

bool IsIpv6(const Bytes& frame) { return EtherTypeOf(frame.data()) == kEtherTypeIpv6; }
size_t TransportOf(const Bytes& frame) { return IsIpv6(frame) ? kTcpInIpv6 : kTcpInIpv4; }

// Gives a TCP frame right lengths and checksums.
void Repair(Bytes& frame) {
  if (frame.size() < kTcpInIpv6 + kTcpHeaderLen) return;
  uint8_t* ip = frame.data() + kEthHeaderLen;
  const auto length = static_cast<uint32_t>(frame.size() - kEthHeaderLen);
  if (IsIpv6(frame)) {
    StoreBe16(ip + 4, static_cast<uint16_t>(length - kIpv6HeaderLen));
  } else {
    StoreBe16(ip + 2, static_cast<uint16_t>(length));
    StoreBe16(ip + 10, 0);
    const uint16_t sum = ChecksumFold(ChecksumAdd(ip, kIpv4HeaderLen, 0));
    StoreBe16(ip + 10, static_cast<uint16_t>(~sum));
  }
  const auto at = FindIpTransport(frame.data(), frame.size());
  if (!at || at->protocol != kIpProtocolTcp) return;
  const uint32_t covered = at->end - at->transport;
  uint8_t* tcp = frame.data() + at->transport;
  StoreBe16(tcp + kTcpChecksumOffset, 0);
  const uint16_t sum =
      ChecksumFold(ChecksumAdd(tcp, covered, PseudoHeaderSum(frame.data(), *at, covered)));
  StoreBe16(tcp + kTcpChecksumOffset, static_cast<uint16_t>(~sum));
}

// The next frame of the stream: sequence number and IPv4 id move on.
Bytes Continue(Bytes frame) {
  if (frame.size() < kTcpInIpv6 + kTcpHeaderLen) return frame;
  const size_t transport = TransportOf(frame);
  uint8_t* tcp = frame.data() + transport;
  const size_t header = (tcp[12] >> 4) * 4u;
  const size_t payload = frame.size() - std::min(frame.size(), transport + header);
  const uint32_t sequence = uint32_t{LoadBe16(tcp + 4)} << 16 | LoadBe16(tcp + 6);
  const uint32_t next = sequence + static_cast<uint32_t>(payload);
  StoreBe16(tcp + 4, static_cast<uint16_t>(next >> 16));
  StoreBe16(tcp + 6, static_cast<uint16_t>(next));
  uint8_t* ip = frame.data() + kEthHeaderLen;
  if (!IsIpv6(frame)) StoreBe16(ip + 4, static_cast<uint16_t>(LoadBe16(ip + 4) + 1));
  return frame;
}

std::vector<Bytes> ReadBurst(const uint8_t* data, size_t size) {
  std::vector<Bytes> burst;
  while (size >= 3 && burst.size() < Coalescing::kMaxBurst) {
    const uint8_t edits = data[0];
    const size_t length = std::min<size_t>(LoadBe16(data + 1), size - 3);
    Bytes frame(data + 3, data + 3 + length);
    if ((edits & kContinue) && !burst.empty()) {
      frame = Continue(burst.back());
      for (size_t i = 0; i + 1 < length && !frame.empty(); i += 2) {
        frame[data[3 + i] % frame.size()] = data[4 + i];
      }
    }
    if (edits & kRepair) Repair(frame);
    burst.push_back(std::move(frame));
    data += 3 + length;
    size -= 3 + length;
  }
  return burst;
}

// Two plain TCP frames of one flow; good enough to check order.
bool SameFlow(const Bytes& a, const Bytes& b) {
  const auto first = FindIpTransport(a.data(), a.size());
  const auto second = FindIpTransport(b.data(), b.size());
  if (!first || !second || first->ipv6 != second->ipv6 || first->network != kEthHeaderLen ||
      second->network != kEthHeaderLen || first->protocol != second->protocol) {
    return false;
  }
  const size_t from = first->ipv6 ? 22 : 26;
  return std::equal(&a[from], &a[from] + (first->ipv6 ? 32 : 8), &b[from]) &&
         std::equal(&a[first->transport], &a[first->transport] + 4, &b[second->transport]);
}

void CheckGroup(const Delivered& group, const std::vector<Bytes>& burst) {
  const std::vector<Bytes> again = testing::CutAgain(group);
  INVARIANT(again.size() == group.frames.size());
  for (size_t i = 0; i < again.size(); ++i) {
    const Bytes& original = burst[group.frames[i]];
    INVARIANT(group.fixed_id ? testing::WithoutId(again[i]) == testing::WithoutId(original)
                             : again[i] == original);
    INVARIANT(i == 0 || group.frames[i - 1] < group.frames[i]);
  }
  INVARIANT(again.size() == 1 || group.bytes.size() <= 65535 + kEthHeaderLen);
}

void CheckOrder(const std::vector<Delivered>& groups, const std::vector<Bytes>& burst) {
  std::vector<uint32_t> order;
  for (const Delivered& group : groups) {
    order.insert(order.end(), group.frames.begin(), group.frames.end());
  }
  INVARIANT(order.size() == burst.size());
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t j = i + 1; j < order.size(); ++j) {
      INVARIANT(order[i] != order[j]);
      INVARIANT(order[i] < order[j] || !SameFlow(burst[order[i]], burst[order[j]]));
    }
  }
}

void CheckBurst(const std::vector<Bytes>& burst, const Coalescing::Accepts& accepts) {
  const auto coalescing = std::make_unique<Coalescing>();
  const std::vector<Delivered> groups = testing::Coalesce(burst, accepts, *coalescing);
  uint32_t first = 0;
  for (const Delivered& group : groups) {
    INVARIANT(group.frames[0] >= first);
    first = group.frames[0];
    CheckGroup(group, burst);
    if (group.frames.size() == 1) continue;
    INVARIANT(IsIpv6(group.bytes) ? accepts.tso6 : accepts.tso4);
  }
  CheckOrder(groups, burst);
}

}  // namespace
}  // namespace vmqd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const uint8_t accepts = data[0];
  vmqd::CheckBurst(vmqd::ReadBurst(data + 1, size - 1),
                   {.tso4 = (accepts & 1) != 0, .tso6 = (accepts & 2) != 0});
  return 0;
}

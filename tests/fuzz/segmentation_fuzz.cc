// Any header with any frame, through Plan and Write. Input: a virtio_net_hdr; the rest is the
// frame.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "daemon/net/segmentation.h"
#include "tests/fuzz/invariant.h"

namespace vmqd {
namespace {

// Writes segment `index` into a block of exactly max_length() bytes.
std::vector<uint8_t> WriteSegment(const Segmentation& plan, uint32_t index) {
  std::vector<uint8_t> out(plan.max_length());
  const uint32_t length = plan.Write(index, out.data());
  INVARIANT(length <= plan.max_length());
  out.resize(length);
  return out;
}

// A segment is a frame of its own: to cut it again is to copy it.
void CheckIsFinal(const std::vector<uint8_t>& segment, const virtio_net_hdr& header) {
  const auto plan = Segmentation::Plan(segment, header);
  INVARIANT(plan.has_value());
  INVARIANT(plan->count() == 1);
  INVARIANT(WriteSegment(*plan, 0) == segment);
}

void CheckSegments(const std::vector<uint8_t>& frame, const virtio_net_hdr& header) {
  const auto plan = Segmentation::Plan(frame, header);
  if (!plan) return;
  INVARIANT(plan->count() >= 1);
  INVARIANT(plan->max_length() <= frame.size());
  if (plan->count() == 1) return CheckIsFinal(WriteSegment(*plan, 0), header);
  const uint32_t headers = plan->max_length() - header.gso_size;
  size_t at = headers;  // of the payload that has not come out yet
  for (uint32_t i = 0; i < plan->count(); ++i) {
    const std::vector<uint8_t> segment = WriteSegment(*plan, i);
    const size_t payload = segment.size() - headers;
    INVARIANT(segment.size() > headers && payload <= header.gso_size);
    INVARIANT(i + 1 == plan->count() || payload == header.gso_size);
    INVARIANT(at + payload <= frame.size());
    INVARIANT(std::equal(segment.begin() + headers, segment.end(), frame.data() + at));
    INVARIANT(std::equal(segment.begin(), segment.begin() + 14, frame.begin()));
    at += payload;
    if (i < 2 || i + 1 == plan->count()) CheckIsFinal(segment, header);
  }
}

}  // namespace
}  // namespace vmqd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  virtio_net_hdr header;
  if (size < sizeof(header)) return 0;
  std::memcpy(&header, data, sizeof(header));
  vmqd::CheckSegments(std::vector<uint8_t>(data + sizeof(header), data + size), header);
  return 0;
}

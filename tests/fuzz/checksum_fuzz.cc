// Any bytes as a frame, through both ways of finishing a checksum. Input: start and offset for
// CompleteChecksumAt, 2 bytes each, big endian; the rest is the frame.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "tests/fuzz/invariant.h"

namespace vmqd {
namespace {

size_t CountDifferences(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

void CheckFinish(const std::vector<uint8_t>& frame) {
  std::vector<uint8_t> once(frame);
  const bool finished = FinishPartialChecksum(once.data(), once.size());
  INVARIANT(CountDifferences(once, frame) <= (finished ? 2 : 0));
  // What is finished is complete: doing it again changes nothing.
  std::vector<uint8_t> twice(once);
  FinishPartialChecksum(twice.data(), twice.size());
  INVARIANT(twice == once);
}

void CheckCompleteAt(const std::vector<uint8_t>& frame, uint16_t start, uint16_t offset) {
  std::vector<uint8_t> changed(frame);
  const size_t field = size_t{start} + offset;
  const bool inside = field + 2 <= frame.size();
  INVARIANT(CompleteChecksumAt(changed.data(), changed.size(), start, offset) == inside);
  INVARIANT(CountDifferences(changed, frame) <= (inside ? 2 : 0));
  if (!inside || offset % 2 != 0) return;
  // The covered bytes and what the field held before, the pseudo-header, sum up to nothing.
  const uint64_t sum =
      ChecksumAdd(changed.data() + start, changed.size() - start, LoadBe16(frame.data() + field));
  INVARIANT(ChecksumFold(sum) == 0xffff);
}

}  // namespace
}  // namespace vmqd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const std::vector<uint8_t> frame(data + 4, data + size);
  vmqd::CheckFinish(frame);
  vmqd::CheckCompleteAt(frame, vmqd::LoadBe16(data), vmqd::LoadBe16(data + 2));
  return 0;
}

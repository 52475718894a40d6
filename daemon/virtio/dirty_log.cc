// Setting bits in the bitmap of a live migration; the contract is in dirty_log.h.
//
// The VMM takes a bit away and then copies the page. A bit is therefore set after the page was
// written, and with an atomic that orders the two, even where it is set already: to look first
// could see the bit of an earlier write, just before it is taken away.
#include "daemon/virtio/dirty_log.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "daemon/virtio/shared_mapping.h"

namespace vmqd {
namespace {

constexpr uint32_t kPageShift = 12;
constexpr uint64_t kBits = 8;  // of one byte of the bitmap

}  // namespace

absl::StatusOr<std::unique_ptr<DirtyLog>> DirtyLog::Map(UniqueFd fd, uint64_t size,
                                                        uint64_t offset) {
  constexpr const char* kWhat = "a dirty log";
  const auto file = InspectMemoryFile(fd.get(), offset, size, kWhat);
  if (!file.ok()) return file.status();
  auto mapping = SharedMapping::Map(fd.get(), *file, offset, size, kWhat);
  if (!mapping.ok()) return mapping.status();
  return std::unique_ptr<DirtyLog>(new DirtyLog(*std::move(mapping), size));
}

DirtyLog::DirtyLog(std::unique_ptr<SharedMapping> mapping, uint64_t size)
    : mapping_(std::move(mapping)), bits_(mapping_->data()), size_(size) {}

DirtyLog::~DirtyLog() = default;

void DirtyLog::Set(uint64_t address, uint64_t size) {
  if (size == 0) return;
  const uint64_t reach = std::min(size - 1, std::numeric_limits<uint64_t>::max() - address);
  const uint64_t last = (address + reach) >> kPageShift;
  for (uint64_t page = address >> kPageShift; page <= last;) {
    const uint64_t byte = page / kBits;
    if (byte >= size_) return;
    const uint64_t end = std::min(last, byte * kBits + kBits - 1);  // last page in this byte
    const auto bits = static_cast<uint8_t>((0xffu >> (kBits - 1 - (end - page))) << page % kBits);
    __atomic_fetch_or(bits_ + byte, bits, __ATOMIC_SEQ_CST);
    page = end + 1;
  }
}

}  // namespace vmqd

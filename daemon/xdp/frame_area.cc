#include "daemon/xdp/frame_area.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmqd {

absl::StatusOr<std::unique_ptr<FrameArea>> FrameArea::Create(uint32_t buffers,
                                                             uint32_t buffer_size) {
  std::unique_ptr<FrameArea> area(new FrameArea);
  area->buffers_ = buffers;
  area->buffer_size_ = buffer_size;
  area->shift_ = static_cast<uint32_t>(std::countr_zero(buffer_size));
  area->owners_ = std::make_unique<std::atomic<Owner>[]>(buffers);
  const auto failed = [&](absl::string_view step) {
    return absl::ResourceExhaustedError(
        absl::StrCat("allocating ", area->size() >> 20, " MiB of frame buffers: ", step, ": ",
                     std::strerror(errno), "; ask for fewer buffers_per_queue or fewer queues"));
  };
  area->memfd_ = memfd_create("vmqd-frames", MFD_CLOEXEC);
  if (area->memfd_ < 0) return failed("memfd_create");
  if (ftruncate(area->memfd_, static_cast<off_t>(area->size())) != 0) return failed("ftruncate");
  void* base = mmap(nullptr, area->size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                    area->memfd_, 0);
  if (base == MAP_FAILED) return failed("mmap");
  area->base_ = static_cast<uint8_t*>(base);
  return area;
}

FrameArea::~FrameArea() {
  if (base_ != nullptr) munmap(base_, size());
  if (memfd_ >= 0) close(memfd_);
}

uint32_t FrameArea::CountOwnedBy(Owner owner) const {
  return static_cast<uint32_t>(std::count_if(
      owners_.get(), owners_.get() + buffers_,
      [owner](const auto& tag) { return tag.load(std::memory_order_relaxed) == owner; }));
}

std::vector<uint64_t> FrameArea::OwnedBy(Owner owner) const {
  std::vector<uint64_t> found;
  for (uint32_t i = 0; i < buffers_; ++i) {
    if (owners_[i].load(std::memory_order_relaxed) == owner) {
      found.push_back(static_cast<uint64_t>(i) << shift_);
    }
  }
  return found;
}

}  // namespace vmqd

// Regions of guest memory, mapped, and translation of addresses; the contract is in guest_memory.h.
//
// Must stay true: every check comes before its mmap, and no sum of two numbers of the peer's is
// made before it is known not to wrap.
#include "daemon/virtio/guest_memory.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/virtio/dirty_log.h"
#include "daemon/virtio/shared_mapping.h"

namespace vmqd {

class MappedRegion {
 public:
  MappedRegion(const MemoryRegion& region, bool is_sealed, std::unique_ptr<SharedMapping> mapping)
      : at(region), sealed(is_sealed), mapping_(std::move(mapping)) {}
  uint8_t* host() const { return mapping_->data(); }
  bool broken() const { return mapping_->broken(); }

  const MemoryRegion at;
  const bool sealed;

 private:
  std::unique_ptr<SharedMapping> mapping_;
};

namespace {

std::string Describe(const MemoryRegion& region) {
  return absl::StrFormat("a memory region of %u bytes at guest address %#x", region.size,
                         region.guest_address);
}

bool Wraps(uint64_t address, uint64_t size) {
  return size > std::numeric_limits<uint64_t>::max() - address;
}

bool Overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b ? b - a < a_size : a - b < b_size;
}

absl::Status CheckAlone(const MemoryRegion& region, const MemoryFile& file) {
  const std::string what = Describe(region);
  if (Wraps(region.guest_address, region.size) || Wraps(region.user_address, region.size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " reaches beyond the end of the 64-bit address space"));
  }
  if (region.mmap_offset % file.page != 0 || region.size % file.page != 0) {
    return absl::InvalidArgumentError(absl::StrCat(what, ", offset ", region.mmap_offset,
                                                   ", is not made of whole pages of its file, of ",
                                                   file.page, " bytes each"));
  }
  return absl::OkStatus();
}

absl::Status CheckAgainst(const MemoryRegion& region, const MemoryRegion& other) {
  const char* space = nullptr;
  if (Overlap(region.guest_address, region.size, other.guest_address, other.size)) {
    space = "guest";
  } else if (Overlap(region.user_address, region.size, other.user_address, other.size)) {
    space = "user";
  }
  if (space == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(Describe(region), " overlaps, in ", space, " addresses, ", Describe(other)));
}

}  // namespace

GuestMemory::GuestMemory() : GuestMemory(Regions()) {}
GuestMemory::~GuestMemory() = default;

GuestMemory::GuestMemory(Regions regions)
    : regions_(std::move(regions)), places_([this] {
        std::vector<Place> places;
        for (const auto& region : regions_) {
          places.push_back({region->at.guest_address, region->at.size, region->host()});
        }
        return places;
      }()) {}

absl::StatusOr<std::shared_ptr<const GuestMemory>> GuestMemory::With(const MemoryRegion& region,
                                                                     UniqueFd fd) const {
  const std::string what = Describe(region);
  if (regions_.size() >= kMaxRegions) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " is one too many: there are ", kMaxRegions, " already"));
  }
  const auto file = InspectMemoryFile(fd.get(), region.mmap_offset, region.size, what);
  if (!file.ok()) return file.status();
  if (absl::Status fits = CheckAlone(region, *file); !fits.ok()) return fits;
  for (const auto& other : regions_) {
    if (absl::Status fits = CheckAgainst(region, other->at); !fits.ok()) return fits;
  }
  if (region.size > kMaxBytes - bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " would make more than ", kMaxBytes >> 40, " TiB of guest memory"));
  }
  auto mapping = SharedMapping::Map(fd.get(), *file, region.mmap_offset, region.size, what);
  if (!mapping.ok()) return mapping.status();

  Regions regions = regions_;
  regions.push_back(std::make_shared<MappedRegion>(region, file->sealed, *std::move(mapping)));
  std::sort(regions.begin(), regions.end(),
            [](const auto& a, const auto& b) { return a->at.guest_address < b->at.guest_address; });
  return std::shared_ptr<const GuestMemory>(new GuestMemory(std::move(regions)));
}

absl::StatusOr<std::shared_ptr<const GuestMemory>> GuestMemory::Without(
    const MemoryRegion& region) const {
  Regions regions = regions_;
  const auto found = std::find_if(regions.begin(), regions.end(), [&](const auto& candidate) {
    return candidate->at.guest_address == region.guest_address &&
           candidate->at.user_address == region.user_address && candidate->at.size == region.size;
  });
  if (found == regions.end()) {
    return absl::NotFoundError(absl::StrFormat(
        "there is no memory region of %u bytes at guest address %#x and user address %#x",
        region.size, region.guest_address, region.user_address));
  }
  regions.erase(found);
  return std::shared_ptr<const GuestMemory>(new GuestMemory(std::move(regions)));
}

uint32_t GuestMemory::regions() const { return static_cast<uint32_t>(regions_.size()); }

uint64_t GuestMemory::bytes() const {
  uint64_t sum = 0;
  for (const Place& place : places_) sum += place.size;
  return sum;
}

bool GuestMemory::sealed() const {
  return std::all_of(regions_.begin(), regions_.end(),
                     [](const auto& region) { return region->sealed; });
}

const GuestMemory::Place* GuestMemory::Find(uint64_t address) const {
  const auto after = std::upper_bound(
      places_.begin(), places_.end(), address,
      [](uint64_t wanted, const Place& place) { return wanted < place.guest_address; });
  if (after == places_.begin()) return nullptr;
  const Place& place = *(after - 1);
  return address - place.guest_address < place.size ? &place : nullptr;
}

bool GuestMemory::Gather(uint64_t address, uint32_t size, GuestSpan* out, uint32_t* count,
                         uint32_t max) const {
  const Place* place = Find(address);
  if (place == nullptr || size == 0) return false;
  const Place* const end = places_.data() + places_.size();
  for (uint32_t spans = *count; spans < max;) {
    const uint64_t offset = address - place->guest_address;
    const uint64_t rest = place->size - offset;
    const auto piece = static_cast<uint32_t>(std::min<uint64_t>(rest, size));
    out[spans++] = GuestSpan(place->host + offset, piece);
    size -= piece;
    if (size == 0) {
      *count = spans;
      return true;
    }
    address += piece;  // regions end below 2^64
    ++place;
    if (place == end || place->guest_address != address) return false;
  }
  return false;
}

void* GuestMemory::Ring(uint64_t address, uint64_t size, uint64_t alignment) const {
  for (const auto& region : regions_) {
    const uint64_t offset = address - region->at.user_address;
    if (offset >= region->at.size) continue;
    if (size == 0 || size > region->at.size - offset) return nullptr;
    uint8_t* at = region->host() + offset;
    // Both: the front end sees the one alignment, our atomic loads need the other.
    const uint64_t misaligned = (address | reinterpret_cast<uintptr_t>(at)) & (alignment - 1);
    return misaligned == 0 ? at : nullptr;
  }
  return nullptr;
}

bool GuestMemory::Broken() const {
  return std::any_of(regions_.begin(), regions_.end(),
                     [](const auto& region) { return region->broken(); });
}

const GuestMemory::Place* GuestMemory::Containing(const void* at) const {
  const auto address = reinterpret_cast<uintptr_t>(at);
  for (const Place& place : places_) {
    if (address - reinterpret_cast<uintptr_t>(place.host) < place.size) return &place;
  }
  return nullptr;
}

void GuestMemory::Log(DirtyLog& log, GuestSpan written) const {
  LogRing(log, written.at_, written.size_);
}

void GuestMemory::LogRing(DirtyLog& log, const void* at, uint64_t size) const {
  const Place* place = Containing(at);
  if (place == nullptr) return;
  log.Set(
      place->guest_address + static_cast<uint64_t>(static_cast<const uint8_t*>(at) - place->host),
      size);
}

}  // namespace vmqd

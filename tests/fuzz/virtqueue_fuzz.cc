// Any ring contents, with any sequence of calls. Input: 1 byte of features (packed, event index,
// indirect, the device writes), 1 byte that picks the size, 4 bytes of base, 1 byte of how many
// 16-byte blocks to lay over the guest's first page and on; then operations, a byte each and what
// they need: writes to guest memory and calls of the queue.
//
// Guest memory is two regions that meet and one apart, each between pages of the file that no
// region covers: those must stay as they are. Every span that comes out is read at its end, and
// written when the device writes. The rest is seen by the sanitizers, and by the numbers having to
// agree.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "daemon/virtio/guest_memory.h"
#include "daemon/virtio/virtqueue.h"
#include "tests/fuzz/invariant.h"

namespace vmqd {
namespace {

constexpr uint64_t kPage = 4096, kUser = uint64_t{1} << 40;
constexpr uint64_t kFilePages = 40;
constexpr uint8_t kGuard = 0xa5;
// In the file: a guard page, 32 pages, a guard page, 2 pages, 2 pages, 2 guard pages.
constexpr MemoryRegion kRegions[] = {{0, 32 * kPage, kUser, kPage},
                                     {32 * kPage, 2 * kPage, kUser + (1 << 20), 34 * kPage},
                                     {64 * kPage, 2 * kPage, kUser + (2 << 20), 36 * kPage}};
constexpr uint64_t kGuards[] = {0, 33, 38, 39};
// Ring parts: descriptors up to 64 KiB, then the driver's and the device's.
constexpr uint64_t kDriver = 16 * kPage, kDevice = 20 * kPage;

// The file, made once; mapped by us to play the guest.
struct Guest {
  Guest() : fd(memfd_create("guest", MFD_CLOEXEC)) {
    INVARIANT(ftruncate(fd, kFilePages * kPage) == 0);
    base = static_cast<uint8_t*>(
        mmap(nullptr, kFilePages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    auto built = std::make_shared<const GuestMemory>();
    for (const MemoryRegion& region : kRegions) {
      auto more = built->With(region, UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
      INVARIANT(more.ok());
      built = *more;
    }
    memory = built;
    guard.fill(kGuard);
    for (const uint64_t page : kGuards) std::memcpy(base + page * kPage, guard.data(), kPage);
  }
  void Clear() const {
    for (const MemoryRegion& region : kRegions) {
      std::memset(base + region.mmap_offset, 0, region.size);
    }
  }
  void CheckGuards() const {
    for (const uint64_t page : kGuards) {
      INVARIANT(std::memcmp(base + page * kPage, guard.data(), kPage) == 0);
    }
  }
  // First region only.
  uint8_t* At(uint64_t address) const { return base + kPage + address % (32 * kPage); }

  int fd;
  uint8_t* base;
  std::shared_ptr<const GuestMemory> memory;
  std::array<uint8_t, kPage> guard;
};

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  uint64_t Number(uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes && at_ != end_; ++i) value |= uint64_t{*at_++} << (8 * i);
    return value;
  }
  void Copy(uint8_t* to, size_t size) {
    size = std::min<size_t>(size, static_cast<size_t>(end_ - at_));
    std::memcpy(to, at_, size);
    at_ += size;
  }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
};

class Session {
 public:
  // The batch, which is large, goes from one session to the next, as a worker's does.
  Session(const Guest& guest, std::unique_ptr<Virtqueue> queue, ChainBatch& batch)
      : guest_(guest), queue_(std::move(queue)), batch_(batch) {}

  void Run(Input& input) {
    for (int calls = 0; !input.empty() && calls < 400; ++calls) Step(input);
    guest_.CheckGuards();
  }

 private:
  void Step(Input& input) {
    switch (input.Number(1) % 10) {
      case 0: {  // a descriptor, or an entry of a table
        const uint64_t at = input.Number(2) * 16;
        return input.Copy(guest_.At(at), 16);
      }
      case 1: {  // two bytes: indexes, heads, events, flags
        const uint64_t at = kDriver + input.Number(2) % (8 * kPage) / 2 * 2;
        return input.Copy(guest_.At(at), 2);
      }
      case 2:  // one more chain available in a split ring
        return Store16(guest_.At(kDriver + 2),
                       static_cast<uint16_t>(Load16(guest_.At(kDriver + 2)) + 1));
      case 3:
        return Take(static_cast<uint32_t>(input.Number(2)));
      case 4:
        return Use(static_cast<uint32_t>(input.Number(1)), static_cast<uint32_t>(input.Number(1)));
      case 5:
        if (pending_.empty()) return;
        return PutBack(input.Number(1) % pending_.size());
      case 6:
        queue_->ShouldNotify();
        return;
      case 7:
        return queue_->WantKicks(input.Number(1) % 2 == 0);
      case 8:
        INVARIANT(queue_->Available() <= queue_->size());
        if (queue_->fault() != RingFault::kNone) INVARIANT(!queue_->HasWork());
        return;
      default:
        return Reopen();
    }
  }

  static uint16_t Load16(const uint8_t* at) {
    uint16_t value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  static void Store16(uint8_t* at, uint16_t value) { std::memcpy(at, &value, sizeof(value)); }

  // All bytes are read, or written, as a worker would; what is kept must be what was given.
  void Take(uint32_t max) {
    batch_.count = batch_.span_count = 0;
    const bool poisoned = queue_->fault() != RingFault::kNone;
    const uint32_t taken = queue_->Take(batch_, max);
    INVARIANT(taken <= max && taken == batch_.count && taken <= ChainBatch::kChains);
    INVARIANT(!poisoned || taken == 0);
    uint32_t spans = 0;
    for (uint32_t i = 0; i < taken; ++i) {
      const Chain& chain = batch_.chains[i];
      INVARIANT(chain.first == spans && chain.spans > 0 && chain.id < queue_->size());
      INVARIANT(chain.entries > 0 && chain.bytes <= Virtqueue::kMaxChainBytes);
      uint64_t bytes = 0;
      for (uint32_t j = 0; j < chain.spans; ++j) bytes += Touch(batch_.spans[spans + j]);
      INVARIANT(bytes == chain.bytes);
      spans += chain.spans;
      pending_.push_back(chain);
      in_flight_ += chain.entries;
    }
    INVARIANT(spans == batch_.span_count && in_flight_ <= queue_->size());
  }

  uint32_t Touch(GuestSpan span) {
    INVARIANT(span.size() > 0 && span.size() <= 34 * kPage);
    std::array<uint8_t, 256> bytes;
    const uint32_t size = std::min<uint32_t>(span.size(), bytes.size());
    const GuestSpan end = span.Part(span.size() - size, size);
    end.CopyTo(bytes.data());
    if (queue_->config().use == RingUse::kWrites) end.CopyFrom(bytes.data());
    return span.size();
  }

  void Use(uint32_t most, uint32_t written) {
    const size_t count = std::min<size_t>(most, pending_.size());
    for (size_t i = 0; i < count; ++i) {
      pending_[i].written = std::min(written, pending_[i].bytes);
      in_flight_ -= pending_[i].entries;
    }
    queue_->Use(pending_.data(), static_cast<uint32_t>(count));
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<long>(count));
  }

  void PutBack(size_t from) {
    queue_->PutBack(pending_[from]);
    for (size_t i = from; i < pending_.size(); ++i) in_flight_ -= pending_[i].entries;
    pending_.resize(from);
  }

  // As after GET_VRING_BASE: nothing is outstanding, and the base is one to go on from.
  void Reopen() {
    if (!pending_.empty()) PutBack(0);
    VirtqueueConfig config = queue_->config();
    config.base = queue_->Base();
    auto opened = Virtqueue::Open(config, guest_.memory, nullptr);
    INVARIANT(opened.ok());
    // A split ring begins where the guest's memory says.
    const uint32_t base = config.packed ? config.base : Load16(guest_.At(kDevice + 2));
    INVARIANT((*opened)->Base() == base);
    queue_ = *std::move(opened);
  }

  const Guest& guest_;
  std::unique_ptr<Virtqueue> queue_;
  ChainBatch& batch_;
  std::vector<Chain> pending_;  // taken, not used; in order
  uint64_t in_flight_ = 0;      // entries of those
};

void Fuzz(Input input) {
  static const Guest guest;
  static ChainBatch batch;
  guest.Clear();
  constexpr uint32_t kSizes[] = {1, 2, 4, 8, 16, 64, 256, 1024, 7, 100, 0, 65536};
  const uint64_t features = input.Number(1);
  const uint64_t size = input.Number(1);
  VirtqueueConfig config{.use = (features & 8) != 0 ? RingUse::kWrites : RingUse::kReads,
                         .packed = (features & 1) != 0,
                         .event_idx = (features & 2) != 0,
                         .indirect = (features & 4) != 0,
                         .size = kSizes[size % std::size(kSizes)],
                         .descriptors = kUser,
                         .driver = kUser + kDriver,
                         .device = kUser + kDevice,
                         .base = static_cast<uint32_t>(input.Number(4))};
  const uint64_t blocks = input.Number(1);
  input.Copy(guest.At(0), blocks * 16);
  auto queue = Virtqueue::Open(config, guest.memory, nullptr);
  if (!queue.ok()) return;
  Session(guest, *std::move(queue), batch).Run(input);
}

}  // namespace
}  // namespace vmqd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vmqd::Fuzz(vmqd::Input(data, size));
  return 0;
}

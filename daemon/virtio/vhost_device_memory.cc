// Guest memory and the dirty log, as the front end gives and takes them. See vhost_device.h.
//
// New memory is mapped and checked first, then the rings stop, change over and start again, and the
// old mapping goes last: at no time does anyone hold a pointer into memory that is not mapped.
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

MemoryRegion RegionOf(const VhostRegionPayload& payload) {
  return {payload.guest_address, payload.size, payload.user_address, payload.mmap_offset};
}

bool SamePlace(const MemoryRegion& a, const MemoryRegion& b) {
  return a.guest_address == b.guest_address && a.size == b.size && a.user_address == b.user_address;
}

}  // namespace

absl::Status VhostDevice::DispatchMemory(VhostMessage& message,
                                         std::optional<VhostMessage>& reply) {
  switch (message.request()) {
    case VhostRequest::kSetMemTable:
      return SetMemTable(message);
    case VhostRequest::kAddMemReg:
      return AddMemoryRegion(message);
    case VhostRequest::kRemMemReg:
      return RemoveMemoryRegion(message);
    case VhostRequest::kSetLogBase:
      return SetLogBase(message, reply);
    default:
      return VhostViolation("it is unknown");
  }
}

absl::Status VhostDevice::UseMemory(std::shared_ptr<const GuestMemory> memory) {
  const std::vector<uint32_t> ran = PauseAll();
  memory.swap(memory_);  // the old one lives until the end of this function
  if (auto status = Start(ran); !status.ok()) {
    return status;
  }
  return absl::OkStatus();
}

absl::Status VhostDevice::SetMemTable(VhostMessage& message) {
  const auto table = message.As<VhostMemoryPayload>();
  given_.clear();
  std::shared_ptr<const GuestMemory> memory = std::make_shared<const GuestMemory>();
  for (uint32_t i = 0; i < table.count; ++i) {
    auto next = memory->With(RegionOf(table.regions[i]), std::move(message.fds[i]));
    if (!next.ok()) {
      return VhostViolation(absl::StrCat("region ", i, ": ", next.status().message()));
    }
    memory = *std::move(next);
  }
  if (auto status = UseMemory(std::move(memory)); !status.ok()) return status;
  return StartAll();
}

// QEMU (7.2) adds, and later removes, every region once for each of its queue pairs. Returns
// whether this is one more time that a region which is there is given.
bool VhostDevice::GivenAgain(const GivenRegion& region) {
  for (GivenRegion& given : given_) {
    if (!SamePlace(given.region, region.region) || given.device != region.device ||
        given.region.mmap_offset != region.region.mmap_offset || given.inode != region.inode ||
        given.times >= rings_.size()) {
      continue;
    }
    ++given.times;
    return true;
  }
  return false;
}

// A front end that waits for the answer can take a refusal; one that does not would go on with
// another idea of the memory than ours.
absl::Status VhostDevice::AddMemoryRegion(VhostMessage& message) {
  const auto payload = message.As<VhostOneRegionPayload>();
  struct stat file {};
  fstat(message.fds[0].get(), &file);  // of what is no file the mapping will tell
  const GivenRegion given{RegionOf(payload.region), file.st_dev, file.st_ino, 1};
  if (GivenAgain(given)) return absl::OkStatus();
  auto memory = memory_->With(RegionOf(payload.region), std::move(message.fds[0]));
  if (!memory.ok()) {
    if (WantsAck(message)) return absl::FailedPreconditionError(memory.status().message());
    return memory.status();
  }
  given_.push_back(given);
  if (auto status = UseMemory(*std::move(memory)); !status.ok()) return status;
  // A ring that waits for memory may lie in a region still to come.
  for (uint32_t i = 0; i < rings_.size(); ++i) Start(i).IgnoreError();
  return absl::OkStatus();
}

absl::Status VhostDevice::RemoveMemoryRegion(VhostMessage& message) {
  const auto payload = message.As<VhostOneRegionPayload>();
  const auto given = std::find_if(given_.begin(), given_.end(), [&](const GivenRegion& item) {
    return SamePlace(item.region, RegionOf(payload.region));
  });
  if (given != given_.end() && --given->times > 0) return absl::OkStatus();
  if (given != given_.end()) given_.erase(given);
  auto memory = memory_->Without(RegionOf(payload.region));
  if (!memory.ok()) {
    if (WantsAck(message)) return absl::FailedPreconditionError(memory.status().message());
    return memory.status();
  }
  return UseMemory(*std::move(memory));
}

// The specification leaves the form of the answer open: QEMU reads one of any size, others that
// asked for an acknowledgement expect its eight bytes.
absl::Status VhostDevice::SetLogBase(VhostMessage& message, std::optional<VhostMessage>& reply) {
  const auto payload = message.As<VhostLogPayload>();
  auto log = DirtyLog::Map(std::move(message.fds[0]), payload.size, payload.offset);
  if (!log.ok()) return log.status();
  const std::vector<uint32_t> ran = PauseAll();
  log_ = *std::move(log);
  if (auto status = Start(ran); !status.ok()) {
    return status;
  }
  reply.emplace();
  reply->header.request = message.header.request;
  reply->header.flags = VhostHeader::kVersion | VhostHeader::kReply;
  if (WantsAck(message)) reply->Put(uint64_t{0});
  return absl::OkStatus();
}

}  // namespace vmqd

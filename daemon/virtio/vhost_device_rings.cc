// Rings: what the front end says of each. See vhost_device.h.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/virtio/event_fd.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

constexpr uint32_t kLargestRing = 32768;  // VIRTIO 1.3, 2.7

}  // namespace

absl::Status VhostDevice::DispatchRing(VhostMessage& message, std::optional<VhostMessage>& reply) {
  switch (message.request()) {
    case VhostRequest::kSetVringNum:
      return SetVringNum(message);
    case VhostRequest::kSetVringAddr:
      return SetVringAddress(message);
    case VhostRequest::kSetVringBase:
      return SetVringBase(message);
    case VhostRequest::kGetVringBase:
      return GetVringBase(message, reply);
    case VhostRequest::kSetVringEnable:
      return SetVringEnable(message);
    case VhostRequest::kSetVringKick:
    case VhostRequest::kSetVringCall:
    case VhostRequest::kSetVringErr:
      return SetVringFd(message);
    default:
      return DispatchMemory(message, reply);
  }
}

absl::StatusOr<uint32_t> VhostDevice::RingIndex(uint64_t index) const {
  if (index < rings_.size()) return static_cast<uint32_t>(index);
  return VhostViolation(absl::StrCat("ring ", index, " of a port with ", rings_.size(), " rings"));
}

absl::Status VhostDevice::SetVringNum(const VhostMessage& message) {
  const auto state = message.As<VhostVringState>();
  auto index = RingIndex(state.index);
  if (!index.ok()) return index.status();
  if (rings_[*index].running()) return VhostViolation("its ring is running");
  const bool packed = (features_ & FeatureBit(kVirtioRingPacked)) != 0;
  const bool whole_power = (state.value & (state.value - 1)) == 0;
  if (state.value == 0 || state.value > kLargestRing || (!packed && !whole_power)) {
    return VhostViolation(absl::StrCat("a ring of ", state.value, " entries; 1 to ", kLargestRing,
                                       " are possible", packed ? "" : ", powers of two"));
  }
  rings_[*index].size = state.value;
  return Start(*index);
}

// A front end that migrates sends it to a running ring, to switch logging of its used part on. That
// part is written through guest memory and logged as such, so the log address is not needed.
absl::Status VhostDevice::SetVringAddress(const VhostMessage& message) {
  const auto address = message.As<VhostVringAddress>();
  auto index = RingIndex(address.index);
  if (!index.ok()) return index.status();
  if ((address.flags & ~VhostVringAddress::kLog) != 0) {
    return VhostViolation(absl::StrCat("unknown flags ", address.flags));
  }
  Pause(*index);
  rings_[*index].address = address;
  return Start(*index);
}

absl::Status VhostDevice::SetVringBase(const VhostMessage& message) {
  const auto state = message.As<VhostVringState>();
  auto index = RingIndex(state.index);
  if (!index.ok()) return index.status();
  if (rings_[*index].running()) return VhostViolation("its ring is running");
  const bool packed = (features_ & FeatureBit(kVirtioRingPacked)) != 0;
  if (features_set_ && !packed && state.value > UINT16_MAX) {
    return VhostViolation(absl::StrCat("index ", state.value, " of a split ring has 16 bits"));
  }
  rings_[*index].base = state.value;
  return Start(*index);
}

absl::Status VhostDevice::GetVringBase(const VhostMessage& message,
                                       std::optional<VhostMessage>& reply) {
  const auto state = message.As<VhostVringState>();
  auto index = RingIndex(state.index);
  if (!index.ok()) return index.status();
  Stop(*index);
  reply.emplace();
  reply->header.request = message.header.request;
  reply->header.flags = VhostHeader::kVersion | VhostHeader::kReply;
  reply->Put(VhostVringState{*index, rings_[*index].base.value_or(0)});
  return absl::OkStatus();
}

absl::Status VhostDevice::SetVringEnable(const VhostMessage& message) {
  const auto state = message.As<VhostVringState>();
  auto index = RingIndex(state.index);
  if (!index.ok()) return index.status();
  if (state.value > 1) {
    return VhostViolation(absl::StrCat("neither 0 nor 1 but ", state.value));
  }
  VhostRing& ring = rings_[*index];
  if (ring.enable == (state.value == 1)) return absl::OkStatus();
  Pause(*index);
  ring.enable = state.value == 1;
  return Start(*index);
}

// KICK, CALL and ERR. What was there before is closed when nobody uses it any more.
absl::Status VhostDevice::SetVringFd(VhostMessage& message) {
  const auto value = message.As<uint64_t>();
  auto index = RingIndex(value & ~kVringNoFd);
  if (!index.ok()) return index.status();
  UniqueFd fd = std::move(message.fds[0]);
  if (fd) {
    if (auto status = AdoptEventFd(fd.get()); !status.ok()) {
      return status;
    }
  }
  VhostRing& ring = rings_[*index];
  if (message.request() == VhostRequest::kSetVringErr) {
    // Not kept: see VhostDevice::Fault.
    return absl::OkStatus();
  }
  Pause(*index);
  if (message.request() == VhostRequest::kSetVringKick) {
    ring.kick = std::move(fd);
    ring.kicked = true;
  } else {
    ring.call = std::move(fd);
  }
  return Start(*index);
}

}  // namespace vmqd

// Rings: when they start, pause and stop. See vhost_device.h.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/virtio/event_fd.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

absl::Status InRing(uint32_t index, const absl::Status& status) {
  return {status.code(), absl::StrCat("ring ", index, ": ", status.message())};
}

}  // namespace

// Without protocol features there is no SET_VRING_ENABLE, and rings are enabled from the start.
bool VhostDevice::Enabled(const VhostRing& ring) const {
  return ring.enable.value_or((features_ & FeatureBit(kVhostProtocolFeatures)) == 0);
}

bool VhostDevice::Ready(const VhostRing& ring) const {
  return features_set_ && memory_->regions() > 0 && ring.size > 0 && ring.address.has_value() &&
         ring.base.has_value() && ring.kicked;
}

bool VhostDevice::Running() const {
  for (const VhostRing& ring : rings_) {
    if (ring.running()) return true;
  }
  return false;
}

absl::Status VhostDevice::Start(uint32_t index) {
  VhostRing& ring = rings_[index];
  if (ring.running() || !Ready(ring)) return absl::OkStatus();
  if (memory_->Broken()) return InRing(index, VhostViolation("a page of guest memory is gone"));
  VirtqueueConfig config;
  config.use = index % 2 == 0 ? RingUse::kWrites : RingUse::kReads;
  config.packed = (features_ & FeatureBit(kVirtioRingPacked)) != 0;
  config.event_idx = (features_ & FeatureBit(kVirtioEventIdx)) != 0;
  config.indirect = (features_ & FeatureBit(kVirtioIndirect)) != 0;
  config.size = ring.size;
  config.descriptors = ring.address->descriptors;
  config.driver = ring.address->available;
  config.device = ring.address->used;
  config.base = *ring.base;
  const bool logs = (features_ & FeatureBit(kVhostLogAll)) != 0;
  auto queue = Virtqueue::Open(config, memory_, logs ? log_.get() : nullptr);
  if (!queue.ok()) return InRing(index, queue.status());
  ring.queue.ring = *std::move(queue);
  ring.queue.kick_fd = ring.kick.get();
  ring.queue.call_fd = ring.call.get();
  ring.queue.features = features_;
  ring.queue.enabled = Enabled(ring);
  status_.fault.clear();
  owner_.StartQueue(index, ring.queue);
  return absl::OkStatus();
}

absl::Status VhostDevice::Start(const std::vector<uint32_t>& rings) {
  for (const uint32_t index : rings) {
    if (auto status = Start(index); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status VhostDevice::StartAll() {
  for (uint32_t i = 0; i < rings_.size(); ++i) {
    if (auto status = Start(i); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void VhostDevice::Pause(uint32_t index) {
  VhostRing& ring = rings_[index];
  if (!ring.running()) return;
  owner_.StopQueue(index);
  ring.base = ring.queue.ring->Base();
  ring.queue = VhostQueue();
}

void VhostDevice::Stop(uint32_t index) {
  Pause(index);
  rings_[index].kicked = false;
  rings_[index].kick.Reset();
}

std::vector<uint32_t> VhostDevice::PauseAll() {
  std::vector<uint32_t> ran;
  for (uint32_t i = 0; i < rings_.size(); ++i) {
    if (!rings_[i].running()) continue;
    ran.push_back(i);
    Pause(i);
  }
  return ran;
}

void VhostDevice::StopAll() {
  for (uint32_t i = 0; i < rings_.size(); ++i) Stop(i);
}

void VhostDevice::Fault(const std::string& reason) {
  if (!Running()) return;  // stopped meanwhile: who reports this saw rings that are gone
  // The front end's error descriptors are not written to: it can make that wait for ever, and VMMs
  // do not listen to them.
  StopAll();
  UpdateLink();
  RecordFault(reason);
}

}  // namespace vmqd

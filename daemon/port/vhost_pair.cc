// What the two directions have in common: starting, stopping, being woken.
#include "daemon/port/vhost_pair.h"

#include <linux/virtio_config.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

constexpr uint32_t kHeader = 12;        // virtio_net_hdr with num_buffers (VIRTIO 1.3, 5.1.6.1)
constexpr uint32_t kLegacyHeader = 10;  // without, for legacy drivers that do not merge buffers

PortOffloads TakesOf(uint64_t features) {
  const bool checksum = HasFeature(features, VIRTIO_NET_F_GUEST_CSUM);
  return {.checksum = checksum,
          .tso4 = checksum && HasFeature(features, VIRTIO_NET_F_GUEST_TSO4),
          .tso6 = checksum && HasFeature(features, VIRTIO_NET_F_GUEST_TSO6),
          .uso = checksum && HasFeature(features, VIRTIO_NET_F_GUEST_USO4) &&
                 HasFeature(features, VIRTIO_NET_F_GUEST_USO6),
          .ecn = HasFeature(features, VIRTIO_NET_F_GUEST_ECN),
          .pieces = true};
}

}  // namespace

VhostPair::~VhostPair() = default;

void VhostPair::Start(RingUse use, VhostQueue& queue) {
  Direction& direction = Of(use);
  const bool mergeable = HasFeature(queue.features, VIRTIO_NET_F_MRG_RXBUF);
  const bool modern = HasFeature(queue.features, VIRTIO_F_VERSION_1);
  direction.owned = std::make_unique<const Running>(
      Running{.queue = &queue,
              .header = mergeable || modern ? kHeader : kLegacyHeader,
              .mergeable = mergeable,
              .features = queue.features,
              .takes = TakesOf(queue.features)});
  direction.kicks_wanted = true;  // as a ring begins
  direction.starved = false;
  direction.fault.store(RingFault::kNone, std::memory_order_relaxed);
  direction.live.store(direction.owned.get(), std::memory_order_release);
}

void VhostPair::Stop(RingUse use) { Of(use).live.store(nullptr, std::memory_order_release); }

void VhostPair::Forget(RingUse use) { Of(use).owned.reset(); }

std::optional<VhostPair::Fault> VhostPair::TakeFault() {
  for (const RingUse use : {RingUse::kReads, RingUse::kWrites}) {
    const RingFault fault = Of(use).fault.exchange(RingFault::kNone);
    if (fault != RingFault::kNone) return Fault{use, fault};
  }
  return std::nullopt;
}

void VhostPair::Look(RingUse use, const Running& ring) {
  RingFault fault = ring.queue->ring->fault();
  if (fault == RingFault::kNone && ring.queue->ring->MemoryBroken()) fault = RingFault::kMemory;
  if (fault != RingFault::kNone) Of(use).fault.store(fault);
}

PortOffloads VhostPair::Offloads() const {
  const Running* ring = to_guest_.live.load(std::memory_order_acquire);
  return ring == nullptr ? PortOffloads{} : ring->takes;
}

// The counter of an eventfd can be at its end: then the guest has not looked yet, and will. A front
// end that has made it block meanwhile (the flag is shared) holds the worker until somebody notices
// and interrupts it (Worker::Unstick); then there are no more interrupts for its guest.
void VhostPair::Notify(RingUse use, VhostQueue& queue) {
  if (queue.call_fd < 0) return;
  const uint64_t one = 1;
  if (write(queue.call_fd, &one, sizeof(one)) >= 0 || errno != EINTR) return;
  queue.call_fd = -1;
  Of(use).fault.store(RingFault::kNotify);
}

Port::Rest VhostPair::PrepareSleep() {
  if (announce_.load(std::memory_order_relaxed) != 0) return Rest::kWork;
  const Rest fill = PrepareToFill();
  if (fill == Rest::kWork) return fill;
  const Running* ring = from_guest_.live.load(std::memory_order_acquire);
  if (ring == nullptr || stalled_) return fill;
  ring->queue->ring->WantKicks(true);
  from_guest_.kicks_wanted = true;
  if (ring->queue->ring->HasWork()) return Rest::kWork;
  return ring->queue->kick_fd < 0 ? Rest::kPoll : fill;
}

PortArrivals VhostPair::Arrivals() {
  PortArrivals arrivals;
  arrivals.pkts = received_.Get();
  for (size_t i = 0; i < kDropReasonCount; ++i) arrivals.drops[i] = drops_[i].Get();
  return arrivals;
}

}  // namespace vmqd

// Feature bits of the vhost-user back end: what it can do, and what the bits are called. Pure
// functions. VIRTIO 1.3, 5.1.3 and 6; vhost-user specification, "Protocol features".
#ifndef VMQD_DAEMON_VIRTIO_VHOST_FEATURES_H_
#define VMQD_DAEMON_VIRTIO_VHOST_FEATURES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace vmqd {

constexpr uint64_t FeatureBit(uint32_t bit) { return uint64_t{1} << bit; }

constexpr bool HasFeature(uint64_t features, uint32_t bit) {
  return (features & FeatureBit(bit)) != 0;
}

// Bits of VIRTIO's own space that vhost uses between front end and back end.
inline constexpr uint32_t kVhostLogAll = 26;
inline constexpr uint32_t kVhostProtocolFeatures = 30;
inline constexpr uint32_t kVirtioRingPacked = 34;
inline constexpr uint32_t kVirtioEventIdx = 29;
inline constexpr uint32_t kVirtioIndirect = 28;

enum class VhostProtocolFeature : uint32_t {
  kMq = 0,
  kLogShmfd = 1,
  kRarp = 2,
  kReplyAck = 3,
  kNetMtu = 4,
  kConfig = 9,
  kConfigureMemSlots = 15,
  kStatus = 16,
};

constexpr uint64_t FeatureBit(VhostProtocolFeature feature) {
  return FeatureBit(static_cast<uint32_t>(feature));
}

// What every port offers. INFLIGHT_SHMFD is not among it: the memory it shares tells a new back end
// which chains the old one had taken and not used. For a network device such frames may be lost, as
// on any wire, and a ring is taken up again at its used index, which lies in guest memory; so it
// would be one more structure written by a hostile front end, for nothing. Nor is BACKEND_REQ: we
// ask the front end for nothing.
uint64_t SupportedVhostProtocolFeatures();

// Of all bits that are set, as `name` (vhost_device.h) calls each.
std::vector<std::string> FeatureNames(uint64_t bits, std::string (*name)(uint32_t));

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_FEATURES_H_

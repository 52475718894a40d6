// See vhost_features.h and, for the names and what a port may offer, vhost_device.h.
#include "daemon/virtio/vhost_features.h"

#include <linux/virtio_config.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/net/virtio_net_header.h"
#include "daemon/virtio/vhost_device.h"

namespace vmqd {
namespace {

struct Named {
  uint32_t bit;
  const char* name;
};

// CTRL_VQ: QEMU and DPDK serve the control queue themselves whatever we offer; Cloud Hypervisor
// does as well, but only when the bit is offered, and without it its guests have one queue pair.
constexpr Named kSupported[] = {
    {VIRTIO_NET_F_CSUM, "CSUM"},
    {VIRTIO_NET_F_GUEST_CSUM, "GUEST_CSUM"},
    {VIRTIO_NET_F_MTU, "MTU"},
    {VIRTIO_NET_F_MAC, "MAC"},
    {VIRTIO_NET_F_GUEST_TSO4, "GUEST_TSO4"},
    {VIRTIO_NET_F_GUEST_TSO6, "GUEST_TSO6"},
    {VIRTIO_NET_F_GUEST_ECN, "GUEST_ECN"},
    {VIRTIO_NET_F_HOST_TSO4, "HOST_TSO4"},
    {VIRTIO_NET_F_HOST_TSO6, "HOST_TSO6"},
    {VIRTIO_NET_F_HOST_ECN, "HOST_ECN"},
    {VIRTIO_NET_F_MRG_RXBUF, "MRG_RXBUF"},
    {VIRTIO_NET_F_STATUS, "STATUS"},
    {VIRTIO_NET_F_CTRL_VQ, "CTRL_VQ"},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, "GUEST_ANNOUNCE"},
    {VIRTIO_NET_F_MQ, "MQ"},
    {kVhostLogAll, "LOG_ALL"},
    {kVirtioIndirect, "INDIRECT_DESC"},
    {kVirtioEventIdx, "EVENT_IDX"},
    {VIRTIO_F_VERSION_1, "VERSION_1"},
    {kVirtioRingPacked, "RING_PACKED"},
    {VIRTIO_F_IN_ORDER, "IN_ORDER"},
    {VIRTIO_NET_F_GUEST_USO4, "GUEST_USO4"},
    {VIRTIO_NET_F_GUEST_USO6, "GUEST_USO6"},
    {VIRTIO_NET_F_HOST_USO, "HOST_USO"},
};

// Not supported, but a front end may ask for them, and the answer shall say their names.
constexpr Named kOthers[] = {
    {2, "CTRL_GUEST_OFFLOADS"},
    {10, "GUEST_UFO"},
    {14, "HOST_UFO"},
    {18, "CTRL_RX"},
    {19, "CTRL_VLAN"},
    {23, "CTRL_MAC_ADDR"},
    {24, "NOTIFY_ON_EMPTY"},
    {27, "ANY_LAYOUT"},
    {kVhostProtocolFeatures, "PROTOCOL_FEATURES"},
    {33, "ACCESS_PLATFORM"},
    {57, "HASH_REPORT"},
    {60, "RSS"},
};

constexpr Named kProtocol[] = {
    {static_cast<uint32_t>(VhostProtocolFeature::kMq), "MQ"},
    {static_cast<uint32_t>(VhostProtocolFeature::kLogShmfd), "LOG_SHMFD"},
    {static_cast<uint32_t>(VhostProtocolFeature::kRarp), "RARP"},
    {static_cast<uint32_t>(VhostProtocolFeature::kReplyAck), "REPLY_ACK"},
    {static_cast<uint32_t>(VhostProtocolFeature::kNetMtu), "NET_MTU"},
    {static_cast<uint32_t>(VhostProtocolFeature::kConfig), "CONFIG"},
    {static_cast<uint32_t>(VhostProtocolFeature::kConfigureMemSlots), "CONFIGURE_MEM_SLOTS"},
    {static_cast<uint32_t>(VhostProtocolFeature::kStatus), "STATUS"},
};

template <size_t N>
const char* Find(const Named (&names)[N], uint32_t bit) {
  for (const Named& named : names) {
    if (named.bit == bit) return named.name;
  }
  return nullptr;
}

template <size_t N>
uint64_t Bits(const Named (&names)[N]) {
  uint64_t bits = 0;
  for (const Named& named : names) bits |= FeatureBit(named.bit);
  return bits;
}

}  // namespace

uint64_t SupportedVirtioFeatures() { return Bits(kSupported); }
uint64_t SupportedVhostProtocolFeatures() { return Bits(kProtocol); }

std::string VirtioFeatureName(uint32_t bit) {
  if (const char* name = Find(kSupported, bit); name != nullptr) return name;
  if (const char* name = Find(kOthers, bit); name != nullptr) return name;
  return absl::StrCat("bit ", bit);
}

std::string VhostProtocolFeatureName(uint32_t bit) {
  const char* name = Find(kProtocol, bit);
  return name != nullptr ? name : absl::StrCat("bit ", bit);
}

std::vector<std::string> FeatureNames(uint64_t bits, std::string (*name)(uint32_t)) {
  std::vector<std::string> names;
  for (uint32_t bit = 0; bit < 64; ++bit) {
    if (HasFeature(bits, bit)) names.push_back(name(bit));
  }
  return names;
}

}  // namespace vmqd

// What a front end and we agree on before and beside the rings: features, status, configuration,
// MTU, announcements. See vhost_device.h.
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/net/virtio_net_header.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

constexpr uint32_t kSmallestMtu = 68;  // IPv4's, as VIRTIO has it

}  // namespace

absl::Status VhostDevice::SetFeatures(const VhostMessage& message) {
  const auto wanted = message.As<uint64_t>();
  if ((wanted & ~offered_) != 0) {
    return VhostViolation(
        absl::StrCat("features that were not offered: ",
                     absl::StrJoin(FeatureNames(wanted & ~offered_, VirtioFeatureName), ", ")));
  }
  const uint64_t changed = wanted ^ features_;
  if (Running() && (changed & ~FeatureBit(kVhostLogAll)) != 0) {
    return VhostViolation(
        absl::StrCat("features changed while a ring runs: ",
                     absl::StrJoin(FeatureNames(changed, VirtioFeatureName), ", ")));
  }
  const std::vector<uint32_t> ran = changed != 0 ? PauseAll() : std::vector<uint32_t>();
  features_ = wanted;
  features_set_ = true;
  if (auto status = Start(ran); !status.ok()) return status;
  return StartAll();
}

absl::Status VhostDevice::SetProtocolFeatures(const VhostMessage& message) {
  const auto wanted = message.As<uint64_t>();
  const uint64_t unknown = wanted & ~SupportedVhostProtocolFeatures();
  if (unknown != 0) {
    return VhostViolation(
        absl::StrCat("protocol features that were not offered: ",
                     absl::StrJoin(FeatureNames(unknown, VhostProtocolFeatureName), ", ")));
  }
  if (Running() && wanted != protocol_features_) {
    return VhostViolation("protocol features changed while a ring runs");
  }
  protocol_features_ = wanted;
  return absl::OkStatus();
}

absl::Status VhostDevice::SetStatus(const VhostMessage& message) {
  const auto wanted = message.As<uint64_t>();
  if (wanted > UINT8_MAX) {
    return VhostViolation(absl::StrCat("a device status has 8 bits, not ", wanted));
  }
  device_status_ = static_cast<uint8_t>(wanted);
  if (device_status_ == 0) StopAll();  // the driver resets the device
  return absl::OkStatus();
}

absl::Status VhostDevice::SendRarp(const VhostMessage& message) {
  const MacAddress mac = MacAddress::FromWire(message.payload.data());
  if (mac.IsZero() || mac.IsMulticast()) {
    return absl::FailedPreconditionError(absl::StrCat(mac.ToString(), " is no station's address"));
  }
  owner_.Announce(mac);
  return absl::OkStatus();
}

absl::Status VhostDevice::SetMtu(const VhostMessage& message) {
  const auto wanted = message.As<uint64_t>();
  if (wanted < kSmallestMtu || wanted > options_.mtu) {
    return absl::FailedPreconditionError(
        absl::StrCat(wanted, " is not between ", kSmallestMtu, " and ", options_.mtu));
  }
  mtu_ = static_cast<uint32_t>(wanted);
  return absl::OkStatus();
}

// VIRTIO 1.3, 5.1.4. What lies behind the fields we know reads as zero. An answer without payload
// is how the protocol says no.
void VhostDevice::GetConfig(const VhostMessage& message, VhostMessage& reply) const {
  auto config = message.As<VhostConfigPayload>();
  constexpr uint32_t kSize = VhostConfigPayload::kMaxBytes;
  if (config.offset > kSize || config.size > kSize - config.offset) return;
  virtio_net_config net{};
  std::memcpy(net.mac, options_.mac.bytes.data(), sizeof(net.mac));
  net.status = VIRTIO_NET_S_LINK_UP;
  net.max_virtqueue_pairs = static_cast<uint16_t>(options_.queue_pairs);
  net.mtu = options_.mtu;
  net.speed = UINT32_MAX;  // unknown
  net.duplex = UINT8_MAX;  // unknown
  std::array<uint8_t, kSize> whole{};
  static_assert(sizeof(net) <= kSize);
  std::memcpy(whole.data(), &net, sizeof(net));
  std::memcpy(config.bytes.data(), whole.data() + config.offset, config.size);
  reply.Put(config);
  reply.header.size = message.header.size;
}

}  // namespace vmqd

// See request.h: the requests about uplinks.
#include <bit>
#include <string>

#include "absl/strings/str_cat.h"
#include "bpf/abi.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"
#include "daemon/rpc/request.h"

namespace vmqd::rpc {
namespace {

absl::Status CheckBuffers(uint32_t buffers) {
  if (buffers >= kMinBuffersPerQueue && buffers <= kMaxBuffersPerQueue &&
      std::has_single_bit(buffers)) {
    return absl::OkStatus();
  }
  return Invalid("BUFFERS_OUT_OF_RANGE", "uplink.buffers_per_queue",
                 absl::StrCat(buffers, " is not a power of two from ", kMinBuffersPerQueue, " to ",
                              kMaxBuffersPerQueue, "; 0 means ", kDefaultBuffersPerQueue));
}

absl::StatusOr<XdpMode> XdpModeFrom(v1::XdpMode mode) {
  switch (mode) {
    case v1::XDP_MODE_UNSPECIFIED:
    case v1::NATIVE:
      return XdpMode::kNative;
    case v1::GENERIC:
      return XdpMode::kGeneric;
    case v1::AUTO:
      return XdpMode::kAuto;
    default:
      return UnknownEnum("uplink.xdp_mode", mode, "NATIVE, GENERIC and AUTO");
  }
}

absl::StatusOr<Steering> SteeringFrom(v1::Steering steering) {
  switch (steering) {
    case v1::STEERING_UNSPECIFIED:
    case v1::SOFTWARE:
      return Steering::kSoftware;
    case v1::EXTERNAL:
      return Steering::kExternal;
    case v1::HARDWARE:
      return Steering::kHardware;
    default:
      return UnknownEnum("uplink.steering", steering, "SOFTWARE, EXTERNAL and HARDWARE");
  }
}

absl::StatusOr<WakeMode> WakeModeFrom(v1::WakeMode mode) {
  switch (mode) {
    case v1::WAKE_MODE_UNSPECIFIED:
    case v1::ADAPTIVE:
      return WakeMode::kAdaptive;
    case v1::POLL:
      return WakeMode::kPoll;
    case v1::INTERRUPT:
      return WakeMode::kInterrupt;
    default:
      return UnknownEnum("uplink.wake_mode", mode, "ADAPTIVE, POLL and INTERRUPT");
  }
}

// `id_field` is where the id came from.
absl::StatusOr<UplinkConfig> ConfigFrom(const v1::Uplink& uplink, const std::string& id,
                                        const std::string& id_field) {
  if (uplink.device().empty()) {
    return Invalid("FIELD_REQUIRED", "uplink.device", "name the network device to attach");
  }
  if (auto status = CheckDeviceName(uplink.device(), "uplink.device"); !status.ok()) return status;
  if (auto status = CheckUplinkId(id, id_field); !status.ok()) return status;
  const auto xdp_mode = XdpModeFrom(uplink.xdp_mode());
  if (!xdp_mode.ok()) return xdp_mode.status();
  const auto steering = SteeringFrom(uplink.steering());
  if (!steering.ok()) return steering.status();
  const auto wake_mode = WakeModeFrom(uplink.wake_mode());
  if (!wake_mode.ok()) return wake_mode.status();
  if (uplink.queues() > VMQD_MAX_QUEUES) {
    return Invalid("QUEUE_OUT_OF_RANGE", "uplink.queues",
                   absl::StrCat(uplink.queues(), " is more than the most, ",
                                static_cast<int>(VMQD_MAX_QUEUES), "; 0 means all it has"));
  }
  const uint32_t buffers =
      uplink.buffers_per_queue() == 0 ? kDefaultBuffersPerQueue : uplink.buffers_per_queue();
  if (auto status = CheckBuffers(buffers); !status.ok()) return status;
  return UplinkConfig{.id = id,
                      .device = uplink.device(),
                      .xdp_mode = *xdp_mode,
                      .steering = *steering,
                      .wake_mode = *wake_mode,
                      .queues = uplink.queues(),
                      .buffers_per_queue = buffers};
}

// One path of an update mask.
absl::Status ApplyPath(const v1::Uplink& uplink, const std::string& path, UplinkPatch& patch) {
  if (path == "wake_mode" || path == "*") {
    const auto wake_mode = WakeModeFrom(uplink.wake_mode());
    if (!wake_mode.ok()) return wake_mode.status();
    patch.wake_mode = *wake_mode;
    return absl::OkStatus();
  }
  if (v1::Uplink::descriptor()->FindFieldByName(path) != nullptr) {
    return Invalid("FIELD_IMMUTABLE", "update_mask",
                   absl::StrCat(Quoted(path), " cannot be changed; what can is wake_mode"));
  }
  return Invalid("FIELD_UNKNOWN", "update_mask",
                 absl::StrCat(Quoted(path), " is no field of an uplink; name wake_mode"));
}

}  // namespace

absl::StatusOr<UplinkConfig> UplinkConfigFrom(const v1::CreateUplinkRequest& request) {
  const std::string& device = request.uplink().device();
  return ConfigFrom(request.uplink(), request.uplink_id().empty() ? device : request.uplink_id(),
                    "uplink_id");
}

absl::StatusOr<UplinkUpdate> UplinkUpdateFrom(const v1::UpdateUplinkRequest& request) {
  auto id = ParseUplinkName(request.uplink().name(), "uplink.name");
  if (!id.ok()) return id.status();
  if (request.update_mask().paths().empty()) {
    return Invalid("FIELD_REQUIRED", "update_mask", "name what to change: wake_mode, or *");
  }
  UplinkUpdate update{.id = *std::move(id)};
  for (const std::string& path : request.update_mask().paths()) {
    if (auto status = ApplyPath(request.uplink(), path, update.patch); !status.ok()) return status;
  }
  if (!request.allow_missing()) return update;
  auto missing = ConfigFrom(request.uplink(), update.id, "uplink.name");
  if (!missing.ok()) return missing.status();
  update.missing = *std::move(missing);
  return update;
}

}  // namespace vmqd::rpc

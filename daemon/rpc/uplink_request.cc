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
    default:
      return UnknownEnum("uplink.steering", steering, "SOFTWARE and EXTERNAL");
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

}  // namespace

absl::StatusOr<UplinkConfig> UplinkConfigFrom(const v1::CreateUplinkRequest& request) {
  const v1::Uplink& uplink = request.uplink();
  if (uplink.device().empty()) {
    return Invalid("FIELD_REQUIRED", "uplink.device", "name the network device to attach");
  }
  if (auto status = CheckDeviceName(uplink.device(), "uplink.device"); !status.ok()) return status;
  const std::string& id = request.uplink_id().empty() ? uplink.device() : request.uplink_id();
  if (auto status = CheckUplinkId(id, "uplink_id"); !status.ok()) return status;
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

}  // namespace vmqd::rpc

// See request.h: the requests about uplinks.
#include <bit>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

absl::StatusOr<BalanceMode> BalanceModeFrom(v1::BalanceMode mode) {
  switch (mode) {
    case v1::BALANCE_MODE_UNSPECIFIED:
    case v1::DYNAMIC:
      return BalanceMode::kDynamic;
    case v1::MANUAL:
      return BalanceMode::kManual;
    case v1::STATIC:
      return BalanceMode::kStatic;
    default:
      return UnknownEnum("uplink.balance_mode", mode, "DYNAMIC, MANUAL and STATIC");
  }
}

absl::StatusOr<std::map<uint32_t, int>> QueueCpusFrom(const v1::Uplink& uplink) {
  std::map<uint32_t, int> cpus;
  for (const auto& [queue, cpu] : uplink.queue_cpus()) {
    const std::string field = absl::StrCat("uplink.queue_cpus[", queue, "]");
    if (queue >= VMQD_MAX_QUEUES) {
      return Invalid("QUEUE_OUT_OF_RANGE", field,
                     absl::StrCat("an uplink has ", static_cast<int>(VMQD_MAX_QUEUES),
                                  " queues at most, from queue 0"));
    }
    if (cpu < 0) {
      return Invalid("CPU_OUT_OF_RANGE", field, absl::StrCat(cpu, " is no CPU's number"));
    }
    cpus[queue] = cpu;
  }
  return cpus;
}

absl::Status CheckQueues(uint32_t queues) {
  if (queues <= VMQD_MAX_QUEUES) return absl::OkStatus();
  return Invalid("QUEUE_OUT_OF_RANGE", "uplink.queues",
                 absl::StrCat(queues, " is more than the most, ", static_cast<int>(VMQD_MAX_QUEUES),
                              "; 0 means all it has"));
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
  if (auto status = CheckQueues(uplink.queues()); !status.ok()) return status;
  const uint32_t buffers =
      uplink.buffers_per_queue() == 0 ? kDefaultBuffersPerQueue : uplink.buffers_per_queue();
  if (auto status = CheckBuffers(buffers); !status.ok()) return status;
  const auto balance_mode = BalanceModeFrom(uplink.balance_mode());
  if (!balance_mode.ok()) return balance_mode.status();
  auto queue_cpus = QueueCpusFrom(uplink);
  if (!queue_cpus.ok()) return queue_cpus.status();
  return UplinkConfig{.id = id,
                      .device = uplink.device(),
                      .xdp_mode = *xdp_mode,
                      .steering = *steering,
                      .wake_mode = *wake_mode,
                      .queues = uplink.queues(),
                      .buffers_per_queue = buffers,
                      .busy_poll = uplink.busy_poll(),
                      .balance_mode = *balance_mode,
                      .queue_cpus = *std::move(queue_cpus)};
}

constexpr const char* kMutable[] = {"wake_mode", "queues", "busy_poll", "balance_mode",
                                    "queue_cpus"};

std::string MutableFields() { return absl::StrJoin(kMutable, ", "); }

// One path of an update mask.
absl::Status ApplyPath(const v1::Uplink& uplink, const std::string& path, UplinkPatch& patch) {
  if (path == "*") {
    for (const char* field : kMutable) {
      if (auto status = ApplyPath(uplink, field, patch); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  if (path == "wake_mode") {
    const auto wake_mode = WakeModeFrom(uplink.wake_mode());
    if (!wake_mode.ok()) return wake_mode.status();
    patch.wake_mode = *wake_mode;
    return absl::OkStatus();
  }
  if (path == "balance_mode") {
    const auto balance_mode = BalanceModeFrom(uplink.balance_mode());
    if (!balance_mode.ok()) return balance_mode.status();
    patch.balance_mode = *balance_mode;
    return absl::OkStatus();
  }
  if (path == "queue_cpus") {
    auto queue_cpus = QueueCpusFrom(uplink);
    if (!queue_cpus.ok()) return queue_cpus.status();
    patch.queue_cpus = *std::move(queue_cpus);
    return absl::OkStatus();
  }
  if (path == "queues") {
    patch.queues = uplink.queues();
    return CheckQueues(uplink.queues());
  }
  if (path == "busy_poll") {
    patch.busy_poll = uplink.busy_poll();
    return absl::OkStatus();
  }
  if (v1::Uplink::descriptor()->FindFieldByName(path) != nullptr) {
    return Invalid("FIELD_IMMUTABLE", "update_mask",
                   absl::StrCat(Quoted(path), " cannot be changed; what can is ", MutableFields()));
  }
  return Invalid("FIELD_UNKNOWN", "update_mask",
                 absl::StrCat(Quoted(path), " is no field of an uplink; name ", MutableFields()));
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
    return Invalid("FIELD_REQUIRED", "update_mask",
                   absl::StrCat("name what to change: ", MutableFields(), ", or *"));
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

// See request.h: the requests about ports.
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"
#include "daemon/rpc/request.h"
#include "daemon/rpc/vhost_request.h"

namespace vmqd::rpc {
namespace {

constexpr uint32_t kMaxVlan = 4094;  // 4095 is reserved by IEEE 802.1Q
constexpr uint32_t kMaxWeight = 100;
constexpr uint32_t kMinMtu = 68;  // RFC 791: what every link carries
constexpr uint32_t kMaxMtu = 65535;
constexpr const char* kMutable[] = {"macs",    "vlan",     "weight", "queue",
                                    "trusted", "disabled", "mtu",    "coalescing_off"};
constexpr char kMutableInWords[] =
    "macs, vlan, weight, queue, trusted, disabled, mtu or coalescing_off";

absl::Status CheckVlan(uint32_t vlan) {
  if (vlan <= kMaxVlan) return absl::OkStatus();
  return Invalid("VLAN_OUT_OF_RANGE", "port.vlan",
                 absl::StrCat(vlan, " is not a VLAN id: 1-4094, or 0 for untagged"));
}

absl::Status CheckWeight(uint32_t weight) {
  if (weight <= kMaxWeight) return absl::OkStatus();
  return Invalid("WEIGHT_OUT_OF_RANGE", "port.weight",
                 absl::StrCat(weight, " is more than the most, 100"));
}

absl::Status CheckMtu(uint32_t mtu) {
  if (mtu == 0 || (mtu >= kMinMtu && mtu <= kMaxMtu)) return absl::OkStatus();
  return Invalid("MTU_OUT_OF_RANGE", "port.mtu",
                 absl::StrCat(mtu, " is not an MTU: 68-65535, or 0 for the uplink's"));
}

absl::StatusOr<PortKind> PortKindFrom(v1::PortKind kind) {
  switch (kind) {
    case v1::TAP:
      return PortKind::kTap;
    case v1::NETDEV:
      return PortKind::kNetdev;
    case v1::VETH:
      return PortKind::kVeth;
    case v1::HOST:
      return PortKind::kHost;
    case v1::VHOST_USER:
      return PortKind::kVhostUser;
    case v1::PORT_KIND_UNSPECIFIED:
      return Invalid("FIELD_REQUIRED", "port.kind", "say TAP, NETDEV, VETH, HOST or VHOST_USER");
    default:
      return UnknownEnum("port.kind", kind, "TAP, NETDEV, VETH, HOST and VHOST_USER");
  }
}

absl::StatusOr<MacAddress> MacFrom(const std::string& text, const std::string& field) {
  const absl::StatusOr<MacAddress> mac = MacAddress::Parse(text);
  if (!mac.ok()) {
    return Invalid("MAC_MALFORMED", field,
                   absl::StrCat(Quoted(text), " is not a MAC address such as 52:54:00:00:00:01"));
  }
  if (mac->IsZero()) return Invalid("MAC_NOT_UNICAST", field, "00:00:00:00:00:00 is no address");
  if (mac->IsMulticast()) {
    return Invalid("MAC_NOT_UNICAST", field,
                   absl::StrCat(mac->ToString(),
                                " is a multicast address; a port's first octet must be even"));
  }
  return *mac;
}

absl::StatusOr<std::vector<MacAddress>> MacsFrom(const v1::Port& port, bool may_be_empty) {
  if (port.macs().empty() && !may_be_empty) {
    return Invalid("FIELD_REQUIRED", "port.macs", "give the port at least one MAC address");
  }
  if (static_cast<size_t>(port.macs_size()) > kMaxMacsPerPort) {
    return Invalid(
        "TOO_MANY_MACS", "port.macs",
        absl::StrCat(port.macs_size(), " addresses; a port has at most ", kMaxMacsPerPort));
  }
  std::vector<MacAddress> macs;
  std::set<MacAddress> seen;
  for (int i = 0; i < port.macs_size(); ++i) {
    const std::string field = absl::StrCat("port.macs[", i, "]");
    const absl::StatusOr<MacAddress> mac = MacFrom(port.macs(i), field);
    if (!mac.ok()) return mac.status();
    if (!seen.insert(*mac).second) {
      return Invalid("MAC_REPEATED", field, absl::StrCat(mac->ToString(), " is given twice"));
    }
    macs.push_back(*mac);
  }
  return macs;
}

// The peer of a pair has an address of its own to fall back on.
bool MakesPair(v1::PortKind kind) { return kind == v1::VETH || kind == v1::HOST; }

// Which of the two device names goes with which kind; see port.proto.
absl::Status CheckDevices(const v1::Port& port, PortKind kind) {
  if (kind == PortKind::kVhostUser) return CheckNoDevices(port);
  const bool makes_pair = kind == PortKind::kVeth || kind == PortKind::kHost;
  if (port.device().empty() && !makes_pair) {
    return Invalid(
        "FIELD_REQUIRED", "port.device",
        kind == PortKind::kTap ? "name the tap device to make" : "name the network device to take");
  }
  if (!port.device().empty()) {
    if (auto status = CheckDeviceName(port.device(), "port.device"); !status.ok()) return status;
  }
  if (!makes_pair) {
    if (port.peer_device().empty()) return absl::OkStatus();
    return Invalid("FIELD_NOT_ALLOWED", "port.peer_device",
                   "only VETH and HOST ports have one; leave it empty");
  }
  if (port.peer_device().empty()) {
    return Invalid("FIELD_REQUIRED", "port.peer_device", "name the other end of the veth pair");
  }
  if (port.peer_device() == port.device()) {
    return Invalid("DEVICE_NAME_REPEATED", "port.peer_device",
                   absl::StrCat(Quoted(port.device()),
                                " is port.device too; the two ends need different names"));
  }
  return CheckDeviceName(port.peer_device(), "port.peer_device");
}

absl::Status CheckRanges(const v1::Port& port) {
  if (auto status = CheckVlan(port.vlan()); !status.ok()) return status;
  if (port.has_weight()) {
    if (auto status = CheckWeight(port.weight()); !status.ok()) return status;
  }
  return CheckMtu(port.mtu());
}

// One path of an update mask.
absl::Status ApplyPath(const v1::Port& port, const std::string& path, PortPatch& patch) {
  if (path == "macs") {
    auto macs = MacsFrom(port, /*may_be_empty=*/false);
    if (!macs.ok()) return macs.status();
    patch.macs = *std::move(macs);
    return absl::OkStatus();
  }
  if (path == "vlan") {
    patch.vlan = port.vlan();
    return CheckVlan(port.vlan());
  }
  if (path == "weight") {
    patch.weight = port.has_weight() ? port.weight() : kDefaultWeight;
    return CheckWeight(*patch.weight);
  }
  if (path == "queue") {
    patch.queue.emplace();
    if (port.has_queue()) *patch.queue = port.queue();
    return absl::OkStatus();
  }
  if (path == "trusted") {
    patch.trusted = port.trusted();
    return absl::OkStatus();
  }
  if (path == "disabled") {
    patch.disabled = port.disabled();
    return absl::OkStatus();
  }
  if (path == "mtu") {
    patch.mtu = port.mtu();
    return CheckMtu(port.mtu());
  }
  if (path == "coalescing_off") {
    patch.coalescing_off = port.coalescing_off();
    return CheckCoalescing(port);
  }
  if (v1::Port::descriptor()->FindFieldByName(path) != nullptr) {
    return Invalid("FIELD_IMMUTABLE", "update_mask",
                   absl::StrCat(Quoted(path), " cannot be changed; what can is ", kMutableInWords));
  }
  return Invalid("FIELD_UNKNOWN", "update_mask",
                 absl::StrCat(Quoted(path), " is no field of a port; name ", kMutableInWords));
}

// "*": all that can be changed. A pair that was made without addresses took its peer's; leaving
// them out again means those, and thus no change.
absl::Status ApplyEverything(const v1::Port& port, PortPatch& patch) {
  for (const char* path : kMutable) {
    if (std::string_view(path) == "macs" && port.macs().empty() && MakesPair(port.kind())) continue;
    if (auto status = ApplyPath(port, path, patch); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// `id_field` is where the id came from.
absl::StatusOr<PortConfig> ConfigFrom(const v1::Port& port, const std::string& id,
                                      const std::string& id_field) {
  if (auto status = CheckPortId(id, id_field); !status.ok()) return status;
  PortConfig config{.id = id};
  if (!port.uplink().empty()) {
    auto uplink = ParseUplinkName(port.uplink(), "port.uplink");
    if (!uplink.ok()) return uplink.status();
    config.uplink = *std::move(uplink);
  }
  const auto kind = PortKindFrom(port.kind());
  if (!kind.ok()) return kind.status();
  config.kind = *kind;
  if (auto status = CheckDevices(port, *kind); !status.ok()) return status;
  config.device = port.device();
  config.peer_device = port.peer_device();
  auto macs = MacsFrom(port, /*may_be_empty=*/MakesPair(port.kind()));
  if (!macs.ok()) return macs.status();
  config.macs = *std::move(macs);
  if (auto status = CheckRanges(port); !status.ok()) return status;
  config.vlan = port.vlan();
  if (port.has_weight()) config.weight = port.weight();
  if (port.has_queue()) config.queue = port.queue();
  config.trusted = port.trusted();
  config.disabled = port.disabled();
  config.mtu = port.mtu();
  if (auto status = ReadVhostFields(port, config); !status.ok()) return status;
  return config;
}

}  // namespace

absl::StatusOr<PortConfig> PortConfigFrom(const v1::CreatePortRequest& request) {
  return ConfigFrom(request.port(), request.port_id(), "port_id");
}

absl::StatusOr<PortUpdate> PortUpdateFrom(const v1::UpdatePortRequest& request) {
  auto id = ParsePortName(request.port().name(), "port.name");
  if (!id.ok()) return id.status();
  if (request.update_mask().paths().empty()) {
    return Invalid("FIELD_REQUIRED", "update_mask",
                   absl::StrCat("name what to change: ", kMutableInWords, "; * means all of them"));
  }
  PortUpdate update{.id = *std::move(id)};
  for (const std::string& path : request.update_mask().paths()) {
    const absl::Status status = path == "*" ? ApplyEverything(request.port(), update.patch)
                                            : ApplyPath(request.port(), path, update.patch);
    if (!status.ok()) return status;
  }
  if (!request.allow_missing()) return update;
  auto missing = ConfigFrom(request.port(), update.id, "port.name");
  if (!missing.ok()) return missing.status();
  update.missing = *std::move(missing);
  return update;
}

}  // namespace vmqd::rpc

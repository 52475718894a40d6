#include "daemon/control/checks.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/control/error.h"
#include "daemon/net/ethernet.h"

namespace vmqd {
namespace {

absl::Status NotFound(absl::string_view collection, std::string_view id, std::string_view field) {
  return Refuse(absl::StatusCode::kNotFound, "NOT_FOUND", field,
                absl::StrCat("there is no ", collection, "s/", std::string(id), "; 'vmqd-cli ",
                             collection, " list' lists them"));
}

absl::Status NoSuchDevice(const std::string& device, std::string_view field) {
  return Refuse(absl::StatusCode::kFailedPrecondition, "NO_SUCH_DEVICE", field,
                absl::StrCat("there is no network device '", device,
                             "' in vmqd's network namespace; 'ip link' lists them"));
}

// Devices are told apart by name: one that waits has no index.
absl::Status CheckDeviceFree(const Fabric& fabric, const std::string& device,
                             std::string_view field) {
  for (const auto& [id, uplink] : fabric.uplinks()) {
    if (uplink.config.device != device) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_IN_USE", field,
                  absl::StrCat(device, " is uplinks/", id, " already"));
  }
  for (const auto& [id, port] : fabric.ports()) {
    if (port.config.device != device) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_IN_USE", field,
                  absl::StrCat(device, " is the device of ports/", id, " already"));
  }
  return absl::OkStatus();
}

absl::Status CheckNameFree(const std::string& device, std::string_view field) {
  if (device.empty() || !FindLink(device).ok()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kAlreadyExists, "DEVICE_EXISTS", field,
                absl::StrCat("there is a network device '", device,
                             "' already; choose another name, or 'ip link del' it first"));
}

// "7 ports (a, b, c, d, e, ...)".
std::string CountAndNames(const std::vector<std::string>& ports) {
  const size_t shown = std::min<size_t>(ports.size(), 5);
  return absl::StrCat(
      ports.size(), ports.size() == 1 ? " port (" : " ports (",
      absl::StrJoin(ports.begin(), ports.begin() + static_cast<ptrdiff_t>(shown), ", "),
      shown < ports.size() ? ", ..." : "", ")");
}

absl::Status CheckSocket(const Fabric& fabric, const PortConfig& config) {
  for (const auto& [id, port] : fabric.ports()) {
    if (port.config.kind != PortKind::kVhostUser || port.config.socket != config.socket) continue;
    return Refuse(absl::StatusCode::kAlreadyExists, "SOCKET_IN_USE", "port.socket",
                  absl::StrCat(config.socket, " is the socket of ports/", id,
                               " already; choose another name"));
  }
  return fabric.CheckVhost();
}

absl::Status CheckDevice(const Fabric& fabric, const PortConfig& config) {
  if (!HasDevice(config.kind)) return CheckSocket(fabric, config);
  if (absl::Status status = CheckDeviceFree(fabric, config.device, "port.device");
      !config.device.empty() && !status.ok()) {
    return status;
  }
  if (MakesDevice(config.kind)) {
    if (absl::Status status = CheckNameFree(config.device, "port.device"); !status.ok()) {
      return status;
    }
    return CheckNameFree(config.peer_device, "port.peer_device");
  }
  auto link = FindLink(config.device);
  if (!link.ok()) return NoSuchDevice(config.device, "port.device");
  return AtField(CheckNoProgram(link->ifindex, link->name), "FOREIGN_XDP_PROGRAM", "port.device");
}

// `queues`: as many as there are; 0: not known.
absl::Status CheckPins(const Fabric& fabric, const UplinkConfig& config, size_t queues) {
  const std::vector<int>& cpus = fabric.processors().cpus();
  const auto uplink = fabric.uplinks().find(config.id);
  for (const auto& [queue, cpu] : config.queue_cpus) {
    // What was asked for before may have lost its queue or CPU since: it waits for them.
    if (uplink != fabric.uplinks().end()) {
      const auto held = uplink->second.config.queue_cpus.find(queue);
      if (held != uplink->second.config.queue_cpus.end() && held->second == cpu) continue;
    }
    const std::string field = absl::StrCat("uplink.queue_cpus[", queue, "]");
    if (queues != 0 && queue >= queues) {
      return Refuse(absl::StatusCode::kInvalidArgument, "QUEUE_OUT_OF_RANGE", field,
                    absl::StrCat("queue ", queue, " is to be pinned; uplinks/", config.id,
                                 " has queues 0 to ", queues - 1));
    }
    if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) {
      return Refuse(absl::StatusCode::kInvalidArgument, "CPU_NOT_IN_SET", field,
                    absl::StrCat("CPU ", cpu, " is not in the processor set, ",
                                 fabric.processors().ToString()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckQueue(const PortConfig& config, const UplinkRuntime& uplink) {
  const size_t queues = uplink.queues().size();
  if (!config.queue || *config.queue < queues) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument, "QUEUE_OUT_OF_RANGE", "port.queue",
                absl::StrCat("queue ", *config.queue, " asked for; uplinks/", config.uplink,
                             " has queues 0 to ", queues - 1));
}

absl::Status CheckMtu(const PortConfig& config, const UplinkRuntime& uplink) {
  const uint32_t most = uplink.MaxMtu();
  if (config.mtu <= most) return absl::OkStatus();
  const Link& link = uplink.link();
  const std::string why = link.mtu > most
                              ? "the most that AF_XDP on it takes"
                              : absl::StrCat("the most at its device's MTU of ", link.mtu,
                                             "; ip link set ", link.name, " mtu ", config.mtu);
  return Refuse(absl::StatusCode::kInvalidArgument, "MTU_OUT_OF_RANGE", "port.mtu",
                absl::StrCat(config.mtu, " is more than ", most, " on uplinks/", uplink.config().id,
                             ", ", why));
}

}  // namespace

absl::Status NoSuchUplink(std::string_view id, std::string_view field) {
  return NotFound("uplink", id, field);
}
absl::Status NoSuchPort(std::string_view id, std::string_view field) {
  return NotFound("port", id, field);
}

absl::Status AtField(const absl::Status& status, std::string_view reason, std::string_view field) {
  if (status.ok() || RefusalOf(status).reason != "UNKNOWN") return status;
  return Refuse(status.code(), reason, field, std::string(status.message()));
}

absl::Status CheckNewUplink(const Fabric& fabric, const UplinkConfig& config) {
  if (fabric.uplinks().contains(config.id)) {
    return Refuse(absl::StatusCode::kAlreadyExists, "UPLINK_EXISTS", "uplink_id",
                  absl::StrCat("uplinks/", config.id, " exists already"));
  }
  auto link = FindLink(config.device);
  if (!link.ok()) return NoSuchDevice(config.device, "uplink.device");
  if (absl::Status status = CheckDeviceFree(fabric, config.device, "uplink.device"); !status.ok()) {
    return status;
  }
  const auto queues = fabric.QueuesFor(config);
  if (!queues.ok()) return queues.status();
  if (absl::Status status = CheckPins(fabric, config, *queues); !status.ok()) return status;
  return AtField(CheckNoProgram(link->ifindex, link->name), "FOREIGN_XDP_PROGRAM", "uplink.device");
}

absl::Status CheckChangedUplink(const Fabric& fabric, const UplinkConfig& config) {
  const auto uplink = fabric.uplinks().find(config.id);
  const bool runs = uplink != fabric.uplinks().end() && uplink->second.runtime != nullptr;
  uint32_t queues = config.queues;
  if (uplink == fabric.uplinks().end() || config.queues == uplink->second.config.queues) {
    return CheckPins(fabric, config,
                     runs ? uplink->second.runtime->queues().size() : config.queues);
  }
  if (FindLink(config.device).ok()) {  // else it waits for its device, and then for its queues
    const auto served = fabric.QueuesFor(config);
    if (!served.ok()) return served.status();
    queues = *served;
  }
  if (absl::Status status = CheckPins(fabric, config, queues); !status.ok()) return status;
  std::vector<std::string> pinned;
  for (const auto& [id, port] : fabric.ports()) {
    const bool goes = queues != 0 && port.config.queue && *port.config.queue >= queues;
    if (port.config.uplink == config.id && goes) pinned.push_back(id);
  }
  if (pinned.empty()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition, "QUEUE_IN_USE", "uplink.queues",
                absl::StrCat("uplinks/", config.id, " would have queues 0 to ", queues - 1,
                             ", and ", CountAndNames(pinned),
                             " asked for others; give them a queue that stays, or delete them, "
                             "first"));
}

absl::StatusOr<PortConfig> WithUplink(const Fabric& fabric, PortConfig config) {
  if (!config.uplink.empty()) {
    if (fabric.uplinks().contains(config.uplink)) return config;
    return Refuse(
        absl::StatusCode::kFailedPrecondition, "NO_SUCH_UPLINK", "port.uplink",
        absl::StrCat("there is no uplinks/", config.uplink, "; 'vmqd-cli uplink list' lists them"));
  }
  if (fabric.uplinks().size() != 1) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "NO_SUCH_UPLINK", "port.uplink",
                  fabric.uplinks().empty()
                      ? "the switch has no uplink; add one first: vmqd-cli uplink add DEVICE"
                      : "the switch has several uplinks; say which one");
  }
  config.uplink = fabric.uplinks().begin()->first;
  return config;
}

absl::Status CheckNewPort(const Fabric& fabric, const PortConfig& config) {
  if (fabric.ports().contains(config.id)) {
    return Refuse(absl::StatusCode::kAlreadyExists, "PORT_EXISTS", "port_id",
                  absl::StrCat("ports/", config.id, " exists already"));
  }
  const Fabric::Uplink& uplink = fabric.uplinks().find(config.uplink)->second;
  if (uplink.runtime == nullptr) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "UPLINK_WAITING", "port.uplink",
                  absl::StrCat("uplinks/", config.uplink, " does not run: ", uplink.trouble,
                               "; add the port when it does"));
  }
  if (absl::Status status = CheckQueue(config, *uplink.runtime); !status.ok()) return status;
  if (absl::Status status = CheckMtu(config, *uplink.runtime); !status.ok()) return status;
  if (absl::Status status = CheckFilters(fabric, config); !status.ok()) return status;
  return CheckDevice(fabric, config);
}

absl::Status CheckChangedPort(const Fabric& fabric, const PortConfig& config) {
  const Fabric::Uplink& uplink = fabric.uplinks().find(config.uplink)->second;
  if (uplink.runtime != nullptr) {
    if (absl::Status status = CheckMtu(config, *uplink.runtime); !status.ok()) return status;
    if (absl::Status status = CheckQueue(config, *uplink.runtime); !status.ok()) return status;
  }
  return CheckFilters(fabric, config);
}

absl::Status CheckFilters(const Fabric& fabric, const PortConfig& config) {
  const Fabric::Uplink& uplink = fabric.uplinks().find(config.uplink)->second;
  for (size_t i = 0; i < config.macs.size(); ++i) {
    const MacAddress& mac = config.macs[i];
    const std::string field = absl::StrCat("port.macs[", i, "]");
    if (uplink.runtime != nullptr && mac == uplink.runtime->link().mac) {
      return Refuse(absl::StatusCode::kAlreadyExists, "MAC_IN_USE", field,
                    absl::StrCat(mac.ToString(), " is the address of ", uplink.config.device,
                                 " itself, which the host keeps"));
    }
    for (const auto& [id, port] : fabric.ports()) {
      const PortConfig& other = port.config;
      if (id == config.id || other.uplink != config.uplink || other.vlan != config.vlan) continue;
      if (std::find(other.macs.begin(), other.macs.end(), mac) == other.macs.end()) continue;
      return Refuse(absl::StatusCode::kAlreadyExists, "MAC_IN_USE", field,
                    absl::StrCat(mac.ToString(), " on VLAN ", config.vlan, " is ports/", id,
                                 "'s; use another address, or take it from that port first"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckUnused(const Fabric& fabric, std::string_view uplink) {
  std::vector<std::string> users;
  for (const auto& [id, port] : fabric.ports()) {
    if (port.config.uplink == uplink) users.push_back(id);
  }
  if (users.empty()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kFailedPrecondition, "UPLINK_IN_USE", "name",
                absl::StrCat("uplinks/", std::string(uplink), " has ", CountAndNames(users),
                             "; delete them first"));
}

}  // namespace vmqd

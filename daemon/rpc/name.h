// Resource names and device names: their one parser and their one printer. Pure functions; any
// thread. A refusal is INVALID_ARGUMENT and names `field`.
#ifndef VMQD_DAEMON_RPC_NAME_H_
#define VMQD_DAEMON_RPC_NAME_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd::rpc {

std::string UplinkName(const std::string& id);
std::string PortName(const std::string& id);
std::string QueueName(const std::string& uplink, uint32_t queue);
std::string EventName(uint64_t revision);  // in page tokens only

struct QueueId {
  std::string uplink;
  uint32_t queue = 0;
  friend auto operator<=>(const QueueId&, const QueueId&) = default;
};

// "uplinks/{uplink}", "ports/{port}", "uplinks/{uplink}/queues/{queue}" -> the ids in them.
absl::StatusOr<std::string> ParseUplinkName(const std::string& name, const std::string& field);
absl::StatusOr<std::string> ParsePortName(const std::string& name, const std::string& field);
absl::StatusOr<QueueId> ParseQueueName(const std::string& name, const std::string& field);
absl::StatusOr<uint64_t> ParseEventName(const std::string& name, const std::string& field);

// 1-63 letters, digits, '.', '_', '-', starting with a letter or digit, so that "-" stays free to
// mean any uplink.
absl::Status CheckUplinkId(const std::string& id, const std::string& field);
// 1-63 of a-z, 0-9 and '-', starting with a letter.
absl::Status CheckPortId(const std::string& id, const std::string& field);
// What the kernel accepts as the name of an interface.
absl::Status CheckDeviceName(const std::string& device, const std::string& field);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_NAME_H_

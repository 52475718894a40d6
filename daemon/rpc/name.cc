// See name.h.
#include "daemon/rpc/name.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/rpc/error.h"

namespace vmqd::rpc {
namespace {

constexpr char kUplinks[] = "uplinks/";
constexpr char kPorts[] = "ports/";
constexpr char kQueues[] = "/queues/";
constexpr char kEvents[] = "events/";
constexpr size_t kMaxId = 63;
constexpr size_t kMaxDeviceName = 15;  // IFNAMSIZ without its terminating zero

absl::Status Malformed(std::string_view reason, const std::string& field, const std::string& value,
                       const char* expected) {
  return Invalid(reason, field, absl::StrCat(Quoted(value), " is not ", expected));
}

// What follows `prefix` in `name`; absent when it starts otherwise.
std::optional<std::string> After(const std::string& prefix, const std::string& name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  return name.substr(prefix.size());
}

bool IsUplinkId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxId && absl::ascii_isalnum(id.front()) &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

bool IsPortId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxId && absl::ascii_islower(id.front()) &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
         });
}

}  // namespace

std::string UplinkName(const std::string& id) { return absl::StrCat(kUplinks, id); }

std::string PortName(const std::string& id) { return absl::StrCat(kPorts, id); }

std::string QueueName(const std::string& uplink, uint32_t queue) {
  return absl::StrCat(kUplinks, uplink, kQueues, queue);
}

std::string EventName(uint64_t revision) { return absl::StrCat(kEvents, revision); }

absl::StatusOr<std::string> ParseUplinkName(const std::string& name, const std::string& field) {
  if (auto id = After(kUplinks, name); id.has_value() && IsUplinkId(*id)) return *id;
  return Malformed("NAME_MALFORMED", field, name, "the name of an uplink, \"uplinks/{uplink}\"");
}

absl::StatusOr<std::string> ParsePortName(const std::string& name, const std::string& field) {
  if (auto id = After(kPorts, name); id.has_value() && IsPortId(*id)) return *id;
  return Malformed("NAME_MALFORMED", field, name, "the name of a port, \"ports/{port}\"");
}

absl::StatusOr<QueueId> ParseQueueName(const std::string& name, const std::string& field) {
  const std::string path = After(kUplinks, name).value_or("");
  if (const size_t split = path.find(kQueues); split != std::string::npos) {
    QueueId id{.uplink = path.substr(0, split)};
    // Only the canonical spelling, so that a name identifies and compares byte by byte.
    if (IsUplinkId(id.uplink) &&
        absl::SimpleAtoi(path.substr(split + std::strlen(kQueues)), &id.queue) &&
        QueueName(id.uplink, id.queue) == name) {
      return id;
    }
  }
  return Malformed("NAME_MALFORMED", field, name,
                   "the name of a queue, \"uplinks/{uplink}/queues/{number}\"");
}

absl::StatusOr<uint64_t> ParseEventName(const std::string& name, const std::string& field) {
  uint64_t revision = 0;
  const std::string number = After(kEvents, name).value_or("");
  if (absl::SimpleAtoi(number, &revision) && EventName(revision) == name) return revision;
  return Malformed("NAME_MALFORMED", field, name, "the name of an event, \"events/{revision}\"");
}

absl::Status CheckUplinkId(const std::string& id, const std::string& field) {
  if (IsUplinkId(id)) return absl::OkStatus();
  return Malformed("ID_MALFORMED", field, id,
                   "an uplink id: 1-63 letters, digits, '.', '_' or '-', starting with a letter or "
                   "digit");
}

absl::Status CheckPortId(const std::string& id, const std::string& field) {
  if (IsPortId(id)) return absl::OkStatus();
  return Malformed("ID_MALFORMED", field, id,
                   "a port id: 1-63 of a-z, 0-9 and '-', starting with a letter");
}

absl::Status CheckDeviceName(const std::string& device, const std::string& field) {
  const bool legal = !device.empty() && device.size() <= kMaxDeviceName && device != "." &&
                     device != ".." && std::all_of(device.begin(), device.end(), [](char c) {
                       return absl::ascii_isgraph(c) && c != '/' && c != ':' && c != '%';
                     });
  if (legal) return absl::OkStatus();
  return Malformed("DEVICE_NAME_MALFORMED", field, device,
                   "the name of a network device: 1-15 characters without '/', ':', '%' or blanks");
}

}  // namespace vmqd::rpc

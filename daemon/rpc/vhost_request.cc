// See vhost_request.h.
#include "daemon/rpc/vhost_request.h"

#include <algorithm>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"

namespace vmqd::rpc {
namespace {

// vhost_user.directory of the settings is held so short that such a name always fits behind it.
constexpr size_t kLongestSocketName = 63;

absl::Status NotAllowed(const char* field) {
  return Invalid("FIELD_NOT_ALLOWED", field, "only VHOST_USER ports have one; leave it out");
}

absl::Status CheckSocket(const std::string& socket) {
  if (socket.empty()) {
    return Invalid("FIELD_REQUIRED", "port.socket", "name the socket, such as vm1.sock");
  }
  const bool legal = socket.size() <= kLongestSocketName && socket[0] != '.' &&
                     std::all_of(socket.begin(), socket.end(), [](char c) {
                       return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
                              c == '_' || c == '-';
                     });
  if (legal) return absl::OkStatus();
  return Invalid("SOCKET_NAME_MALFORMED", "port.socket",
                 absl::StrCat(Quoted(socket),
                              " is not the name of a socket: 1-63 of A-Z a-z 0-9 . _ -, not a dot "
                              "first. Only a name: which directory it is in is the daemon's "
                              "setting vhost_user.directory"));
}

absl::StatusOr<VhostRole> RoleFrom(v1::VhostRole role) {
  switch (role) {
    case v1::VHOST_ROLE_UNSPECIFIED:
    case v1::SWITCH_LISTENS:
      return VhostRole::kSwitchListens;
    case v1::VMM_LISTENS:
      return VhostRole::kVmmListens;
    default:
      return UnknownEnum("port.vhost_role", role, "SWITCH_LISTENS and VMM_LISTENS");
  }
}

absl::Status CheckNothingSaid(const v1::Port& port) {
  if (!port.socket().empty()) return NotAllowed("port.socket");
  if (port.vhost_role() != v1::VHOST_ROLE_UNSPECIFIED) return NotAllowed("port.vhost_role");
  if (port.has_queue_pairs()) return NotAllowed("port.queue_pairs");
  return CheckCoalescing(port);
}

}  // namespace

absl::Status CheckNoDevices(const v1::Port& port) {
  constexpr char kNone[] = "VHOST_USER ports have none but a socket; leave it empty";
  if (!port.device().empty()) return Invalid("FIELD_NOT_ALLOWED", "port.device", kNone);
  if (!port.peer_device().empty()) return Invalid("FIELD_NOT_ALLOWED", "port.peer_device", kNone);
  return absl::OkStatus();
}

absl::Status CheckCoalescing(const v1::Port& port) {
  const bool fits = port.kind() == v1::VHOST_USER || port.kind() == v1::PORT_KIND_UNSPECIFIED;
  if (fits || !port.coalescing_off()) return absl::OkStatus();
  return Invalid("FIELD_NOT_ALLOWED", "port.coalescing_off",
                 "segments are joined for VHOST_USER ports only; leave it out");
}

absl::Status ReadVhostFields(const v1::Port& port, PortConfig& config) {
  if (config.kind != PortKind::kVhostUser) return CheckNothingSaid(port);
  if (auto status = CheckSocket(port.socket()); !status.ok()) return status;
  const auto role = RoleFrom(port.vhost_role());
  if (!role.ok()) return role.status();
  if (port.has_queue_pairs() && (port.queue_pairs() < 1 || port.queue_pairs() > kMaxQueuePairs)) {
    return Invalid(
        "QUEUE_PAIRS_OUT_OF_RANGE", "port.queue_pairs",
        absl::StrCat(port.queue_pairs(), " is not a number of queue pairs: 1-", kMaxQueuePairs));
  }
  config.socket = port.socket();
  config.vhost_role = *role;
  if (port.has_queue_pairs()) config.queue_pairs = port.queue_pairs();
  config.coalescing_off = port.coalescing_off();
  return absl::OkStatus();
}

}  // namespace vmqd::rpc

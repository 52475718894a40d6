// The desired state as the messages of proto/vmqd/v1/state.proto, in bytes, and back. What is read
// passes the same checks as a request of the API. Pure functions; any thread.
#ifndef VMQD_DAEMON_STORE_STATE_MESSAGE_H_
#define VMQD_DAEMON_STORE_STATE_MESSAGE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "daemon/control/state.h"

namespace vmqd {

inline constexpr size_t kStateIdDigits = 16;

std::string SnapshotToBytes(const DesiredState& state);
// kInvalidArgument when both an uplink and a port are deleted: a message has room for one name.
absl::StatusOr<std::string> ChangeToBytes(const StateChange& change);

// Errors say what does not fit. `unknown_fields` is set, never cleared, when the message has fields
// which this daemon does not know and has left out.
absl::StatusOr<DesiredState> SnapshotFromBytes(std::string_view bytes, bool& unknown_fields);
absl::StatusOr<StateChange> ChangeFromBytes(std::string_view bytes, bool& unknown_fields);

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_STATE_MESSAGE_H_

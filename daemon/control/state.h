// The desired state: what survives the daemon. Switch changes it, a StateStore keeps it. Values;
// the store is called under the Switch's mutex.
#ifndef VMQD_DAEMON_CONTROL_STATE_H_
#define VMQD_DAEMON_CONTROL_STATE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "daemon/control/model.h"
#include "daemon/xdp/borrowed.h"

namespace vmqd {

// How many answers are remembered for callers that repeat a request_id.
inline constexpr size_t kRememberedReplies = 1000;

struct DesiredUplink {
  UplinkConfig config;
  uint64_t revision = 0;  // of its last change
  friend bool operator==(const DesiredUplink&, const DesiredUplink&) = default;
};
struct DesiredPort {
  PortConfig config;  // uplink and device filled in
  uint64_t revision = 0;
  friend bool operator==(const DesiredPort&, const DesiredPort&) = default;
};

// The answer to a change, under the id its caller gave it. monostate: a deletion.
struct Reply {
  std::string request_id;
  std::string fingerprint;  // of method and content
  std::variant<std::monostate, DesiredUplink, DesiredPort> resource;
  friend bool operator==(const Reply&, const Reply&) = default;
};

struct DesiredState {
  uint64_t revision = 0;     // of the last change
  uint64_t incarnation = 0;  // starts of the daemon
  std::string boot_id;       // of the machine when the incarnation began
  std::string state_id;      // 16 hex digits; marks the devices that vmqd makes
  std::map<std::string, DesiredUplink, std::less<>> uplinks;  // by id
  std::map<std::string, DesiredPort, std::less<>> ports;      // by id
  std::deque<Reply> replies;  // oldest first, at most kRememberedReplies
  std::vector<BorrowedSetting> borrowed;
  friend bool operator==(const DesiredState&, const DesiredState&) = default;
};

// One change; fields that are absent or empty change nothing.
struct StateChange {
  uint64_t revision = 0;  // greater than that of the state it changes
  uint64_t incarnation = 0;
  std::string boot_id;
  std::variant<std::monostate, DesiredUplink, DesiredPort> put;
  std::string deleted_uplink;  // id
  std::string deleted_port;    // id
  std::optional<Reply> reply;
  std::optional<std::vector<BorrowedSetting>> borrowed;  // replaces all of them
};

// What `change` makes of `state`.
void Apply(const StateChange& change, DesiredState& state);

class StateStore {
 public:
  virtual ~StateStore() = default;
  // Durable when it returns OK. On error (kResourceExhausted: the disk is full; kInternal) nothing
  // changed, and the store takes further changes.
  virtual absl::Status Commit(const StateChange& change) = 0;
  // All that was committed.
  virtual const DesiredState& state() const = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_STATE_H_

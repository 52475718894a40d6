// The directory on a bpf file system in which links survive the daemon. One directory belongs to
// one daemon. Control threads.
#ifndef VMQD_DAEMON_XDP_PIN_H_
#define VMQD_DAEMON_XDP_PIN_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace vmqd {

// "<dir>/<kind>-<id>", with what a bpf file system takes for no name (a dot) escaped.
std::string PinPath(std::string_view dir, std::string_view kind, std::string_view id);

// Makes `dir` when its parent is on a bpf file system. kFailedPrecondition when it is not on one,
// kPermissionDenied when this process may not write there; the message says what would do.
absl::Status PreparePinDirectory(const std::string& dir);

// The file names of the links in `dir`, sorted: the last part of what PinPath makes. Empty when
// there is no such directory.
std::vector<std::string> PinnedNames(const std::string& dir);

// Detaches the link pinned at `pin`, a path as PinPath makes it, and removes the pin with what lies
// beside it. The program is gone from the device when it returns. OK when there is no such pin.
absl::Status RemovePin(const std::string& pin);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_PIN_H_

// What /etc/vmqd/vmqd.yaml says: read, checked, its gaps filled. The schema and its comments are
// proto/vmqd/v1/settings.proto; deploy/vmqd.yaml explains every setting to the operator. Main
// thread; nothing but the file itself is read.
#ifndef VMQD_DAEMON_SETTINGS_SETTINGS_H_
#define VMQD_DAEMON_SETTINGS_SETTINGS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd {

inline constexpr char kSettingsFile[] = "/etc/vmqd/vmqd.yaml";

// The settings in the file, checked and with every default filled in. A file that is not there is
// as good as an empty one unless `must_exist`; then NotFound. FailedPrecondition: it cannot be
// read. InvalidArgument names every mistake with its line, one a line:
//   /etc/vmqd/vmqd.yaml:7:9: control.mode: "0999" is not an octal mode such as "0660"
absl::StatusOr<v1::DaemonSettings> LoadSettings(const std::string& path, bool must_exist);

// Says what is wrong with settings that did not come from a file alone, e.g. after flags overrode
// some. InvalidArgument, as above but without file and line.
absl::Status CheckSettings(const v1::DaemonSettings& settings);

// Fills in what was left out; see settings.proto. processor_set stays empty: its default depends on
// the machine.
void FillDefaults(v1::DaemonSettings& settings);

// On SIGHUP. What `running` becomes: all that can be reloaded is taken from `wanted`.
v1::DaemonSettings Reloaded(const v1::DaemonSettings& running, const v1::DaemonSettings& wanted);
// The paths ("tcp.address") of what differs and needs a restart.
std::vector<std::string> NeedRestart(const v1::DaemonSettings& running,
                                     const v1::DaemonSettings& wanted);

// The mode of sockets in settings that passed the check.
mode_t ModeOf(const v1::UnixListener& listener);
mode_t ModeOf(const v1::VhostUser& vhost);

}  // namespace vmqd

#endif  // VMQD_DAEMON_SETTINGS_SETTINGS_H_

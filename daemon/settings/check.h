// The checks of settings that the message types alone do not make. Pure.
#ifndef VMQD_DAEMON_SETTINGS_CHECK_H_
#define VMQD_DAEMON_SETTINGS_CHECK_H_

#include <string>
#include <vector>

#include "proto/yaml/yaml.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd {

// One sentence per mistake, each led by the position of its field; empty when all is well. Fields
// that were left out are not looked at, but for those without a default.
std::vector<std::string> Mistakes(const v1::DaemonSettings& settings,
                                  const YamlPositions& positions);

}  // namespace vmqd

#endif  // VMQD_DAEMON_SETTINGS_CHECK_H_

// SwitchConfig, the file that `apply` reads and `switch export` writes, in two shapes: as people
// write it, with what goes without saying left out, and complete, with every name in full and every
// default said, so that two of them compare. No daemon needed.
#ifndef VMQD_CLIENT_SWITCH_CONFIG_H_
#define VMQD_CLIENT_SWITCH_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/yaml/yaml.h"
#include "vmqd/v1/config.pb.h"

namespace vmqd::cli {

struct SwitchConfigFile {
  v1::SwitchConfig config;  // complete; indices are those of the file
  YamlPositions positions;
};

// Reads `path`, "-" for standard input. An error is in sentences, one a line: what cannot be read,
// or every mistake with its line. A file without any content is an error: more often than not,
// whatever should have written it failed.
absl::StatusOr<SwitchConfigFile> ReadSwitchConfig(const std::string& path);
absl::StatusOr<SwitchConfigFile> ParseSwitchConfig(const std::string& text,
                                                   const std::string& label);

// A resource as the daemon tells it, or as a file says it, made complete. What vmqd tells beyond
// what it was asked for is dropped.
v1::Uplink Complete(v1::Uplink uplink);
v1::Port Complete(v1::Port port);

// The file for what the daemon tells: short names, no defaults.
v1::SwitchConfig AsWritten(const v1::SwitchConfig& seen);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_SWITCH_CONFIG_H_

// Finds in a state directory the newest state that can be read, and says what is wrong with the
// rest. Changes nothing on disk. Called once, by OpenStateDirectory.
#ifndef VMQD_DAEMON_STORE_STATE_LOADER_H_
#define VMQD_DAEMON_STORE_STATE_LOADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/store/directory.h"
#include "daemon/store/state_file.h"

namespace vmqd {

// "state.7" and back; absent for a name that is not a generation's.
std::string GenerationName(uint64_t generation);
std::vector<uint64_t> Generations(const std::vector<std::string>& names);  // newest first

inline constexpr std::string_view kStatePrefix = "state.";
inline constexpr std::string_view kDamaged = ".damaged";  // ends a file kept for inspection

struct LoadedState {
  uint64_t newest = 0;  // generation; 0: the directory is fresh, and nothing else is set
  std::string bytes;    // of the newest, unless `damaged` names it
  ParsedStateFile parsed;
  std::vector<uint64_t> damaged;      // generations of which nothing but changes could be read
  std::vector<std::string> warnings;  // in sentences
};

// kDataLoss: there are files and none can be read; kFailedPrecondition: this daemon is not the one
// to read them. The sentence says what to do.
absl::StatusOr<LoadedState> LoadState(const Directory& directory);

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_STATE_LOADER_H_

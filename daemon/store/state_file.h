// What the bytes of a state file say: a snapshot, then one change after the other, up to the mark
// of the end or to the first damage. Pure functions; any thread. Errors are
//   kDataLoss         header or snapshot are damaged
//   kUnimplemented    the format is newer than this daemon knows
//   kInvalidArgument  a record is undamaged and says what this daemon does not accept: no accident
//                     of the disk, so that falling back to something older would be wrong
#ifndef VMQD_DAEMON_STORE_STATE_FILE_H_
#define VMQD_DAEMON_STORE_STATE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/state.h"

namespace vmqd {

struct Replayed {
  size_t changes = 0;       // applied
  size_t good_end = 0;      // byte of the file behind the last of them
  bool whole = false;       // the mark of the end follows, and nothing else
  size_t lost_changes = 0;  // undamaged ones behind damage
  uint64_t lost_until = 0;  // revision of the last of those
  bool unknown_fields = false;
};

struct ParsedStateFile {
  DesiredState state;
  size_t snapshot_bytes = 0;
  Replayed replayed;
};

absl::StatusOr<ParsedStateFile> ParseStateFile(std::string_view file);

// Applies the changes of a file whose own snapshot is damaged to the state at the end of the
// generation before, which is what that snapshot was made of. Changes made for another state are
// not applied and count as lost.
absl::StatusOr<Replayed> ReplayBehindDamage(std::string_view file, DesiredState& state);

// A file with nothing but a snapshot of `state` and the mark of the end, and where in it the mark
// is: at the place of the next record.
struct NewStateFile {
  std::string bytes;
  size_t snapshot_bytes = 0;
  size_t good_end = 0;
};
NewStateFile MakeStateFile(const DesiredState& state);

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_STATE_FILE_H_

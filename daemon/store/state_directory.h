// The state directory: where the desired state outlives the daemon.
//
//   state.<n>          the state, generation n: a snapshot and the changes since (state_record.h)
//   state.<n-1>        the generation before, for the day on which the newest cannot be read
//   state.<n>.damaged  a file as it was found damaged, for inspection; vmqd never reads or removes
//   it lock               held by the daemon that uses the directory; says its process id
//
// A change is one write at the end of the newest file and one fdatasync. When the file has grown to
// twice its snapshot, a new generation is written beside it and renamed into place.
//
// Not thread-safe: Switch calls it under its mutex. It writes from the calling thread only.
#ifndef VMQD_DAEMON_STORE_STATE_DIRECTORY_H_
#define VMQD_DAEMON_STORE_STATE_DIRECTORY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/control/state.h"

namespace vmqd {

struct StateDirectoryOptions {
  std::string path;
  // A file below this size, in bytes, is not written anew: some thousand changes.
  size_t turn_over_bytes = size_t{256} << 10;
};

struct OpenedState {
  // Holds the lock until it is destroyed. Commit answers, beside what StateStore says, kInternal
  // for a change that could not be read back: one whose revision is not greater than the state's,
  // with text that is not UTF-8, or with a config that the API would refuse.
  std::unique_ptr<StateStore> store;
  // What was found wrong and what was done about it, in sentences, for the log and for
  // SwitchStatus::warnings. Empty: all is well.
  std::vector<std::string> warnings;
};

// Brings back the newest state that can be read, or begins an empty one, with a new state_id, in a
// directory without one. What is returned is durable. Errors are sentences for the operator:
//   kFailedPrecondition  no usable directory, another daemon uses it, a newer vmqd wrote it
//   kDataLoss            there are state files and none can be read: better no daemon than an
//                        empty switch
//   kResourceExhausted   the disk is too full to begin
//   kInternal            a system call failed
absl::StatusOr<OpenedState> OpenStateDirectory(const StateDirectoryOptions& options);

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_STATE_DIRECTORY_H_

// Any bytes as a state file. The first byte says how the rest is meant: even, as the file itself;
// odd, as payloads, two bytes of length (big endian) before each, to which the framing is made, so
// that what lies behind the checksums is reached too.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/store/state_file.h"
#include "daemon/store/state_message.h"
#include "daemon/store/state_record.h"
#include "google/protobuf/stubs/logging.h"
#include "tests/fuzz/invariant.h"

namespace vmqd {
namespace {

// The first payload is the snapshot.
std::string Frame(std::string_view input) {
  std::string file = StateHeader();
  uint64_t revision = 0;
  bool snapshot = true;
  while (input.size() >= 2) {
    const size_t length = static_cast<uint8_t>(input[0]) << 8 | static_cast<uint8_t>(input[1]);
    const std::string_view payload = input.substr(2, length);
    input.remove_prefix(2 + payload.size());
    file += MakeRecord(file.size(), revision, payload);
    bool unknown_fields = false;
    if (snapshot) {
      const auto state = SnapshotFromBytes(payload, unknown_fields);
      if (state.ok()) revision = state->revision;
    } else {
      const auto change = ChangeFromBytes(payload, unknown_fields);
      if (change.ok()) revision = change->revision;
    }
    snapshot = false;
  }
  return file + MakeRecord(file.size(), revision, "");
}

void Check(std::string_view file) {
  DesiredState other;
  const auto behind = ReplayBehindDamage(file, other);
  INVARIANT(!behind.ok() || behind->good_end <= file.size());
  const auto parsed = ParseStateFile(file);
  if (!parsed.ok()) return;
  INVARIANT(parsed->replayed.good_end <= file.size());
  INVARIANT(parsed->snapshot_bytes <= file.size());
  INVARIANT(!parsed->replayed.whole || parsed->replayed.lost_changes == 0);
  // What was accepted can be written and comes back as it is.
  const auto again = ParseStateFile(MakeStateFile(parsed->state).bytes);
  INVARIANT(again.ok());
  INVARIANT(again->state == parsed->state);
  INVARIANT(again->replayed.whole);
}

}  // namespace
}  // namespace vmqd

// protobuf prints a line for every text that is not UTF-8.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  vmqd::Check(data[0] % 2 == 0 ? std::string(input) : vmqd::Frame(input));
  return 0;
}

// See state_file.h.
#include "daemon/store/state_file.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/store/state_message.h"
#include "daemon/store/state_record.h"

namespace vmqd {
namespace {

absl::Status NotAccepted(size_t place, const absl::Status& why) {
  return absl::InvalidArgumentError(absl::StrCat("the record at byte ", place,
                                                 " is undamaged, but this daemon does not accept "
                                                 "what it says (",
                                                 std::string(why.message()), ")"));
}

void CountLost(std::string_view file, Replayed& replayed) {
  for (auto place = FindRecord(file, replayed.good_end); place.has_value();) {
    const RecordView record = *ReadRecord(file, *place);
    bool unknown_fields = false;
    const auto change = ChangeFromBytes(record.payload, unknown_fields);
    if (!record.payload.empty() && change.ok()) {
      ++replayed.lost_changes;
      replayed.lost_until = change->revision;
    }
    place = FindRecord(file, record.end);
  }
}

absl::StatusOr<Replayed> Replay(std::string_view file, size_t place, DesiredState& state) {
  Replayed replayed{.good_end = place};
  while (const auto record = ReadRecord(file, replayed.good_end)) {
    if (record->revision_before != state.revision) break;
    if (record->payload.empty()) {
      replayed.whole = record->end == file.size();
      break;
    }
    const auto change = ChangeFromBytes(record->payload, replayed.unknown_fields);
    if (!change.ok()) return NotAccepted(replayed.good_end, change.status());
    if (change->revision <= state.revision) {
      return NotAccepted(replayed.good_end,
                         absl::InvalidArgumentError(absl::StrCat("revision ", change->revision,
                                                                 " behind ", state.revision)));
    }
    Apply(*change, state);
    ++replayed.changes;
    replayed.good_end = record->end;
  }
  if (!replayed.whole) CountLost(file, replayed);
  return replayed;
}

}  // namespace

absl::StatusOr<ParsedStateFile> ParseStateFile(std::string_view file) {
  const std::optional<uint32_t> format = StateFormatOf(file);
  if (!format.has_value()) return absl::DataLossError("its first 16 bytes are damaged or missing");
  if (*format > kStateFormat) {
    return absl::UnimplementedError(absl::StrCat(
        "it has format ", *format, "; this daemon knows formats up to ", kStateFormat));
  }
  const auto snapshot = ReadRecord(file, kStateHeaderBytes);
  if (!snapshot.has_value() || snapshot->payload.empty()) {
    return absl::DataLossError("its snapshot is damaged or missing");
  }
  bool unknown_fields = false;
  auto state = SnapshotFromBytes(snapshot->payload, unknown_fields);
  if (!state.ok()) return NotAccepted(kStateHeaderBytes, state.status());
  ParsedStateFile parsed{.state = *std::move(state), .snapshot_bytes = snapshot->payload.size()};
  auto replayed = Replay(file, snapshot->end, parsed.state);
  if (!replayed.ok()) return replayed.status();
  parsed.replayed = *replayed;
  parsed.replayed.unknown_fields |= unknown_fields;
  return parsed;
}

absl::StatusOr<Replayed> ReplayBehindDamage(std::string_view file, DesiredState& state) {
  const auto snapshot = ReadRecord(file, kStateHeaderBytes);  // the header may be all the damage
  const std::optional<size_t> place =
      snapshot.has_value() ? snapshot->end : FindRecord(file, kStateHeaderBytes);
  return Replay(file, place.value_or(file.size()), state);
}

NewStateFile MakeStateFile(const DesiredState& state) {
  NewStateFile file{.bytes = StateHeader()};
  const std::string snapshot = SnapshotToBytes(state);
  file.snapshot_bytes = snapshot.size();
  file.bytes += MakeRecord(file.bytes.size(), 0, snapshot);
  file.good_end = file.bytes.size();
  file.bytes += MakeRecord(file.good_end, state.revision, "");
  return file;
}

}  // namespace vmqd

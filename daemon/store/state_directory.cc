// See state_directory.h.
#include "daemon/store/state_directory.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/control/error.h"
#include "daemon/store/directory.h"
#include "daemon/store/generation.h"
#include "daemon/store/state_file.h"
#include "daemon/store/state_loader.h"
#include "daemon/store/state_message.h"
#include "daemon/store/state_record.h"

namespace vmqd {
namespace {

constexpr char kLock[] = "lock";

// A file is written anew when it is this many times its snapshot. A start reads 1000 changes in
// some 20 ms, about as long as the snapshot of 1000 ports and as many replies takes: so neither
// outgrows the other, and writing snapshots costs no more than writing changes does.
constexpr size_t kGrowth = 2;

absl::StatusOr<std::string> NewStateId() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
    return absl::InternalError(
        absl::StrCat("no random number for a new state: ", std::generic_category().message(errno)));
  }
  return absl::StrFormat("%016x", number);
}

absl::Status NotWritten(const std::string& why) {
  return Refuse(absl::StatusCode::kInternal, "STATE_NOT_WRITTEN", "",
                absl::StrCat("the change was not written to the state directory: ", why));
}

class StateDirectory final : public StateStore {
 public:
  StateDirectory(Directory directory, File lock, size_t turn_over_bytes)
      : directory_(std::move(directory)),
        lock_(std::move(lock)),
        turn_over_bytes_(turn_over_bytes) {}

  absl::Status Begin();
  std::vector<std::string> TakeUp(LoadedState loaded);

  absl::Status Commit(const StateChange& change) override;
  const DesiredState& state() const override { return state_; }

 private:
  bool CutTail(const LoadedState& loaded, std::vector<std::string>& warnings);
  absl::Status NewGeneration(const DesiredState& state);
  void SetAside(std::vector<std::string>& warnings);
  void RemoveUnfinished() const;
  void RemoveOld() const;
  void TurnOverIfLarge();

  Directory directory_;
  File lock_;
  size_t turn_over_bytes_;
  DesiredState state_;
  uint64_t newest_ = 0;            // generation, of any file there is
  Generation current_;             // not usable: the next change begins another
  size_t turn_over_at_ = 0;        // bytes
  std::vector<uint64_t> damaged_;  // generations to be renamed once there is a good newer one
};

// What a newly made state is: durable before anybody is told of its id.
absl::Status StateDirectory::Begin() {
  auto id = NewStateId();
  if (!id.ok()) return id.status();
  state_.state_id = *std::move(id);
  return NewGeneration(state_);
}

// Goes on with what was loaded and repairs what is wrong with it, as far as the disk allows: where
// it does not, the files stay as they are, and the next change tries again.
std::vector<std::string> StateDirectory::TakeUp(LoadedState loaded) {
  std::vector<std::string> warnings = std::move(loaded.warnings);
  state_ = std::move(loaded.parsed.state);
  newest_ = loaded.newest;
  RemoveUnfinished();
  damaged_ = std::move(loaded.damaged);
  if (!damaged_.empty()) {
    if (auto status = NewGeneration(state_); !status.ok()) {
      warnings.push_back(std::string(status.message()));
      return warnings;
    }
    SetAside(warnings);
    return warnings;
  }
  if (!loaded.parsed.replayed.whole && !CutTail(loaded, warnings)) return warnings;
  const std::string name = GenerationName(newest_);
  auto file = directory_.OpenToWrite(name);
  if (!file.ok()) {
    warnings.push_back(std::string(file.status().message()));
    return warnings;
  }
  current_ = Generation(*std::move(file), name, loaded.parsed.replayed.good_end);
  turn_over_at_ = std::max(turn_over_bytes_, kGrowth * loaded.parsed.snapshot_bytes);
  return warnings;
}

// Puts the file without what is wrong with its end in its place, and a copy of what was found
// beside it.
bool StateDirectory::CutTail(const LoadedState& loaded, std::vector<std::string>& warnings) {
  const std::string name = GenerationName(newest_);
  const std::string copy = absl::StrCat(name, std::string(kDamaged));
  absl::Status status = directory_.Write(copy, loaded.bytes).status;
  if (status.ok()) {
    const size_t end = loaded.parsed.replayed.good_end;
    status =
        directory_.Write(name, loaded.bytes.substr(0, end) + MakeRecord(end, state_.revision, ""))
            .status;
  }
  warnings.push_back(status.ok()
                         ? absl::StrCat("The file as it was found is ", directory_.PathOf(copy))
                         : std::string(status.message()));
  return status.ok();
}

absl::Status StateDirectory::NewGeneration(const DesiredState& state) {
  const std::string name = GenerationName(newest_ + 1);
  const NewStateFile file = MakeStateFile(state);
  Directory::Written written = directory_.Write(name, file.bytes);
  if (!written.in_place) return written.status;
  ++newest_;
  if (!written.status.ok()) {
    // The name may vanish with a power failure, and with it all that would be written to the file:
    // it must not become the current one.
    current_ = Generation();
    return written.status;
  }
  current_ = Generation(std::move(written.file), name, file.good_end);
  turn_over_at_ = std::max(turn_over_bytes_, kGrowth * file.snapshot_bytes);
  return absl::OkStatus();
}

// Damaged generations are renamed last: until the new one is there, they are evidence that the
// generation before them is not the newest.
void StateDirectory::SetAside(std::vector<std::string>& warnings) {
  for (const uint64_t generation : damaged_) {
    const std::string name = GenerationName(generation);
    const std::string aside = absl::StrCat(name, std::string(kDamaged));
    const absl::Status status = directory_.Rename(name, aside);
    warnings.push_back(status.ok()
                           ? absl::StrCat("The damaged file is now ", directory_.PathOf(aside))
                           : std::string(status.message()));
  }
  damaged_.clear();
}

// What a daemon left that died while it wrote a file; it was never part of the state.
void StateDirectory::RemoveUnfinished() const {
  const auto names = directory_.List();
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (name.starts_with(kStatePrefix) && name.ends_with(kUnfinished)) directory_.Remove(name);
  }
}

void StateDirectory::RemoveOld() const {
  const auto names = directory_.List();
  if (!names.ok()) return;
  const std::vector<uint64_t> generations = Generations(*names);
  for (size_t i = 2; i < generations.size(); ++i) directory_.Remove(GenerationName(generations[i]));
}

absl::Status StateDirectory::Commit(const StateChange& change) {
  if (change.revision <= state_.revision) {
    return NotWritten(
        absl::StrCat("its revision ", change.revision, " is not behind ", state_.revision));
  }
  auto bytes = ChangeToBytes(change);
  if (!bytes.ok()) return NotWritten(std::string(bytes.status().message()));
  // What is written, and what memory holds, is what the next daemon will read.
  bool unknown_fields = false;
  auto read_back = ChangeFromBytes(*bytes, unknown_fields);
  if (!read_back.ok()) {
    return NotWritten(
        absl::StrCat("it could not be read back: ", std::string(read_back.status().message())));
  }
  if (current_.usable()) {
    auto status = current_.Append(directory_, state_.revision, change.revision, *bytes);
    if (!status.ok()) return status;
    Apply(*read_back, state_);
    TurnOverIfLarge();
    return absl::OkStatus();
  }
  DesiredState changed = state_;
  Apply(*read_back, changed);
  if (auto status = NewGeneration(changed); !status.ok()) return status;
  state_ = std::move(changed);
  std::vector<std::string> told;
  SetAside(told);
  for (const std::string& sentence : told) spdlog::warn("state: {}", sentence);
  RemoveOld();
  return absl::OkStatus();
}

// The change is durable already: what fails here fails nobody.
void StateDirectory::TurnOverIfLarge() {
  if (current_.bytes() < turn_over_at_) return;
  if (const absl::Status status = NewGeneration(state_); status.ok()) {
    RemoveOld();
  } else {
    turn_over_at_ = current_.bytes() + turn_over_bytes_ / 4;
    spdlog::warn("state: {}; until that works, {} grows", std::string(status.message()),
                 GenerationName(newest_));
  }
}

}  // namespace

absl::StatusOr<OpenedState> OpenStateDirectory(const StateDirectoryOptions& options) {
  auto directory = Directory::Open(options.path);
  if (!directory.ok()) return directory.status();
  auto lock = directory->Lock(kLock);
  if (!lock.ok()) return lock.status();
  auto loaded = LoadState(*directory);
  if (!loaded.ok()) return loaded.status();
  const bool fresh = loaded->newest == 0;
  auto store = std::make_unique<StateDirectory>(*std::move(directory), *std::move(lock),
                                                options.turn_over_bytes);
  OpenedState opened;
  if (!fresh) {
    opened.warnings = store->TakeUp(*std::move(loaded));
  } else if (auto status = store->Begin(); !status.ok()) {
    return status;
  }
  opened.store = std::move(store);
  return opened;
}

}  // namespace vmqd

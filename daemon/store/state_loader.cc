// See state_loader.h.
#include "daemon/store/state_loader.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace vmqd {
namespace {

std::string WayOut(const Directory& directory) {
  return absl::StrCat("Restore a copy of ", directory.path(),
                      ", or move the directory away to begin with an empty switch");
}

absl::Status Refused(const Directory& directory, uint64_t generation, const absl::Status& why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the state in ", directory.PathOf(GenerationName(generation)), " is not for this daemon: ",
      std::string(why.message()), ". Start the vmqd that wrote it. ", WayOut(directory)));
}

std::string Changes(size_t count) {
  return absl::StrCat(count, count == 1 ? " change" : " changes");
}

// What lies behind the last good change of a file, in a sentence.
std::string TailWarning(const std::string& path, const ParsedStateFile& parsed, size_t file_bytes) {
  const Replayed& replayed = parsed.replayed;
  const std::string where = absl::StrCat(path, ": the state is that of revision ",
                                         parsed.state.revision, ", up to byte ", replayed.good_end);
  if (replayed.lost_changes > 0) {
    return absl::StrCat(where, "; the file is damaged behind it, and ",
                        Changes(replayed.lost_changes), " up to revision ", replayed.lost_until,
                        " that were acknowledged, and whatever the damage covers, are LOST");
  }
  if (replayed.good_end == file_bytes) {
    return absl::StrCat(where,
                        "; the file was cut short there, and changes that were acknowledged "
                        "may be LOST");
  }
  return absl::StrCat(where, "; ", file_bytes - replayed.good_end,
                      " bytes behind it are no whole change. A daemon or machine that dies while "
                      "it writes leaves that, and then nothing is lost; if neither happened, the "
                      "file was damaged, and a change that was acknowledged may be LOST");
}

std::string FallbackWarning(const Directory& directory, uint64_t generation, uint64_t damaged,
                            uint64_t revision, const Replayed& behind) {
  const std::string what = absl::StrCat(
      directory.PathOf(GenerationName(damaged)),
      " is damaged at its beginning; the generation before, ", GenerationName(generation), ", and ",
      Changes(behind.changes), " of the damaged file give revision ", revision);
  if (behind.whole) return absl::StrCat(what, ", which is all there was: nothing is lost");
  if (behind.lost_changes == 0) {
    return absl::StrCat(what, "; changes behind that were acknowledged may be LOST");
  }
  return absl::StrCat(what, "; ", Changes(behind.lost_changes), " up to revision ",
                      behind.lost_until, " that were acknowledged are LOST");
}

// What the damaged generations still add to the one that could be read, oldest first.
absl::Status AddDamaged(const Directory& directory, uint64_t generation,
                        const std::vector<std::string>& files, LoadedState& loaded) {
  for (size_t i = loaded.damaged.size(); i-- > 0;) {
    auto behind = ReplayBehindDamage(files[i], loaded.parsed.state);
    if (!behind.ok()) return Refused(directory, loaded.damaged[i], behind.status());
    loaded.parsed.replayed.unknown_fields |= behind->unknown_fields;
    loaded.warnings.push_back(FallbackWarning(directory, generation, loaded.damaged[i],
                                              loaded.parsed.state.revision, *behind));
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedState> Nothing(const Directory& directory,
                                    const std::vector<std::string>& names) {
  std::vector<std::string> left;
  for (const std::string& name : names) {
    if (name.starts_with(kStatePrefix) && name.ends_with(kDamaged)) left.push_back(name);
  }
  if (left.empty()) return LoadedState{};
  return absl::DataLossError(absl::StrCat("there is no state in ", directory.path(),
                                          ", only what was found damaged before: ",
                                          absl::StrJoin(left, ", "), ". ", WayOut(directory)));
}

}  // namespace

std::string GenerationName(uint64_t generation) {
  return absl::StrCat(std::string(kStatePrefix), generation);
}

std::vector<uint64_t> Generations(const std::vector<std::string>& names) {
  std::vector<uint64_t> generations;
  for (const std::string& name : names) {
    uint64_t generation = 0;
    if (name.starts_with(kStatePrefix) &&
        absl::SimpleAtoi(name.substr(kStatePrefix.size()), &generation) && generation > 0 &&
        GenerationName(generation) == name) {
      generations.push_back(generation);
    }
  }
  std::sort(generations.begin(), generations.end(), std::greater<>());
  return generations;
}

absl::StatusOr<LoadedState> LoadState(const Directory& directory) {
  const auto names = directory.List();
  if (!names.ok()) return names.status();
  const std::vector<uint64_t> generations = Generations(*names);
  if (generations.empty()) return Nothing(directory, *names);

  LoadedState loaded{.newest = generations.front()};
  std::vector<std::string> damaged_files;
  std::vector<std::string> reasons;
  for (const uint64_t generation : generations) {
    auto bytes = directory.Read(GenerationName(generation));
    if (!bytes.ok()) return bytes.status();
    auto parsed = ParseStateFile(*bytes);
    if (!parsed.ok() && !absl::IsDataLoss(parsed.status())) {
      return Refused(directory, generation, parsed.status());
    }
    if (!parsed.ok()) {
      loaded.damaged.push_back(generation);
      damaged_files.push_back(*std::move(bytes));
      reasons.push_back(
          absl::StrCat(GenerationName(generation), ": ", std::string(parsed.status().message())));
      continue;
    }
    if (parsed->replayed.lost_changes > 0 && parsed->state.uplinks.empty() &&
        parsed->state.ports.empty()) {
      return absl::DataLossError(absl::StrCat(
          directory.PathOf(GenerationName(generation)), " is damaged at byte ",
          parsed->replayed.good_end, ", before everything that was wanted. ", WayOut(directory)));
    }
    const std::string path = directory.PathOf(GenerationName(generation));
    loaded.parsed = *std::move(parsed);
    if (!loaded.parsed.replayed.whole) {
      loaded.warnings.push_back(TailWarning(path, loaded.parsed, bytes->size()));
    }
    if (auto status = AddDamaged(directory, generation, damaged_files, loaded); !status.ok()) {
      return status;
    }
    if (loaded.parsed.replayed.unknown_fields) {
      loaded.warnings.push_back(absl::StrCat(
          path,
          " was written by a newer vmqd and says more than this one understands; what it "
          "does not understand is lost when it next writes the state anew. Save a copy of ",
          directory.path(), " before you go on with this one"));
    }
    loaded.bytes = *std::move(bytes);
    return loaded;
  }
  return absl::DataLossError(absl::StrCat("no state in ", directory.path(), " can be read (",
                                          absl::StrJoin(reasons, "; "), "). ", WayOut(directory)));
}

}  // namespace vmqd

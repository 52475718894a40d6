// Parses and prints the processor set. Called by the composition root and by control, never by a
// worker.
#include "daemon/vmq/processor_set.h"

#include <algorithm>
#include <cassert>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace vmqd {
namespace {

struct Range {
  int first;
  int last;
};

// Ascending CPUs as "1-3,6".
std::string ListOf(const std::vector<int>& cpus) {
  std::string list;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    absl::StrAppend(&list, list.empty() ? "" : ",", cpus[i]);
    if (end - i > 1) absl::StrAppend(&list, "-", cpus[end - 1]);
    i = end;
  }
  return list;
}

// Digits only: SimpleAtoi alone would let signs and white space pass.
std::optional<int> ParseCpu(absl::string_view text) {
  int cpu = 0;
  if (text.empty() || !std::all_of(text.begin(), text.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &cpu)) {
    return std::nullopt;
  }
  return cpu;
}

std::optional<Range> ParseRange(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits('-', 1));
  const bool single = text.find('-') == absl::string_view::npos;
  const std::optional<int> first = ParseCpu(ends.first);
  const std::optional<int> last = single ? first : ParseCpu(ends.second);
  if (!first || !last || *first > *last) return std::nullopt;
  return Range{*first, *last};
}

absl::Status Refuse(std::string_view list, absl::string_view why, const std::vector<int>& allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat("processor set \"", absl::Utf8SafeCHexEscape({list.data(), list.size()}), "\" ",
                   why, "; CPUs that would do: ", ListOf(allowed)));
}

}  // namespace

ProcessorSet ProcessorSet::Default(const std::vector<int>& allowed) {
  assert(!allowed.empty());  // the kernel never lets a process run nowhere
  std::vector<int> cpus = allowed;
  if (cpus.size() > 2 && cpus.front() == 0) cpus.erase(cpus.begin());
  return ProcessorSet(std::move(cpus));
}

absl::StatusOr<ProcessorSet> ProcessorSet::Parse(std::string_view list,
                                                 const std::vector<int>& allowed) {
  if (list.empty()) return Refuse(list, "is empty", allowed);
  std::vector<int> cpus;
  for (absl::string_view part : absl::StrSplit(absl::string_view(list.data(), list.size()), ',')) {
    const std::optional<Range> range = ParseRange(part);
    if (!range) return Refuse(list, "is not a list such as \"1-3,6\"", allowed);
    // Stops at the first CPU that is not allowed, so a range of billions costs nothing.
    for (int cpu = range->first;; ++cpu) {
      if (!std::binary_search(allowed.begin(), allowed.end(), cpu)) {
        return Refuse(list, absl::StrCat("names CPU ", cpu, ", where vmqd may not run"), allowed);
      }
      if (std::find(cpus.begin(), cpus.end(), cpu) != cpus.end()) {
        return Refuse(list, absl::StrCat("names CPU ", cpu, " twice"), allowed);
      }
      cpus.push_back(cpu);
      if (cpu == range->last) break;
    }
  }
  std::sort(cpus.begin(), cpus.end());
  return ProcessorSet(std::move(cpus));
}

std::string ProcessorSet::ToString() const { return ListOf(cpus_); }

}  // namespace vmqd

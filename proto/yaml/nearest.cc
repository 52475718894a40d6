// See nearest.h.
#include "proto/yaml/nearest.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"

namespace vmqd {
namespace {

constexpr size_t kLongestWord = 64;  // no name is longer, and the work grows with the square

// Levenshtein's distance, row by row.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const bool same = absl::ascii_tolower(a[i]) == absl::ascii_tolower(b[j]);
      const size_t replaced = diagonal + (same ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Nearest(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > kLongestWord) return "";
  std::string best;
  size_t fewest = 0;
  for (const std::string& candidate : known) {
    const size_t distance = Distance(word, candidate);
    // Two wrong are two swapped, or a third of a long word; more make another word.
    const size_t most = candidate.size() < 4 ? 1 : std::max<size_t>(2, candidate.size() / 3);
    if (distance > most) continue;
    if (best.empty() || distance < fewest) {
      best = candidate;
      fewest = distance;
    }
  }
  return best;
}

}  // namespace vmqd

// See history.h.
#include "daemon/control/history.h"

#include <algorithm>
#include <utility>

namespace vmqd {
namespace {

// The first of `kept`, which is ordered, behind `revision`. `revision_of` reads an element's.
template <typename Kept, typename RevisionOf>
auto FirstAfter(const Kept& kept, uint64_t revision, RevisionOf revision_of) {
  return std::upper_bound(
      kept.begin(), kept.end(), revision,
      [&](uint64_t wanted, const auto& element) { return wanted < revision_of(element); });
}

}  // namespace

void History::Add(HistoryItem item) {
  if (auto* event = std::get_if<Event>(&item.what)) event->revision = item.revision;
  auto shared = std::make_shared<const HistoryItem>(std::move(item));
  Item dropped;  // freed without the lock
  {
    MutexLock lock(mutex_);
    if (const auto* event = std::get_if<Event>(&shared->what)) {
      events_.push_back(*event);
      if (events_.size() > kEvents) events_.pop_front();
    }
    items_.push_back(std::move(shared));
    if (items_.size() > kItems) {
      dropped = std::move(items_.front());
      items_.pop_front();
      begin_ = dropped->revision;
    }
  }
  added_.notify_all();
}

History::Next History::After(uint64_t revision, size_t max, std::chrono::milliseconds patience) {
  MutexLock lock(mutex_);
  const auto has_answer = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || revision < begin_ || (!items_.empty() && items_.back()->revision > revision);
  };
  if (!added_.wait_for(mutex_, patience, has_answer)) return {};
  if (closed_) return {.outcome = Outcome::kClosed, .items = {}};
  if (revision < begin_) return {.outcome = Outcome::kForgotten, .items = {}};
  const auto first = FirstAfter(items_, revision, [](const Item& item) { return item->revision; });
  const auto count = std::min(max, static_cast<size_t>(items_.end() - first));
  return {.outcome = Outcome::kItems, .items = {first, first + static_cast<std::ptrdiff_t>(count)}};
}

std::vector<Event> History::EventsAfter(uint64_t revision, size_t max) const {
  MutexLock lock(mutex_);
  const auto first =
      FirstAfter(events_, revision, [](const Event& event) { return event.revision; });
  const auto count = std::min(max, static_cast<size_t>(events_.end() - first));
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

void History::Close() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  added_.notify_all();
}

void History::BeginAt(uint64_t revision) {
  MutexLock lock(mutex_);
  begin_ = std::max(begin_, revision);
}

}  // namespace vmqd

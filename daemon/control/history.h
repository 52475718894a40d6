// History: what happened lately, in the order of revisions, for those who watch. One ring for all
// of them: a watcher is a position in it, so that a slow one costs no memory and is told when what
// it has not read is gone. Written under the Switch's mutex; read by any thread.
#ifndef VMQD_DAEMON_CONTROL_HISTORY_H_
#define VMQD_DAEMON_CONTROL_HISTORY_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "daemon/control/model.h"
#include "daemon/net/mutex.h"

namespace vmqd {

struct Deleted {
  std::string name;  // "ports/vm1"
};

struct HistoryItem {
  uint64_t revision = 0;
  std::variant<UplinkStatus, PortStatus, Deleted, Event> what;
};

class History {
 public:
  static constexpr size_t kItems = 4096;
  static constexpr size_t kEvents = 4096;

  using Item = std::shared_ptr<const HistoryItem>;

  // Every item has a greater revision than the one before; an Event in it takes that revision.
  void Add(HistoryItem item) ABSL_LOCKS_EXCLUDED(mutex_);

  enum class Outcome { kItems, kNothingYet, kForgotten, kClosed };
  struct Next {
    Outcome outcome = Outcome::kNothingYet;
    std::vector<Item> items;
  };
  // Up to `max` items behind `revision`; waits for `patience` when there are none. kForgotten:
  // items behind it were dropped, or happened before BeginAt. What to make of a revision that was
  // never given out is for the caller to say: here nothing comes after it yet.
  Next After(uint64_t revision, size_t max, std::chrono::milliseconds patience)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Up to `max` events behind `revision`, oldest first.
  std::vector<Event> EventsAfter(uint64_t revision, size_t max) const ABSL_LOCKS_EXCLUDED(mutex_);

  // From now on After answers kClosed; those that wait are woken.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

  // Nothing before `revision` can be asked for: where this daemon's history begins. It must be
  // greater than any revision an earlier daemon gave out, also for events that were never written,
  // and not greater than Switch::Look()'s.
  void BeginAt(uint64_t revision) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable Mutex mutex_;
  std::condition_variable_any added_;
  std::deque<Item> items_ ABSL_GUARDED_BY(mutex_);
  std::deque<Event> events_ ABSL_GUARDED_BY(mutex_);  // of them, kept longer
  uint64_t begin_ ABSL_GUARDED_BY(mutex_) = 0;        // revision before the first item that is kept
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_HISTORY_H_

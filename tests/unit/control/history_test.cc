// History: what a watcher sees when it is quick, slow, too slow, early, or when the daemon ends.
#include "daemon/control/history.h"

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

namespace vmqd {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr milliseconds kNow{0};
constexpr milliseconds kForever{600000};

HistoryItem Gone(uint64_t revision) {
  return {.revision = revision, .what = Deleted{absl::StrCat("ports/p", revision)}};
}

HistoryItem Happened(uint64_t revision, const std::string& reason) {
  return {.revision = revision, .what = Event{.reason = reason}};
}

std::vector<uint64_t> Revisions(const History::Next& next) {
  std::vector<uint64_t> revisions;
  for (const History::Item& item : next.items) revisions.push_back(item->revision);
  return revisions;
}

TEST(History, GivesWhatIsBehindARevisionInOrder) {
  History history;
  for (uint64_t revision : {3, 5, 9, 12}) history.Add(Gone(revision));
  EXPECT_THAT(Revisions(history.After(0, 10, kNow)), ElementsAre(3, 5, 9, 12));
  EXPECT_THAT(Revisions(history.After(3, 10, kNow)), ElementsAre(5, 9, 12));
  EXPECT_THAT(Revisions(history.After(4, 10, kNow)), ElementsAre(5, 9, 12)) << "given to nobody";
  EXPECT_THAT(Revisions(history.After(3, 2, kNow)), ElementsAre(5, 9));
  EXPECT_EQ(history.After(12, 10, kNow).outcome, History::Outcome::kNothingYet);
  EXPECT_EQ(history.After(100, 10, kNow).outcome, History::Outcome::kNothingYet);
}

TEST(History, ForgetsTheOldestAndSaysSo) {
  History history;
  for (uint64_t revision = 1; revision <= History::kItems; ++revision) history.Add(Gone(revision));
  EXPECT_EQ(history.After(0, History::kItems, kNow).items.size(), History::kItems);
  history.Add(Gone(History::kItems + 1));
  EXPECT_EQ(history.After(0, 1, kNow).outcome, History::Outcome::kForgotten);
  EXPECT_THAT(Revisions(history.After(1, 1, kNow)), ElementsAre(2)) << "1 is seen, 2 is there";
  for (uint64_t i = 2; i < 100; ++i) history.Add(Gone(History::kItems + i));
  EXPECT_EQ(history.After(98, 1, kNow).outcome, History::Outcome::kForgotten);
  EXPECT_THAT(Revisions(history.After(99, 1, kNow)), ElementsAre(100));
}

TEST(History, BeginsWhereItIsTold) {
  History history;
  history.BeginAt(50);
  EXPECT_EQ(history.After(49, 1, kNow).outcome, History::Outcome::kForgotten);
  EXPECT_EQ(history.After(50, 1, kNow).outcome, History::Outcome::kNothingYet);
  history.Add(Gone(51));
  EXPECT_EQ(history.After(49, 1, kNow).outcome, History::Outcome::kForgotten);
  EXPECT_THAT(Revisions(history.After(50, 1, kNow)), ElementsAre(51));
}

TEST(History, EventsAreRememberedWhenTheirItemsAreGone) {
  History history;
  history.Add(Happened(1, "FIRST"));
  for (uint64_t i = 0; i < 2 * History::kItems; ++i) history.Add(Gone(2 + i));
  history.Add(Happened(2 + 2 * History::kItems, "LAST"));
  const std::vector<Event> events = history.EventsAfter(0, 10);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].reason, "FIRST");
  EXPECT_EQ(events[0].revision, 1u);
  EXPECT_EQ(events[1].reason, "LAST");
  EXPECT_THAT(history.EventsAfter(events[1].revision, 10), IsEmpty());
  EXPECT_EQ(history.EventsAfter(0, 1).front().reason, "FIRST") << "oldest first";
}

TEST(History, RemembersOnlySoManyEvents) {
  History history;
  for (uint64_t revision = 1; revision <= History::kEvents + 7; ++revision) {
    history.Add(Happened(revision, "R"));
  }
  const std::vector<Event> events = history.EventsAfter(0, 2 * History::kEvents);
  EXPECT_EQ(events.size(), History::kEvents);
  EXPECT_EQ(events.front().revision, 8u);
}

TEST(History, AnEventTakesTheRevisionOfItsItem) {
  History history;
  history.Add(Happened(7, "R"));
  const History::Next next = history.After(0, 1, kNow);
  ASSERT_EQ(next.items.size(), 1u);
  EXPECT_EQ(std::get<Event>(next.items[0]->what).revision, 7u);
}

TEST(History, WakesWhoWaits) {
  History history;
  std::thread writer([&] { history.Add(Gone(1)); });
  EXPECT_THAT(Revisions(history.After(0, 1, kForever)), ElementsAre(1));
  writer.join();
}

TEST(History, CloseEndsEveryWait) {
  History history;
  history.Add(Gone(1));
  std::atomic<int> closed = 0;
  std::vector<std::thread> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.emplace_back(
        [&] { closed += history.After(1, 1, kForever).outcome == History::Outcome::kClosed; });
  }
  history.Close();
  for (std::thread& thread : waiting) thread.join();
  EXPECT_EQ(closed, 4);
  EXPECT_EQ(history.After(0, 1, kNow).outcome, History::Outcome::kClosed) << "also with items left";
}

// Several readers at their own pace see every item once and in order while a writer adds.
TEST(History, ReadersAtTheirOwnPace) {
  constexpr uint64_t kLast = History::kItems;  // nothing is forgotten
  History history;
  std::vector<std::thread> readers;
  std::atomic<int> complete = 0;
  for (size_t batch : {1, 7, 64}) {
    readers.emplace_back([&, batch] {
      uint64_t seen = 0;
      while (seen < kLast) {
        for (const History::Item& item : history.After(seen, batch, kForever).items) {
          if (item->revision != seen + 1) return;
          seen = item->revision;
        }
      }
      ++complete;
    });
  }
  for (uint64_t revision = 1; revision <= kLast; ++revision) history.Add(Gone(revision));
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(complete, 3);
}

}  // namespace
}  // namespace vmqd

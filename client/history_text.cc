// See history_text.h.
#include "client/history_text.h"

#include "client/look.h"

namespace vmqd::cli {

v1::ListEventsResponse HistoryOf(const v1::ListEventsResponse& events, const std::string& resource,
                                 const std::string& home) {
  int since = 0;  // index of the event with which the port came to its home queue
  for (int i = 0; i < events.events_size(); ++i) {
    const v1::Event& event = events.events(i);
    if (event.resource() == resource &&
        (event.reason() == "ADDED" || event.reason() == "PORT_MOVED")) {
      since = i;
    }
  }
  v1::ListEventsResponse history;
  for (int i = 0; i < events.events_size(); ++i) {
    const v1::Event& event = events.events(i);
    const bool with_home = !home.empty() && event.resource() == home && IsMove(event) && i > since;
    if (event.resource() == resource || with_home) *history.add_events() = event;
  }
  return history;
}

}  // namespace vmqd::cli

// What event.cc and event_watch.cc, the two halves of "vmqd-cli event", share.
#ifndef VMQD_CLIENT_EVENT_H_
#define VMQD_CLIENT_EVENT_H_

#include <cstdint>
#include <string>

#include "client/command.h"

namespace vmqd::cli {

std::string ResourceText(const v1::Event& event);

// Prints events behind revision `since` (0: from now on), with `all` also resources, until Ctrl-C.
// Returns the exit code.
int WatchEvents(const Session& session, Connection& connection, bool all, uint64_t since);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_EVENT_H_

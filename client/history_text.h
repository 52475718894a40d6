// Which events are the history of a port or a queue. Pure functions.
#ifndef VMQD_CLIENT_HISTORY_TEXT_H_
#define VMQD_CLIENT_HISTORY_TEXT_H_

#include <string>

#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::cli {

// Those of `resource` among `events`, in their order. Where it is a port, `home` is the name of its
// home queue, whose moves are the port's, too: those that came after the port had come there.
v1::ListEventsResponse HistoryOf(const v1::ListEventsResponse& events, const std::string& resource,
                                 const std::string& home);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_HISTORY_TEXT_H_

// The verb "queue watch".
#ifndef VMQD_CLIENT_QUEUE_WATCH_H_
#define VMQD_CLIENT_QUEUE_WATCH_H_

#include "client/command.h"

namespace vmqd::cli {

void AddQueueWatchVerb(CLI::App& resource, Session& session);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_QUEUE_WATCH_H_

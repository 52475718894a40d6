// What queue.cc and queue_balance.cc, the parts of "vmqd-cli queue", share.
#ifndef VMQD_CLIENT_QUEUE_H_
#define VMQD_CLIENT_QUEUE_H_

#include "client/command.h"

namespace vmqd::cli {

// The verb set, which pins a queue to a CPU.
void AddQueueSetVerb(CLI::App& resource, Session& session);
// The verb rebalance.
void AddRebalanceVerb(CLI::App& resource, Session& session);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_QUEUE_H_

// The verbs "port history" and "queue history".
#ifndef VMQD_CLIENT_HISTORY_H_
#define VMQD_CLIENT_HISTORY_H_

#include "client/command.h"

namespace vmqd::cli {

void AddPortHistoryVerb(CLI::App& resource, Session& session);
void AddQueueHistoryVerb(CLI::App& resource, Session& session);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_HISTORY_H_

// What daemons leave in the kernel when they die: pinned programs, devices made for ports, settings
// borrowed from NICs. Only what bears this state's mark, lies in its bpf directory or stands in its
// ledger is touched. Under the Switch's mutex, or without a switch.
#ifndef VMQD_DAEMON_CONTROL_LEFTOVERS_H_
#define VMQD_DAEMON_CONTROL_LEFTOVERS_H_

#include <string>
#include <vector>

#include "daemon/control/ledger.h"
#include "daemon/control/state.h"

namespace vmqd {

// The mark of the devices that daemons of this state make, up to the port's id.
std::string MarkPrefix(const DesiredState& state);

// Of the machine, as it runs now.
std::string BootId();

// Removes what the desired state does not hold. In sentences, what was done or could not be.
std::vector<std::string> RemoveLeftovers(StateStore& store, StateLedger& ledger,
                                         const std::string& bpf_directory);

// Gives the devices of others back, wanted or not: programs detached, settings restored. What vmqd
// made stays.
std::vector<std::string> GiveAllBack(StateStore& store, StateLedger& ledger,
                                     const std::string& bpf_directory);

// Removes everything, wanted or not.
std::vector<std::string> CleanUp(StateStore& store, const std::string& bpf_directory);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_LEFTOVERS_H_

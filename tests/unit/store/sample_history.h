// One history of changes for all tests: what change comes at which revision is a function of the
// revision alone, so that the state at any revision is known without having watched it come about.
#ifndef VMQD_TESTS_UNIT_STORE_SAMPLE_HISTORY_H_
#define VMQD_TESTS_UNIT_STORE_SAMPLE_HISTORY_H_

#include <cstdint>
#include <string>

#include "daemon/control/state.h"

namespace vmqd {

UplinkConfig SampleUplink(const std::string& id);
// With every field set to something other than its default.
PortConfig SamplePort(const std::string& id, uint64_t number);

// The change that makes revision `revision` of the one before: of every kind in turn.
StateChange ChangeAt(uint64_t revision);

// The state after the changes 1 to `revision`.
DesiredState StateAt(uint64_t revision, const std::string& state_id);

}  // namespace vmqd

#endif  // VMQD_TESTS_UNIT_STORE_SAMPLE_HISTORY_H_

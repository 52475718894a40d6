// A plan as people and as programs read it. Pure functions.
#ifndef VMQD_CLIENT_PLAN_TEXT_H_
#define VMQD_CLIENT_PLAN_TEXT_H_

#include <string>
#include <vector>

#include "client/plan.h"

namespace vmqd::cli {

// One paragraph a change, e.g. "~ ports/vm1\n    vlan: 10 -> 20\n":
//   + create   ~ update   -/+ replace   - delete
std::string DiffText(const Plan& plan);

// "ports/vm1 created", for a step that was made.
std::string DoneText(const Plan& plan, const Step& step);
// "create ports/vm1", for one that was not.
std::string StepText(const Plan& plan, const Step& step);
// "2 created, 1 deleted"; `done`: as many steps, from the first, were made.
std::string CountText(const Plan& plan, size_t done);
// "2 to create, 1 to delete"
std::string ToDoText(const Plan& plan);

// {"changes": [{"action", "name", "reason", "fields": [{"field", "before", "after"}], "wanted"}],
//  "steps": 3, "stepsDone": 3, "kept": ["ports/x"], "refusals": ["..."]}
std::string PlanJson(const Plan& plan, size_t done, const std::vector<std::string>& refusals);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_PLAN_TEXT_H_

// From what a file wants and what the switch is to the calls that make one of the other. Pure
// functions; apply.cc makes the calls, plan_text.cc shows the plan.
#ifndef VMQD_CLIENT_PLAN_H_
#define VMQD_CLIENT_PLAN_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "client/switch_config.h"
#include "vmqd/v1/config.pb.h"

namespace vmqd::cli {

using Resource = std::variant<v1::Uplink, v1::Port>;

enum class ChangeKind { kCreate, kUpdate, kReplace, kDelete };

struct FieldChange {
  std::string field;
  std::string before;
  std::string after;
};

// What happens to one resource.
struct Change {
  ChangeKind kind = ChangeKind::kCreate;
  std::string name;                 // "ports/vm1"
  Resource wanted;                  // not for kDelete
  std::vector<FieldChange> fields;  // kUpdate, kReplace: what differs
  std::string reason;               // kReplace: why it cannot be updated
  std::string etag;                 // of the resource as it was seen; empty for kCreate
};

// One call. kReplace takes two.
struct Step {
  enum class Call { kDelete, kCreate, kUpdate };
  Call call = Call::kCreate;
  size_t change = 0;  // index into Plan::changes
  // It would be answered the same before any other step was made, so it can be tried beforehand.
  bool independent = false;
};

struct Plan {
  std::vector<Change> changes;     // uplinks, then ports, each in the order of the file
  std::vector<Step> steps;         // in an order in which each finds what it needs
  std::vector<std::string> extra;  // on the switch, not in the file, and left alone
};

// `seen` is what the daemon listed, with etags. What the file leaves out means the default, or, for
// what vmqd chooses where nothing is said (the only uplink, the kept end and the addresses of VETH
// and HOST ports), whatever was chosen.
//
// A resource whose immutable fields differ is replaced; so is a port whose uplink is. Resources
// that the file does not name are deleted with `prune`, else kept.
//
// InvalidArgument: the file contradicts itself or what is kept; one sentence a line, with position.
absl::StatusOr<Plan> MakePlan(const SwitchConfigFile& file, const v1::SwitchConfig& seen,
                              bool prune);

// The fields an operator sets that differ between two complete resources of one type, the name
// apart. The order of the values of a repeated field does not matter.
std::vector<FieldChange> DifferencesOf(const google::protobuf::Message& before,
                                       const google::protobuf::Message& after);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_PLAN_H_

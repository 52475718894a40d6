// How the control side refuses a caller: one absl::Status that carries, beside code and sentence,
// the stable reason and the field at fault, so that rpc/ can turn them into google.rpc.ErrorInfo.
// Any thread.
#ifndef VMQD_DAEMON_CONTROL_ERROR_H_
#define VMQD_DAEMON_CONTROL_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace vmqd {

// `reason` is UPPER_SNAKE_CASE and never changes once published; `field` is the path of the field
// at fault as the API spells it ("port.macs[0]"), empty where no single field is; `message` names
// the value and what would do.
absl::Status Refuse(absl::StatusCode code, std::string_view reason, std::string_view field,
                    std::string_view message);

struct Refusal {
  std::string reason;  // "UNKNOWN" when the status was not made by Refuse
  std::string field;
};
Refusal RefusalOf(const absl::Status& status);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_ERROR_H_

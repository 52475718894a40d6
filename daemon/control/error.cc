// Reason and field travel as two payloads of the absl::Status, so that a status can pass through
// layers that know nothing of them. Any thread.
#include "daemon/control/error.h"

#include "absl/strings/cord.h"

namespace vmqd {
namespace {

constexpr char kReasonPayload[] = "vmqd/reason";
constexpr char kFieldPayload[] = "vmqd/field";

}  // namespace

absl::Status Refuse(absl::StatusCode code, std::string_view reason, std::string_view field,
                    std::string_view message) {
  absl::Status status(code, std::string(message));
  status.SetPayload(kReasonPayload, absl::Cord(std::string(reason)));
  status.SetPayload(kFieldPayload, absl::Cord(std::string(field)));
  return status;
}

Refusal RefusalOf(const absl::Status& status) {
  const auto reason = status.GetPayload(kReasonPayload);
  if (!reason.has_value()) return {.reason = "UNKNOWN", .field = ""};
  const auto field = status.GetPayload(kFieldPayload);
  return {.reason = std::string(*reason),
          .field = field.has_value() ? std::string(*field) : std::string()};
}

}  // namespace vmqd

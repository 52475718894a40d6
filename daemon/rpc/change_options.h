// What every changing request may carry beside its resource: request_id, validate_only, etag,
// allow_missing. Called by the service and by unit tests; pure functions; any thread.
#ifndef VMQD_DAEMON_RPC_CHANGE_OPTIONS_H_
#define VMQD_DAEMON_RPC_CHANGE_OPTIONS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/switch.h"
#include "google/protobuf/message.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::rpc {

// Empty, or 1-64 printable ASCII characters; else INVALID_ARGUMENT, REQUEST_ID_MALFORMED.
absl::Status CheckRequestId(const std::string& request_id);

// The same for two requests of one method exactly when they ask for the same: request_id and output
// only fields do not count. Stable across restarts and versions of the daemon, because it is kept.
std::string Fingerprint(std::string_view method, const google::protobuf::Message& request);

// The etag that the request makes its condition.
inline const std::string& EtagOf(const v1::UpdateUplinkRequest& request) {
  return request.uplink().etag();
}
inline const std::string& EtagOf(const v1::UpdatePortRequest& request) {
  return request.port().etag();
}
template <typename Request>
std::string EtagOf(const Request& request) {
  if constexpr (requires { request.etag(); }) return request.etag();
  return "";  // a creation has none
}

template <typename Request>
absl::StatusOr<ChangeOptions> ChangeOptionsFrom(std::string_view method, const Request& request) {
  if (auto status = CheckRequestId(request.request_id()); !status.ok()) return status;
  ChangeOptions options{.validate_only = request.validate_only(),
                        .etag = EtagOf(request),
                        .request_id = request.request_id()};
  if constexpr (requires { request.allow_missing(); }) {
    options.allow_missing = request.allow_missing();
  }
  if (!options.request_id.empty()) options.fingerprint = Fingerprint(method, request);
  return options;
}

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_CHANGE_OPTIONS_H_

// See command.h.
#include "client/command.h"

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd::cli {
namespace {

// What to try, by what kept the client from being answered.
std::string Advice(const std::string& address, const std::string& cause) {
  if (cause.find("Permission denied") != std::string::npos) {
    return "the socket is for root and the members of group vmqd: sudo usermod -aG vmqd $USER, "
           "then "
           "log in again";
  }
  if (address.starts_with("unix:")) {
    return "is vmqd running (systemctl status vmqd), and does it listen there? --address or "
           "VMQD_ADDRESS says where else to look";
  }
  return "is vmqd running there and listening on that address?";
}

}  // namespace

CLI::App& AddResource(CLI::App& app, const std::string& name, const std::string& description) {
  CLI::App* resource = app.add_subcommand(name, description);
  resource->require_subcommand(1);
  resource->footer(absl::StrCat("vmqd-cli ", name, " VERB --help shows a verb's options."));
  return *resource;
}

CLI::App& AddVerb(CLI::App& resource, Session& session, const std::string& name,
                  const std::string& description, const std::string& example, Action action) {
  CLI::App* verb = resource.add_subcommand(name, description);
  verb->footer(
      absl::StrCat("Example:\n  ", example, "\n\nOptions of every command: see vmqd-cli --help."));
  verb->callback([&session, action = std::move(action)] { session.action = action; });
  return *verb;
}

int Fail(const Connection& connection, const grpc::Status& status) {
  const std::string& address = connection.options().address;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    std::cerr << "vmqd-cli: cannot reach vmqd at " << address << ": " << status.error_message()
              << "\n  " << Advice(address, status.error_message()) << "\n";
    return kUnreachable;
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    std::cerr << "vmqd-cli: no answer from vmqd at " << address << " within "
              << connection.options().timeout_seconds
              << " s\n  the request may take effect later; --timeout waits longer\n";
    return kUnreachable;
  }
  const Refusal refusal = RefusalIn(status);
  std::cerr << "vmqd-cli: " << status.error_message() << "\n  " << refusal.code;
  if (!refusal.reason.empty()) std::cerr << ", reason " << refusal.reason;
  if (!refusal.field.empty()) std::cerr << ", field " << refusal.field;
  std::cerr << "\n";
  return kRefused;
}

}  // namespace vmqd::cli

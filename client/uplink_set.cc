// vmqd-cli uplink set.
#include <iostream>
#include <memory>

#include "absl/strings/ascii.h"
#include "client/uplink.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

struct SetOptions {
  std::string name, wake_mode;
  uint32_t queues = 0;
  bool busy_poll = false;
  BalanceOptions balance;
};

int Set(const CLI::App& verb, const Session& session, Connection& connection,
        const SetOptions& options) {
  v1::UpdateUplinkRequest request;
  v1::Uplink* uplink = request.mutable_uplink();
  uplink->set_name(FullName("uplinks/", options.name));
  if (!options.balance.pins.empty()) {  // those of other queues stay
    const grpc::Status read = ReadUplink(connection, options.name, uplink);
    if (!read.ok()) return Fail(connection, read);
  }
  for (const std::string& field : FillBalance(options.balance, uplink)) {
    request.mutable_update_mask()->add_paths(field);
  }
  const auto given = [&](const char* option, const char* field) {
    if (verb.count(option) == 0) return false;
    request.mutable_update_mask()->add_paths(field);
    return true;
  };
  if (v1::WakeMode mode; given("--wake-mode", "wake_mode") &&
                         v1::WakeMode_Parse(absl::AsciiStrToUpper(options.wake_mode), &mode)) {
    uplink->set_wake_mode(mode);
  }
  if (given("--busy-poll", "busy_poll")) uplink->set_busy_poll(options.busy_poll);
  if (given("--queues", "queues")) uplink->set_queues(options.queues);
  if (request.update_mask().paths().empty()) {
    std::cerr << "vmqd-cli: nothing to set\n  vmqd-cli uplink set --help shows what there is\n";
    return kUsage;
  }
  v1::Uplink answer;
  const grpc::Status status = connection.Call(&Stub::UpdateUplink, request, &answer);
  if (!status.ok()) return Fail(connection, status);
  PrintUplinkLine(session, answer, "set");
  return kDone;
}

}  // namespace

grpc::Status ReadUplink(Connection& connection, const std::string& name, v1::Uplink* uplink) {
  v1::GetUplinkRequest get;
  get.set_name(FullName("uplinks/", name));
  return connection.Call(&Stub::GetUplink, get, uplink);
}

void AddUplinkSetVerb(CLI::App& resource, Session& session) {
  auto options = std::make_shared<SetOptions>();
  // The action needs its own verb, which is there only once AddVerb has returned.
  auto self = std::make_shared<CLI::App*>(nullptr);
  CLI::App& verb = AddVerb(
      resource, session, "set", "Change an uplink while it runs",
      "vmqd-cli uplink set eth1 --queues 8 --queue-cpu 3=1,4=auto",
      [&session, options, self](Connection& to) { return Set(**self, session, to, *options); });
  *self = &verb;
  verb.add_option("NAME", options->name, "Name of the uplink")->required();
  verb.add_option("--queues", options->queues,
                  "Queues to serve, and for the device to have; 0: all it has. Frames of VMs are "
                  "dropped for a moment");
  verb.add_option("--wake-mode", options->wake_mode,
                  "adaptive: spin briefly, then sleep; poll: never sleep; interrupt: sleep at once")
      ->check(CLI::IsMember({"adaptive", "poll", "interrupt"}));
  verb.add_flag("--busy-poll,!--no-busy-poll", options->busy_poll,
                "Workers run the NIC's receive processing themselves where the driver has it, or "
                "not");
  AddBalanceOptions(verb, options->balance);
}

}  // namespace vmqd::cli

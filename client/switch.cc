// vmqd-cli switch show, and vmqd-cli version.
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

std::string UptimeText(uint64_t seconds) {
  return absl::StrFormat("%dd %02d:%02d:%02d", seconds / 86400, seconds / 3600 % 24,
                         seconds / 60 % 60, seconds % 60);
}

int ShowSwitch(const Session& session, Connection& connection) {
  v1::Switch sw;
  const auto status = connection.Call(&Stub::GetSwitch, v1::GetSwitchRequest(), &sw);
  if (!status.ok()) return Fail(connection, status);
  PrintAs(session.output, sw, [&] {
    const v1::Counters& counters = sw.counters();
    PrintDetails({
        {"version", sw.version()},
        {"uptime", UptimeText(sw.uptime_seconds())},
        {"processor set", sw.processor_set()},
        {"workers", absl::StrCat(sw.worker_count())},
        {"uplinks", absl::StrCat(sw.uplink_count())},
        {"ports", absl::StrCat(sw.port_count())},
        {"in", absl::StrCat(counters.in_pkts(), " frames, ", counters.in_octets(), " bytes")},
        {"out", absl::StrCat(counters.out_pkts(), " frames, ", counters.out_octets(), " bytes")},
        {"drops",
         absl::StrCat(counters.in_discards() + counters.out_discards(), "; see stats show")},
    });
  });
  return kDone;
}

// A daemon that cannot be reached is part of the answer, not a failure.
int ShowVersion(const Session& session, Connection& connection) {
  v1::Switch sw;
  const auto status = connection.Call(&Stub::GetSwitch, v1::GetSwitchRequest(), &sw);
  const bool unreachable = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                           status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!status.ok() && !unreachable) return Fail(connection, status);
  const std::string json = absl::StrCat(
      "{\n \"client\": \"", VMQD_VERSION,
      "\",\n \"daemon\": ", status.ok() ? absl::StrCat("\"", sw.version(), "\"") : "null", "\n}\n");
  PrintAs(session.output, json, [&] {
    std::cout << "vmqd-cli " << VMQD_VERSION << "\n";
    if (status.ok()) {
      std::cout << "vmqd " << sw.version() << "\n";
    } else {
      std::cout << "vmqd not reachable at " << connection.options().address << "\n";
    }
  });
  return kDone;
}

}  // namespace

void AddSwitchCommands(CLI::App& app, Session& session) {
  CLI::App& resource = AddResource(app, "switch", "The switch as a whole");
  AddVerb(resource, session, "show", "Show what the switch consists of and how it does",
          "vmqd-cli switch show -o yaml",
          [&session](Connection& connection) { return ShowSwitch(session, connection); });
  AddVerb(app, session, "version", "Show the versions of client and daemon", "vmqd-cli version",
          [&session](Connection& connection) { return ShowVersion(session, connection); });
}

}  // namespace vmqd::cli

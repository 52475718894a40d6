// vmqd-cli switch show|export, and vmqd-cli version.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/apply.h"
#include "client/command.h"
#include "client/output.h"
#include "client/switch_config.h"
#include "google/protobuf/util/json_util.h"
#include "proto/yaml/yaml.h"

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

// The file as YAML, or as JSON, which apply reads too; without the fields that vmqd only tells.
std::string ExportText(const Session& session, const v1::SwitchConfig& written) {
  if (session.output != "json") {
    return absl::StrCat(
        "# Uplinks and ports of a vmqd switch, as vmqd-cli switch export wrote them;\n"
        "# vmqd-cli apply -f makes a switch equal to it.\n",
        ToYaml(written));
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(written, &json, options);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return json;
}

int ExportSwitch(const Session& session, Connection& connection, const std::string& file) {
  v1::SwitchConfig seen;
  if (const auto status = Look(connection, &seen); !status.ok()) return Fail(connection, status);
  const std::string text = ExportText(session, AsWritten(seen));
  if (file.empty()) {
    std::cout << text;
    return kDone;
  }
  std::ofstream out(file);
  out << text << std::flush;
  if (out) return kDone;
  std::cerr << "vmqd-cli: cannot write " << file << ": " << strerror(errno) << "\n";
  return kUsage;
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
  auto file = std::make_shared<std::string>();
  AddVerb(
      resource, session, "export", "Write the uplinks and ports as a file that apply reads",
      "vmqd-cli switch export -f switch.yaml",
      [&session, file](Connection& connection) { return ExportSwitch(session, connection, *file); })
      .add_option("-f,--file", *file, "Where to write it; standard output when left out")
      ->type_name("FILE");
  AddVerb(app, session, "version", "Show the versions of client and daemon", "vmqd-cli version",
          [&session](Connection& connection) { return ShowVersion(session, connection); });
}

}  // namespace vmqd::cli

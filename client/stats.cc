// vmqd-cli stats show: frames in and out, what was dropped and why, and whether every frame is
// accounted for. Each message of the daemon is a snapshot of its own; the equations are checked
// within one message only, since frames move between two calls.
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/command.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

struct Row {
  std::string name;
  const v1::Counters* counters;
};

// How far the two sides of an equation are apart; unsigned counters, signed answer.
int64_t Gap(uint64_t left, uint64_t right) { return static_cast<int64_t>(left - right); }

int64_t GapIn(const v1::Counters& c) {
  return Gap(c.in_pkts(), c.in_forwarded_pkts() + c.in_discards());
}

int64_t GapOut(const v1::Counters& c) {
  return Gap(c.offered_pkts(), c.out_pkts() + c.out_discards());
}

int64_t GapOfSwitch(const v1::Switch& sw) {
  const v1::Counters& c = sw.counters();
  return Gap(c.in_pkts() + sw.replicated_pkts(), c.out_pkts() + c.in_discards() + c.out_discards());
}

std::string ConservedText(const v1::Counters& counters) {
  if (GapIn(counters) == 0 && GapOut(counters) == 0) return "yes";
  return absl::StrCat("off by ", GapIn(counters), " in, ", GapOut(counters), " out");
}

void PrintCounterTable(const std::vector<Row>& rows) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"NAME"},
               {"IN-PKTS", kRight},
               {"FORWARDED", kRight},
               {"IN-DROPS", kRight},
               {"OFFERED", kRight},
               {"OUT-PKTS", kRight},
               {"OUT-DROPS", kRight},
               {"CONSERVED"}});
  for (const auto& [name, c] : rows) {
    table.AddRow({name, absl::StrCat(c->in_pkts()), absl::StrCat(c->in_forwarded_pkts()),
                  absl::StrCat(c->in_discards()), absl::StrCat(c->offered_pkts()),
                  absl::StrCat(c->out_pkts()), absl::StrCat(c->out_discards()), ConservedText(*c)});
  }
  table.Print();
}

void PrintDropTable(const std::vector<Row>& rows) {
  Table table({{"NAME"}, {"WAY"}, {"DROP REASON"}, {"PKTS", Table::Align::kRight}});
  bool any = false;
  for (const auto& [name, c] : rows) {
    for (const v1::DropCount& drop : c->in_drops()) {
      table.AddRow({name, "in", drop.reason(), absl::StrCat(drop.pkts())});
      any = true;
    }
    for (const v1::DropCount& drop : c->out_drops()) {
      table.AddRow({name, "out", drop.reason(), absl::StrCat(drop.pkts())});
      any = true;
    }
  }
  std::cout << "\n";
  if (any) {
    table.Print();
  } else {
    std::cout << "nothing dropped\n";
  }
}

void PrintConservation(const v1::Switch& sw) {
  const v1::Counters& c = sw.counters();
  const int64_t gap = GapOfSwitch(sw);
  std::cout << "\nin " << c.in_pkts() << " + replicated " << sw.replicated_pkts()
            << (gap == 0 ? " = " : " != ") << "out " << c.out_pkts() << " + dropped "
            << c.in_discards() + c.out_discards();
  if (gap == 0) {
    std::cout << ": every frame is accounted for\n";
  } else {
    std::cout << ": " << gap << " under way or unaccounted for; look again when traffic rests\n";
  }
}

// "key": message, as the lines of an object indented once.
std::string JsonMember(const char* key, const google::protobuf::Message& message) {
  std::string json = ToJson(message);
  json.erase(json.find_last_not_of('\n') + 1);
  return absl::StrCat(" \"", key, "\": ", absl::StrReplaceAll(json, {{"\n", "\n "}}));
}

int ShowAll(const Session& session, Connection& connection) {
  v1::Switch sw;
  v1::ListUplinksResponse uplinks;
  v1::ListPortsResponse ports;
  auto status = connection.Call(&Stub::GetSwitch, v1::GetSwitchRequest(), &sw);
  if (status.ok()) {
    status = connection.CallForAll(&Stub::ListUplinks, v1::ListUplinksRequest(), &uplinks);
  }
  if (status.ok()) status = connection.CallForAll(&Stub::ListPorts, v1::ListPortsRequest(), &ports);
  if (!status.ok()) return Fail(connection, status);

  std::vector<Row> rows;
  for (const v1::Uplink& uplink : uplinks.uplinks()) {
    rows.push_back({uplink.name(), &uplink.counters()});
  }
  for (const v1::Port& port : ports.ports()) rows.push_back({port.name(), &port.counters()});
  const auto json = [&] {
    return absl::StrCat("{\n", JsonMember("switch", sw), ",\n", JsonMember("uplinks", uplinks),
                        ",\n", JsonMember("ports", ports), "\n}\n");
  };
  PrintAs(session.output, session.output == "table" ? "" : json(), [&] {
    std::vector<Row> all = {{"switch", &sw.counters()}};
    all.insert(all.end(), rows.begin(), rows.end());
    PrintCounterTable(all);
    PrintDropTable(rows);  // the switch's are the sums of theirs
    PrintConservation(sw);
  });
  return kDone;
}

template <typename Resource>
int ShowOne(const Session& session, const Resource& resource) {
  PrintAs(session.output, resource, [&] {
    const std::vector<Row> rows = {{resource.name(), &resource.counters()}};
    PrintCounterTable(rows);
    PrintDropTable(rows);
  });
  return kDone;
}

// `name` may be a port's or an uplink's, with or without its collection; a port's comes first.
int ShowNamed(const Session& session, Connection& connection, const std::string& name) {
  v1::GetUplinkRequest get_uplink;
  get_uplink.set_name(FullName("uplinks/", name));
  v1::Uplink uplink;
  if (name.starts_with("uplinks/")) {
    const auto status = connection.Call(&Stub::GetUplink, get_uplink, &uplink);
    return status.ok() ? ShowOne(session, uplink) : Fail(connection, status);
  }
  v1::GetPortRequest get_port;
  get_port.set_name(FullName("ports/", name));
  v1::Port port;
  const auto port_status = connection.Call(&Stub::GetPort, get_port, &port);
  if (port_status.ok()) return ShowOne(session, port);
  // An uplink's name need not be one that a port may have, hence INVALID_ARGUMENT.
  const bool no_port = port_status.error_code() == grpc::StatusCode::NOT_FOUND ||
                       port_status.error_code() == grpc::StatusCode::INVALID_ARGUMENT;
  if (name.starts_with("ports/") || !no_port) return Fail(connection, port_status);
  const auto uplink_status = connection.Call(&Stub::GetUplink, get_uplink, &uplink);
  if (uplink_status.ok()) return ShowOne(session, uplink);
  if (uplink_status.error_code() != grpc::StatusCode::NOT_FOUND) {
    return Fail(connection, uplink_status);
  }
  std::cerr << "vmqd-cli: there is no port and no uplink of the name " << name << "\n  NOT_FOUND\n";
  return kRefused;
}

}  // namespace

void AddStatsCommands(CLI::App& app, Session& session) {
  CLI::App& resource = AddResource(app, "stats", "Frame counters and drop reasons");
  auto name = std::make_shared<std::string>();
  AddVerb(resource, session, "show", "Show the counters of everything, or of one port or uplink",
          "vmqd-cli stats show vm1",
          [&session, name](Connection& connection) {
            return name->empty() ? ShowAll(session, connection)
                                 : ShowNamed(session, connection, *name);
          })
      .add_option("NAME", *name, "Name of a port or an uplink");
}

}  // namespace vmqd::cli

// vmqd-cli port list|show|del. The verbs that take a port's settings, add and set, are in
// port_settings.cc; history is in history.cc.
#include "client/port.h"

#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command.h"
#include "client/history.h"
#include "client/output.h"
#include "client/vhost_text.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

std::string StatusText(const v1::Port& port) {
  if (port.disabled()) return "disabled";
  return EnumText(v1::OperStatus_Name(port.oper_status()));
}

const google::protobuf::RepeatedPtrField<std::string>& MacsOf(const v1::Port& port) {
  return port.effective_macs().empty() ? port.macs() : port.effective_macs();
}

std::string DeviceText(const v1::Port& port) {
  if (port.kind() == v1::VHOST_USER) return port.socket();
  if (port.peer_device().empty()) return port.device();
  return absl::StrCat(port.device(), ",", port.peer_device());
}

std::string QueueText(const v1::Port& port) {
  std::string text = absl::StrCat(port.effective_queue());
  if (port.has_queue() && port.queue() != port.effective_queue()) {
    absl::StrAppend(&text, ", asked for ", port.queue());
  }
  if (!port.effective_queue_reason().empty()) {
    absl::StrAppend(&text, ": ", port.effective_queue_reason());
  }
  return text;
}

std::string MtuText(const v1::Port& port) {
  if (port.mtu() == 0 || port.mtu() == port.effective_mtu()) {
    return absl::StrCat(port.effective_mtu());
  }
  return absl::StrCat(port.effective_mtu(), ", asked for ", port.mtu());
}

std::string SocketText(const v1::SocketStatistics& socket) {
  return absl::StrCat(socket.role(), " on queue ", socket.queue(), ": ",
                      socket.zero_copy() ? "zero-copy" : "copy", ", rings ", socket.rx_ring_size(),
                      "/", socket.tx_ring_size(), ", rx_ring_full ", socket.rx_ring_full(),
                      ", rx_dropped ", socket.rx_dropped(), ", fill_ring_empty ",
                      socket.rx_fill_ring_empty_descs());
}

void ShowPort(const v1::Port& port) {
  std::vector<std::string> sockets;
  for (const v1::SocketStatistics& socket : port.sockets()) sockets.push_back(SocketText(socket));
  std::vector<std::pair<std::string, std::string>> rows = {
      {"port", ShortName(port.name())},
      {"kind", EnumText(v1::PortKind_Name(port.kind()))},
      {"device", DeviceText(port)},
      {"status",
       absl::StrCat(StatusText(port), port.oper_reason().empty() ? "" : ": ", port.oper_reason())},
      {"uplink", ShortName(port.uplink())},
      {"queue", QueueText(port)},
      {"cpu", absl::StrCat(port.cpu())},
      {"steering", Effective(EnumText(v1::Steering_Name(port.effective_steering())),
                             EnumText(v1::Steering_Name(port.effective_steering())),
                             port.effective_steering_reason())},
      {"macs", absl::StrJoin(MacsOf(port), "\n")},
      {"vlan", port.vlan() == 0 ? "untagged" : absl::StrCat(port.vlan())},
      {"weight", absl::StrCat(port.weight())},
      {"trusted", YesNo(port.trusted())},
      {"mtu", MtuText(port)},
      {"in",
       absl::StrCat(Rate(port.rates().in_pps()), " pps, ", Rate(port.rates().in_bps()), " bit/s")},
      {"out", absl::StrCat(Rate(port.rates().out_pps()), " pps, ", Rate(port.rates().out_bps()),
                           " bit/s")},
      {"drops", absl::StrCat(port.counters().in_discards(), " in, ", port.counters().out_discards(),
                             " out; see stats show ", ShortName(port.name()))},
      {"sockets", absl::StrJoin(sockets, "\n")},
      {"changed settings", absl::StrJoin(port.changed_settings(), "\n")},
  };
  if (port.kind() == v1::VHOST_USER) {
    for (auto& row : VhostDetails(port)) rows.push_back(std::move(row));
  }
  PrintDetails(rows);
}

void ListTable(const v1::ListPortsResponse& response) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"PORT"},
               {"KIND"},
               {"DEVICE"},
               {"STATUS"},
               {"UPLINK"},
               {"QUEUE", kRight},
               {"CPU", kRight},
               {"MAC"},
               {"VLAN", kRight},
               {"WEIGHT", kRight},
               {"IN-PPS", kRight},
               {"OUT-PPS", kRight},
               {"DROPS", kRight}});
  for (const v1::Port& port : response.ports()) {
    const v1::Counters& counters = port.counters();
    table.AddRow({ShortName(port.name()), EnumText(v1::PortKind_Name(port.kind())),
                  DeviceText(port), StatusText(port), ShortName(port.uplink()),
                  absl::StrCat(port.effective_queue()), absl::StrCat(port.cpu()),
                  absl::StrJoin(MacsOf(port), "\n"),
                  port.vlan() == 0 ? "-" : absl::StrCat(port.vlan()), absl::StrCat(port.weight()),
                  Rate(port.rates().in_pps()), Rate(port.rates().out_pps()),
                  absl::StrCat(counters.in_discards() + counters.out_discards())});
  }
  table.Print();
}

}  // namespace

void PrintPortLine(const Session& session, const v1::Port& port, const char* verb) {
  PrintAs(session.output, port, [&] {
    std::cout << "port " << ShortName(port.name()) << " " << verb << ": " << DeviceText(port)
              << ", queue " << QueueText(port) << " of " << ShortName(port.uplink()) << ", CPU "
              << port.cpu() << "\n";
  });
}

void AddPortCommands(CLI::App& app, Session& session) {
  CLI::App& resource = AddResource(app, "port", "Virtual NICs of VMs, containers and the host");
  AddPortSettingVerbs(resource, session);
  AddPortAttachVerb(resource, session);

  AddVerb(resource, session, "list", "List all ports", "vmqd-cli port list -o json",
          [&session](Connection& connection) {
            v1::ListPortsResponse all;
            const auto status =
                connection.CallForAll(&Stub::ListPorts, v1::ListPortsRequest(), &all);
            if (!status.ok()) return Fail(connection, status);
            PrintAs(session.output, all, [&] { ListTable(all); });
            return kDone;
          });

  auto name = std::make_shared<std::string>();
  AddVerb(resource, session, "show", "Show one port", "vmqd-cli port show vm1",
          [&session, name](Connection& connection) {
            v1::GetPortRequest request;
            request.set_name(FullName("ports/", *name));
            v1::Port port;
            const auto status = connection.Call(&Stub::GetPort, request, &port);
            if (!status.ok()) return Fail(connection, status);
            PrintAs(session.output, port, [&] { ShowPort(port); });
            return kDone;
          })
      .add_option("NAME", *name, "Name of the port")
      ->required();

  AddPortHistoryVerb(resource, session);

  auto if_exists = std::make_shared<bool>(false);
  CLI::App& del =
      AddVerb(resource, session, "del", "Disconnect a port; a device that vmqd made is deleted",
              "vmqd-cli port del vm1", [&session, name, if_exists](Connection& connection) {
                v1::DeletePortRequest request;
                request.set_name(FullName("ports/", *name));
                request.set_allow_missing(*if_exists);
                google::protobuf::Empty nothing;
                const auto status = connection.Call(&Stub::DeletePort, request, &nothing);
                if (!status.ok()) return Fail(connection, status);
                PrintAs(session.output, nothing,
                        [&] { std::cout << "port " << ShortName(*name) << " is gone\n"; });
                return kDone;
              });
  del.add_option("NAME", *name, "Name of the port")->required();
  del.add_flag("--if-exists", *if_exists, "Succeed when there is none");
}

}  // namespace vmqd::cli

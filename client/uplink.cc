// vmqd-cli uplink add|list|show|del; uplink_set.cc has set, uplink_balance.cc what places queues.
#include <iostream>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/difference.h"
#include "client/output.h"
#include "client/uplink.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

std::string XdpModeText(const v1::Uplink& uplink) {
  return Effective(EnumText(v1::XdpMode_Name(uplink.xdp_mode())),
                   EnumText(v1::XdpMode_Name(uplink.effective_xdp_mode())),
                   uplink.effective_xdp_mode_reason());
}

std::string SteeringText(const v1::Uplink& uplink) {
  return Effective(EnumText(v1::Steering_Name(uplink.steering())),
                   EnumText(v1::Steering_Name(uplink.effective_steering())),
                   uplink.effective_steering_reason());
}

std::string WakeModeText(const v1::Uplink& uplink) {
  return Effective(EnumText(v1::WakeMode_Name(uplink.wake_mode())),
                   EnumText(v1::WakeMode_Name(uplink.effective_wake_mode())),
                   uplink.effective_wake_mode_reason());
}

std::string CopyText(const v1::Uplink& uplink) {
  if (uplink.zero_copy()) return "zero-copy";
  if (uplink.zero_copy_reason().empty()) return "copy";
  return absl::StrCat("copy: ", uplink.zero_copy_reason());
}

std::string StatusText(const v1::Uplink& uplink) {
  const std::string status = EnumText(v1::OperStatus_Name(uplink.oper_status()));
  return Effective(status, status, uplink.oper_reason());
}

void ShowUplink(const v1::Uplink& uplink) {
  const std::string queues =
      uplink.queues() == 0 || uplink.queues() == uplink.effective_queues()
          ? absl::StrCat(uplink.effective_queues())
          : absl::StrCat(uplink.effective_queues(), ", asked for ", uplink.queues());
  PrintDetails({
      {"uplink", ShortName(uplink.name())},
      {"device", uplink.device()},
      {"status", StatusText(uplink)},
      {"xdp", XdpModeText(uplink)},
      {"buffers", CopyText(uplink)},
      {"steering", SteeringText(uplink)},
      {"wake-up", WakeModeText(uplink)},
      {"balance", BalanceText(uplink)},
      {"busy polling", uplink.busy_poll() ? uplink.busy_poll_state() : "off"},
      {"queues", queues},
      {"buffers per queue", absl::StrCat(uplink.buffers_per_queue())},
      {"mac", uplink.mac()},
      {"mtu", absl::StrCat(uplink.mtu())},
      {"longest frame", absl::StrCat(uplink.max_frame_len(), " bytes")},
      {"numa node", uplink.numa_node() < 0 ? "-" : absl::StrCat(uplink.numa_node())},
      {"ports", absl::StrCat(uplink.port_count())},
      {"in", absl::StrCat(Rate(uplink.rates().in_pps()), " pps, ", Rate(uplink.rates().in_bps()),
                          " bit/s")},
      {"out", absl::StrCat(Rate(uplink.rates().out_pps()), " pps, ", Rate(uplink.rates().out_bps()),
                           " bit/s")},
      {"left to the host", absl::StrCat(uplink.to_host_pkts(), " frames")},
      {"misplaced", absl::StrCat(uplink.misplaced_pkts(), " frames")},
      {"changed settings", absl::StrJoin(uplink.changed_settings(), "\n")},
  });
}

void ListTable(const v1::ListUplinksResponse& response) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"UPLINK"},
               {"DEVICE"},
               {"STATUS"},
               {"XDP"},
               {"BUFFERS"},
               {"STEERING"},
               {"QUEUES", kRight},
               {"PORTS", kRight},
               {"MAC"},
               {"MTU", kRight},
               {"IN-PPS", kRight},
               {"OUT-PPS", kRight},
               {"DROPS", kRight}});
  for (const v1::Uplink& uplink : response.uplinks()) {
    const v1::Counters& counters = uplink.counters();
    table.AddRow({ShortName(uplink.name()), uplink.device(),
                  EnumText(v1::OperStatus_Name(uplink.oper_status())),
                  EnumText(v1::XdpMode_Name(uplink.effective_xdp_mode())),
                  uplink.zero_copy() ? "zero-copy" : "copy",
                  EnumText(v1::Steering_Name(uplink.effective_steering())),
                  absl::StrCat(uplink.effective_queues()), absl::StrCat(uplink.port_count()),
                  uplink.mac(), absl::StrCat(uplink.mtu()), Rate(uplink.rates().in_pps()),
                  Rate(uplink.rates().out_pps()),
                  absl::StrCat(counters.in_discards() + counters.out_discards())});
  }
  table.Print();
}

struct AddOptions {
  std::string device, id, xdp_mode, steering, wake_mode;
  uint32_t queues = 0;
  uint32_t buffers = 0;
  BalanceOptions balance;
  bool busy_poll = false;
  bool may_exist = false;
};

// The request, and the names of the fields that were on the command line.
v1::CreateUplinkRequest RequestFrom(const AddOptions& options, std::vector<std::string>& given) {
  v1::CreateUplinkRequest request;
  request.set_uplink_id(options.id);
  v1::Uplink* uplink = request.mutable_uplink();
  uplink->set_device(options.device);
  given.push_back("device");
  if (v1::XdpMode mode; v1::XdpMode_Parse(absl::AsciiStrToUpper(options.xdp_mode), &mode)) {
    uplink->set_xdp_mode(mode);
    given.push_back("xdp_mode");
  }
  if (v1::Steering mode; v1::Steering_Parse(absl::AsciiStrToUpper(options.steering), &mode)) {
    uplink->set_steering(mode);
    given.push_back("steering");
  }
  if (v1::WakeMode mode; v1::WakeMode_Parse(absl::AsciiStrToUpper(options.wake_mode), &mode)) {
    uplink->set_wake_mode(mode);
    given.push_back("wake_mode");
  }
  if (options.queues != 0) given.push_back("queues");
  uplink->set_queues(options.queues);
  if (options.buffers != 0) given.push_back("buffers_per_queue");
  uplink->set_buffers_per_queue(options.buffers);
  for (const std::string& field : FillBalance(options.balance, uplink)) given.push_back(field);
  if (options.busy_poll) given.push_back("busy_poll");
  uplink->set_busy_poll(options.busy_poll);
  return request;
}

int Add(const Session& session, Connection& connection, const AddOptions& options) {
  std::vector<std::string> given;
  const v1::CreateUplinkRequest request = RequestFrom(options, given);
  v1::Uplink uplink;
  const grpc::Status status = connection.Call(&Stub::CreateUplink, request, &uplink);
  if (status.ok()) {
    PrintUplinkLine(session, uplink, "added");
    return kDone;
  }
  if (!options.may_exist || status.error_code() != grpc::StatusCode::ALREADY_EXISTS) {
    return Fail(connection, status);
  }
  v1::GetUplinkRequest get;
  get.set_name(FullName("uplinks/", options.id.empty() ? options.device : options.id));
  // Not there by that name: then it is the device that is taken, and the first error says so.
  if (!connection.Call(&Stub::GetUplink, get, &uplink).ok()) return Fail(connection, status);
  const auto differences = Differences(request.uplink(), uplink, given);
  if (differences.empty()) {
    PrintUplinkLine(session, uplink, "exists");
    return kDone;
  }
  std::cerr << "vmqd-cli: uplink " << ShortName(uplink.name())
            << " exists with other settings: " << absl::StrJoin(differences, "; ") << "\n";
  return kRefused;
}

void AddUplinkAdd(CLI::App& resource, Session& session) {
  auto options = std::make_shared<AddOptions>();
  CLI::App& verb = AddVerb(
      resource, session, "add", "Attach a network device to the switch",
      "vmqd-cli uplink add eth1 --xdp-mode auto --queues 4",
      [&session, options](Connection& connection) { return Add(session, connection, *options); });
  verb.add_option("DEVICE", options->device, "Network interface")->required();
  verb.add_option("--id", options->id, "Name of the uplink; the device's when left out");
  verb.add_option("--xdp-mode", options->xdp_mode,
                  "native (default): in the driver, or refused; generic: slow, on every device; "
                  "auto: native where the driver can")
      ->check(CLI::IsMember({"native", "generic", "auto"}));
  verb.add_option(
          "--steering", options->steering,
          "software (default): nothing is asked of the NIC; hardware: it gets a rule for each "
          "filter; external: somebody else programs it")
      ->check(CLI::IsMember({"software", "hardware", "external"}));
  verb.add_option(
          "--wake-mode", options->wake_mode,
          "adaptive (default): spin briefly, then sleep; poll: never sleep; interrupt: sleep "
          "at once")
      ->check(CLI::IsMember({"adaptive", "poll", "interrupt"}));
  verb.add_option("--queues", options->queues,
                  "Queues to serve, and for the device to have; 0: all it has");
  verb.add_option("--buffers", options->buffers,
                  "Buffers per queue, a power of two from 2048 to 131072; 0: 16384");
  AddBalanceOptions(verb, options->balance);
  verb.add_flag("--busy-poll", options->busy_poll,
                "Workers run the NIC's receive processing themselves where the driver has it");
  verb.add_flag("--may-exist", options->may_exist,
                "Succeed when it exists with the settings given here");
}

}  // namespace

void PrintUplinkLine(const Session& session, const v1::Uplink& uplink, const char* verb) {
  PrintAs(session.output, uplink, [&] {
    std::cout << "uplink " << ShortName(uplink.name()) << " " << verb << ": "
              << uplink.effective_queues()
              << (uplink.effective_queues() == 1 ? " queue" : " queues") << ", "
              << (uplink.zero_copy() ? "zero-copy" : "copy") << ", xdp " << XdpModeText(uplink)
              << "\n";
  });
}

void AddUplinkCommands(CLI::App& app, Session& session) {
  CLI::App& resource = AddResource(app, "uplink", "Physical NICs attached to the switch");
  AddUplinkAdd(resource, session);
  AddUplinkSetVerb(resource, session);

  AddVerb(resource, session, "list", "List all uplinks", "vmqd-cli uplink list",
          [&session](Connection& connection) {
            v1::ListUplinksResponse all;
            const auto status =
                connection.CallForAll(&Stub::ListUplinks, v1::ListUplinksRequest(), &all);
            if (!status.ok()) return Fail(connection, status);
            PrintAs(session.output, all, [&] { ListTable(all); });
            return kDone;
          });

  auto name = std::make_shared<std::string>();
  AddVerb(resource, session, "show", "Show one uplink", "vmqd-cli uplink show eth1",
          [&session, name](Connection& connection) {
            v1::GetUplinkRequest request;
            request.set_name(FullName("uplinks/", *name));
            v1::Uplink uplink;
            const auto status = connection.Call(&Stub::GetUplink, request, &uplink);
            if (!status.ok()) return Fail(connection, status);
            PrintAs(session.output, uplink, [&] { ShowUplink(uplink); });
            return kDone;
          })
      .add_option("NAME", *name, "Name of the uplink")
      ->required();

  auto if_exists = std::make_shared<bool>(false);
  CLI::App& del =
      AddVerb(resource, session, "del", "Detach an uplink; refused while ports use it",
              "vmqd-cli uplink del eth1", [&session, name, if_exists](Connection& connection) {
                v1::DeleteUplinkRequest request;
                request.set_name(FullName("uplinks/", *name));
                request.set_allow_missing(*if_exists);
                google::protobuf::Empty nothing;
                const auto status = connection.Call(&Stub::DeleteUplink, request, &nothing);
                if (!status.ok()) return Fail(connection, status);
                PrintAs(session.output, nothing,
                        [&] { std::cout << "uplink " << ShortName(*name) << " is gone\n"; });
                return kDone;
              });
  del.add_option("NAME", *name, "Name of the uplink")->required();
  del.add_flag("--if-exists", *if_exists, "Succeed when there is none");
}

}  // namespace vmqd::cli

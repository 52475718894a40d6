// vmqd-cli port add|set: from options to messages.
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/difference.h"
#include "client/port.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

struct PortOptions {
  std::string name, tap, netdev, veth, host, vhost_user, uplink, vhost_role;
  std::vector<std::string> macs;
  std::string home;  // "2" or "auto"
  uint32_t vlan = 0, weight = 0, queue = 0, mtu = 0, queue_pairs = 0;
  bool trusted = false, disabled = false, coalescing = true, may_exist = false;
};

// The options add and set have in common. The daemon, not the client, says which values will do.
void AddCommonOptions(CLI::App& verb, PortOptions& options) {
  verb.add_option("NAME", options.name, "Name of the port: a-z, 0-9 and -, a letter first")
      ->required();
  verb.add_option("--mac", options.macs, "Addresses the port owns, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("MAC[,MAC...]");
  verb.add_option("--vlan", options.vlan, "Access VLAN, 1-4094; 0: untagged");
  verb.add_option("--weight", options.weight,
                  "Claim on a queue of its own and on its worker's time, 0-100 (default 100); 0: "
                  "default queue only");
  verb.add_option("--mtu", options.mtu, "Bytes of payload, 68-65535; 0: the uplink's");
}

bool Given(const CLI::App& verb, const std::string& option) { return verb.count(option) > 0; }

// Fills the fields that both verbs can set and returns the names of those on the command line.
std::vector<std::string> FillCommon(const CLI::App& verb, const PortOptions& options,
                                    v1::Port* port) {
  std::vector<std::string> given;
  if (Given(verb, "--mac")) {
    given.push_back("macs");
    // As the daemon writes them, so that they compare.
    for (const std::string& mac : options.macs) {
      port->add_macs(absl::AsciiStrToLower(absl::StrReplaceAll(mac, {{"-", ":"}})));
    }
  }
  if (Given(verb, "--vlan")) {
    given.push_back("vlan");
    port->set_vlan(options.vlan);
  }
  if (Given(verb, "--weight")) {
    given.push_back("weight");
    port->set_weight(options.weight);
  }
  if (Given(verb, "--mtu")) {
    given.push_back("mtu");
    port->set_mtu(options.mtu);
  }
  if (Given(verb, "--trusted")) {
    given.push_back("trusted");
    port->set_trusted(options.trusted);
  }
  if (Given(verb, "--no-coalescing")) {
    given.push_back("coalescing_off");
    port->set_coalescing_off(!options.coalescing);
  }
  return given;
}

std::vector<std::string> FillVhost(const CLI::App& verb, const PortOptions& options,
                                   v1::Port* port) {
  std::vector<std::string> given;
  if (Given(verb, "--vhost-role")) {
    given.push_back("vhost_role");
    port->set_vhost_role(options.vhost_role == "vmm-listens" ? v1::VMM_LISTENS
                                                             : v1::SWITCH_LISTENS);
  }
  if (Given(verb, "--queue-pairs")) {
    given.push_back("queue_pairs");
    port->set_queue_pairs(options.queue_pairs);
  }
  return given;
}

std::vector<std::string> FillDevices(const PortOptions& options, v1::Port* port) {
  if (!options.tap.empty() || !options.netdev.empty()) {
    port->set_kind(options.tap.empty() ? v1::NETDEV : v1::TAP);
    port->set_device(options.tap.empty() ? options.netdev : options.tap);
    return {"kind", "device"};
  }
  if (!options.vhost_user.empty()) {
    port->set_kind(v1::VHOST_USER);
    port->set_socket(options.vhost_user);
    return {"kind", "socket"};
  }
  port->set_kind(options.veth.empty() ? v1::HOST : v1::VETH);
  const std::string& ends = options.veth.empty() ? options.host : options.veth;
  const size_t comma = options.veth.empty() ? std::string::npos : ends.find(',');
  if (comma == std::string::npos) {
    port->set_peer_device(ends);
    return {"kind", "peer_device"};
  }
  port->set_device(ends.substr(0, comma));
  port->set_peer_device(ends.substr(comma + 1));
  return {"kind", "peer_device", "device"};
}

int AddPort(const CLI::App& verb, const Session& session, Connection& connection,
            const PortOptions& options) {
  v1::CreatePortRequest request;
  request.set_port_id(options.name);
  v1::Port* port = request.mutable_port();
  std::vector<std::string> given = FillCommon(verb, options, port);
  for (const std::string& field : FillDevices(options, port)) given.push_back(field);
  for (const std::string& field : FillVhost(verb, options, port)) given.push_back(field);
  if (!options.uplink.empty()) {
    given.push_back("uplink");
    port->set_uplink(FullName("uplinks/", options.uplink));
  }
  if (Given(verb, "--queue")) {
    given.push_back("queue");
    port->set_queue(options.queue);
  }
  if (options.disabled) given.push_back("disabled");
  port->set_disabled(options.disabled);

  v1::Port answer;
  const grpc::Status status = connection.Call(&Stub::CreatePort, request, &answer);
  if (status.ok()) {
    PrintPortLine(session, answer, "added");
    return kDone;
  }
  if (!options.may_exist || status.error_code() != grpc::StatusCode::ALREADY_EXISTS) {
    return Fail(connection, status);
  }
  v1::GetPortRequest get;
  get.set_name(FullName("ports/", options.name));
  // Not there by that name: then it is a device or an address that is taken, as the first error
  // says.
  if (!connection.Call(&Stub::GetPort, get, &answer).ok()) return Fail(connection, status);
  const auto differences = Differences(*port, answer, given);
  if (differences.empty()) {
    PrintPortLine(session, answer, "exists");
    return kDone;
  }
  std::cerr << "vmqd-cli: port " << options.name
            << " exists with other settings: " << absl::StrJoin(differences, "; ")
            << "\n  port set changes what can be changed\n";
  return kRefused;
}

int SetPort(const CLI::App& verb, const Session& session, Connection& connection,
            const PortOptions& options) {
  v1::UpdatePortRequest request;
  request.mutable_port()->set_name(FullName("ports/", options.name));
  for (const std::string& field : FillCommon(verb, options, request.mutable_port())) {
    request.mutable_update_mask()->add_paths(field);
  }
  if (Given(verb, "--queue")) {
    request.mutable_update_mask()->add_paths("queue");
    if (options.home != "auto") request.mutable_port()->set_queue(options.queue);
  }
  if (Given(verb, "--disable")) {
    request.mutable_update_mask()->add_paths("disabled");
    request.mutable_port()->set_disabled(options.disabled);
  }
  if (request.update_mask().paths().empty()) {
    std::cerr << "vmqd-cli: nothing to set\n  vmqd-cli port set --help shows what there is\n";
    return kUsage;
  }
  v1::Port answer;
  const grpc::Status status = connection.Call(&Stub::UpdatePort, request, &answer);
  if (!status.ok()) return Fail(connection, status);
  PrintPortLine(session, answer, "set");
  return kDone;
}

// Of a port with --vhost-user.
void AddVhostOptions(CLI::App& verb, PortOptions& options) {
  verb.add_option(
          "--vhost-role", options.vhost_role,
          "switch-listens (default): the VMM connects to the socket; vmm-listens: vmqd does")
      ->check(CLI::IsMember({"switch-listens", "vmm-listens"}));
  verb.add_option("--queue-pairs", options.queue_pairs,
                  "Most queue pairs the virtual machine may use, 1-16 (default 1)");
  verb.add_flag("!--no-coalescing", options.coalescing,
                "Never join segments of a TCP stream from the wire into larger ones");
}

void AddAddVerb(CLI::App& resource, Session& session) {
  auto options = std::make_shared<PortOptions>();
  // The action needs its own verb, which is there only once AddVerb has returned.
  auto self = std::make_shared<CLI::App*>(nullptr);
  CLI::App& verb = AddVerb(resource, session, "add", "Connect a virtual NIC to the switch",
                           "vmqd-cli port add vm1 --tap tap-vm1 --mac 52:54:00:00:00:01 --vlan 10\n"
                           "  vmqd-cli port add vm2 --vhost-user vm2.sock --mac 52:54:00:00:00:02\n"
                           "  vmqd-cli port add web --veth eth-web --uplink eth1\n"
                           "  vmqd-cli port add host --host vmq-host",
                           [&session, options, self](Connection& connection) {
                             return AddPort(**self, session, connection, *options);
                           });
  *self = &verb;
  AddCommonOptions(verb, *options);
  CLI::Option_group* kind = verb.add_option_group("kind", "What the port is made of");
  kind->add_option("--tap", options->tap, "Make a tap device, for a virtual machine")
      ->type_name("DEVICE");
  kind->add_option("--netdev", options->netdev, "Take this network device, such as a veth end")
      ->type_name("DEVICE");
  kind->add_option("--veth", options->veth, "Make a veth pair; PEER is for the container")
      ->check([](const std::string& ends) {
        const bool two_at_most = std::count(ends.begin(), ends.end(), ',') <= 1;
        return two_at_most ? "" : "a veth pair has two ends, KEPT,PEER";
      })
      ->type_name("[KEPT,]PEER");
  kind->add_option("--host", options->host,
                   "Make a veth pair; PEER is the host's own interface on the switch")
      ->type_name("PEER");
  kind->add_option("--vhost-user", options->vhost_user,
                   "Share memory with a virtual machine, by the socket of this name; port "
                   "attach-help says how")
      ->type_name("SOCKET");
  kind->require_option(1);
  verb.add_option("--uplink", options->uplink, "Uplink; may be left out when there is one only");
  verb.add_option("--queue", options->queue, "Home queue; chosen by vmqd when left out");
  AddVhostOptions(verb, *options);
  verb.add_flag("--trusted", options->trusted, "Exempt from the source MAC check");
  verb.add_flag("--disabled", options->disabled, "Administratively down from the start");
  verb.add_flag("--may-exist", options->may_exist,
                "Succeed when it exists with the settings given here");
}

void AddSetVerb(CLI::App& resource, Session& session) {
  auto options = std::make_shared<PortOptions>();
  auto self = std::make_shared<CLI::App*>(nullptr);
  CLI::App& verb = AddVerb(resource, session, "set", "Change a port while traffic runs",
                           "vmqd-cli port set vm1 --vlan 20 --weight 50",
                           [&session, options, self](Connection& connection) {
                             return SetPort(**self, session, connection, *options);
                           });
  *self = &verb;
  AddCommonOptions(verb, *options);
  verb.add_option("--queue", options->home,
                  "Home queue, where it stays; auto: placed and moved by vmqd")
      ->check([options](const std::string& text) {
        const bool good = text == "auto" || absl::SimpleAtoi(text, &options->queue);
        return good ? "" : "wanted is the number of a queue, or auto";
      })
      ->type_name("QUEUE|auto");
  verb.add_flag("--trusted,!--no-trusted", options->trusted,
                "Exempt from the source MAC check, or not");
  verb.add_flag("--coalescing,!--no-coalescing", options->coalescing,
                "Join segments of a TCP stream from the wire for a guest that takes them, or not");
  verb.add_flag("--disable,!--enable", options->disabled, "Administratively down, or up");
}

}  // namespace

void AddPortSettingVerbs(CLI::App& resource, Session& session) {
  AddAddVerb(resource, session);
  AddSetVerb(resource, session);
}

}  // namespace vmqd::cli

// vmqd-cli port attach-help: what to tell a VMM, from what the daemon says of the port. The words
// are in attach_help.cc.
#include <iostream>
#include <memory>
#include <string>

#include "client/attach_help.h"
#include "client/output.h"
#include "client/port.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

struct AttachOptions {
  std::string name;
  std::string vmm = "qemu";
};

Vmm VmmOf(const std::string& word) {
  if (word == "libvirt") return Vmm::kLibvirt;
  return word == "cloud-hypervisor" ? Vmm::kCloudHypervisor : Vmm::kQemu;
}

int PrintHelp(const Session& session, Connection& connection, const AttachOptions& options) {
  v1::GetPortRequest request;
  request.set_name(FullName("ports/", options.name));
  v1::Port port;
  const auto status = connection.Call(&Stub::GetPort, request, &port);
  if (!status.ok()) return Fail(connection, status);
  const auto help = AttachHelpFor(port, VmmOf(options.vmm));
  if (!help.ok()) {
    std::cerr << "vmqd-cli: " << std::string(help.status().message()) << "\n";
    return kRefused;
  }
  PrintAs(session.output, AttachHelpJson(*help), [&] {
    std::cout << help->text;
    // Behind a mark that shells take for a comment.
    for (const std::string& note : help->notes) std::cout << "# " << note << "\n";
  });
  return kDone;
}

}  // namespace

void AddPortAttachVerb(CLI::App& resource, Session& session) {
  auto options = std::make_shared<AttachOptions>();
  CLI::App& verb = AddVerb(
      resource, session, "attach-help", "Show what attaches a virtual machine to a port",
      "vmqd-cli port attach-help vm1 --vmm libvirt", [&session, options](Connection& connection) {
        return PrintHelp(session, connection, *options);
      });
  verb.add_option("NAME", options->name, "Name of the port")->required();
  verb.add_option("--vmm", options->vmm, "Whose options are wanted")
      ->check(CLI::IsMember({"qemu", "libvirt", "cloud-hypervisor"}))
      ->capture_default_str();
}

}  // namespace vmqd::cli

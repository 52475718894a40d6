// What to tell a VMM so that a VM gets the NIC of a port: options of a command line, or a piece of
// libvirt's XML. Pure functions, no daemon needed.
//
// Facts: qemu(1) and the vhost-user document of QEMU; formatdomain of libvirt; `cloud-hypervisor
// --help`.
#ifndef VMQD_CLIENT_ATTACH_HELP_H_
#define VMQD_CLIENT_ATTACH_HELP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vmqd/v1/port.pb.h"

namespace vmqd::cli {

enum class Vmm { kQemu, kLibvirt, kCloudHypervisor };

struct AttachHelp {
  Vmm vmm = Vmm::kQemu;
  std::vector<std::string> arguments;  // as a program takes them; none for libvirt
  std::string text;                    // the arguments as a shell takes them, or the XML
  std::vector<std::string> notes;      // sentences: what is to be seen to besides
};

// `port` as GetPort answers it. FailedPrecondition: no VMM attaches to such a port; the sentence
// says what is done with it instead.
absl::StatusOr<AttachHelp> AttachHelpFor(const v1::Port& port, Vmm vmm);

// {"vmm": "qemu", "arguments": [...], "text": "...", "notes": [...]}
std::string AttachHelpJson(const AttachHelp& help);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_ATTACH_HELP_H_

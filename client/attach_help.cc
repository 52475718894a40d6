// See attach_help.h.
#include "client/attach_help.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/name.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

constexpr uint32_t kUsualMtu = 1500;  // what a guest takes that is told none
constexpr char kMemory[] = "1G";      // stands for what the VM has
constexpr const char* kNames[] = {"qemu", "libvirt", "cloud-hypervisor"};  // by Vmm

// What all VMMs are told of a port, each in its own words.
struct Nic {
  std::string id;
  std::string mac;
  uint32_t mtu = 0;          // 0: needs no saying
  uint32_t queue_pairs = 1;  // vhost-user
  std::string socket;        // its path; empty: a tap
  std::string tap;
  bool vmm_listens = false;
};

const google::protobuf::RepeatedPtrField<std::string>& MacsOf(const v1::Port& port) {
  return port.effective_macs().empty() ? port.macs() : port.effective_macs();
}

Nic NicOf(const v1::Port& port) {
  Nic nic{.id = ShortName(port.name())};
  if (!MacsOf(port).empty()) nic.mac = MacsOf(port)[0];
  if (port.effective_mtu() != kUsualMtu) nic.mtu = port.effective_mtu();
  if (port.kind() == v1::TAP) {
    nic.tap = port.device();
    return nic;
  }
  nic.queue_pairs = std::max(port.queue_pairs(), 1u);
  nic.socket = port.vhost().socket_path();
  nic.vmm_listens = port.vhost_role() == v1::VMM_LISTENS;
  return nic;
}

// --- QEMU

// A comma in a value is written twice.
std::string QemuValue(const std::string& value) {
  return absl::StrReplaceAll(value, {{",", ",,"}});
}

std::string QemuDevice(const Nic& nic) {
  std::string device = absl::StrCat("virtio-net-pci,netdev=net-", nic.id, ",mac=", nic.mac);
  if (nic.queue_pairs > 1) {
    // A vector for each queue, one for the configuration, one for the control queue.
    absl::StrAppend(&device, ",mq=on,vectors=", 2 * nic.queue_pairs + 2);
  }
  if (nic.mtu != 0) absl::StrAppend(&device, ",host_mtu=", nic.mtu);
  return device;
}

std::vector<std::string> QemuArguments(const Nic& nic) {
  if (nic.socket.empty()) {
    return {"-netdev",
            absl::StrCat("tap,id=net-", nic.id, ",ifname=", QemuValue(nic.tap),
                         ",script=no,downscript=no"),
            "-device", QemuDevice(nic)};
  }
  std::string netdev = absl::StrCat("vhost-user,id=net-", nic.id, ",chardev=char-", nic.id);
  if (nic.queue_pairs > 1) absl::StrAppend(&netdev, ",queues=", nic.queue_pairs);
  return {"-m",
          kMemory,
          "-object",
          absl::StrCat("memory-backend-memfd,id=mem0,size=", kMemory, ",share=on"),
          "-machine",
          "memory-backend=mem0",
          "-chardev",
          absl::StrCat("socket,id=char-", nic.id, ",path=", QemuValue(nic.socket),
                       nic.vmm_listens ? ",server=on,wait=off" : ",reconnect=1"),
          "-netdev",
          std::move(netdev),
          "-device",
          QemuDevice(nic)};
}

// --- Cloud Hypervisor

std::vector<std::string> CloudHypervisorArguments(const Nic& nic) {
  std::string net = nic.socket.empty()
                        ? absl::StrCat("tap=", nic.tap)
                        : absl::StrCat("vhost_user=true,socket=", nic.socket,
                                       ",vhost_mode=", nic.vmm_listens ? "server" : "client",
                                       ",num_queues=", 2 * nic.queue_pairs);
  absl::StrAppend(&net, ",mac=", nic.mac);
  if (nic.mtu != 0) absl::StrAppend(&net, ",mtu=", nic.mtu);
  if (nic.socket.empty()) return {"--net", net};
  return {"--memory", absl::StrCat("size=", kMemory, ",shared=on"), "--net", net};
}

// --- libvirt

std::string Xml(const std::string& value) {
  return absl::StrReplaceAll(value,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&apos;"}});
}

std::string LibvirtTap(const Nic& nic) {
  return absl::StrCat("<!-- in <devices> -->\n<interface type='ethernet'>\n  <mac address='",
                      Xml(nic.mac), "'/>\n  <target dev='", Xml(nic.tap),
                      "' managed='no'/>\n  <model type='virtio'/>\n");
}

std::string LibvirtVhostUser(const Nic& nic) {
  std::string xml = absl::StrCat(
      "<!-- in <domain> -->\n"
      "<memoryBacking>\n"
      "  <source type='memfd'/>\n"
      "  <access mode='shared'/>\n"
      "</memoryBacking>\n"
      "<!-- in <devices> -->\n"
      "<interface type='vhostuser'>\n"
      "  <mac address='",
      Xml(nic.mac), "'/>\n  <source type='unix' path='", Xml(nic.socket), "' mode='",
      nic.vmm_listens ? "server'/>\n"
                      : "client'>\n    <reconnect enabled='yes' timeout='1'/>\n  </source>\n",
      "  <model type='virtio'/>\n");
  if (nic.queue_pairs > 1) {
    absl::StrAppend(&xml, "  <driver queues='", nic.queue_pairs, "'/>\n");
  }
  return xml;
}

std::string LibvirtXml(const Nic& nic) {
  std::string xml = nic.socket.empty() ? LibvirtTap(nic) : LibvirtVhostUser(nic);
  if (nic.mtu != 0) absl::StrAppend(&xml, "  <mtu size='", nic.mtu, "'/>\n");
  return xml + "</interface>\n";
}

// --- for all of them

// As a shell takes it.
std::string Shell(const std::string& argument) {
  const bool plain = std::all_of(argument.begin(), argument.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("-_./,=:@+").find(c) != std::string_view::npos;
  });
  if (plain) return argument;
  return absl::StrCat("'", absl::StrReplaceAll(argument, {{"'", "'\\''"}}), "'");
}

// An option with its value a line.
std::string ShellText(const std::vector<std::string>& arguments) {
  std::string text;
  for (const std::string& argument : arguments) {
    if (!text.empty()) absl::StrAppend(&text, absl::StartsWith(argument, "-") ? " \\\n" : " ");
    absl::StrAppend(&text, Shell(argument));
  }
  return text + "\n";
}

std::vector<std::string> NotesOn(const v1::Port& port, const Nic& nic, Vmm vmm) {
  std::vector<std::string> notes;
  if (MacsOf(port).size() > 1) {
    notes.push_back("the guest may use the port's other addresses too, beside the one given here");
  }
  if (nic.socket.empty()) return notes;
  if (vmm != Vmm::kLibvirt) {
    notes.push_back(
        absl::StrCat(kMemory, " stands for the memory of the VM, which has to be shared"));
  }
  if (vmm == Vmm::kCloudHypervisor && nic.queue_pairs > 1) {
    notes.push_back(absl::StrCat("the VM needs at least ", nic.queue_pairs,
                                 " CPUs: --cpus boot=", nic.queue_pairs));
  }
  if (nic.vmm_listens) {
    notes.push_back(
        "the socket is the VMM's: vmqd's user has to be allowed to write to it, and the VMM waits "
        "at "
        "its start until vmqd has connected");
    return notes;
  }
  if (vmm == Vmm::kQemu) {
    notes.push_back(
        "a QEMU that no longer knows reconnect=1 takes reconnect-ms=1000 (from 9.2 on)");
  }
  notes.push_back(
      "whoever runs the VM has to be a member of vhost_user.group in vmqd.yaml, by default kvm");
  return notes;
}

// Of ports that no VMM attaches to.
std::string WhatElse(const v1::Port& port) {
  switch (port.kind()) {
    case v1::VETH:
      return absl::StrCat("its other end is for a container: ip link set ", port.peer_device(),
                          " netns NAMESPACE");
    case v1::HOST:
      return absl::StrCat("its other end is the host's own interface: ip link set ",
                          port.peer_device(), " up");
    default:
      return absl::StrCat("it is the device ", port.device(),
                          ", and whatever that leads to is attached already");
  }
}

}  // namespace

absl::StatusOr<AttachHelp> AttachHelpFor(const v1::Port& port, Vmm vmm) {
  if (port.kind() != v1::TAP && port.kind() != v1::VHOST_USER) {
    return absl::FailedPreconditionError(
        absl::StrCat("no VMM attaches to port ", ShortName(port.name()), ", a ",
                     EnumText(v1::PortKind_Name(port.kind())), " port: ", WhatElse(port),
                     "; for a virtual machine add a port with --vhost-user or --tap"));
  }
  const Nic nic = NicOf(port);
  if (nic.socket.empty() && port.kind() == v1::VHOST_USER) {
    return absl::FailedPreconditionError(
        absl::StrCat("the daemon does not say where the socket of port ", nic.id,
                     " is; port show tells what state it is in"));
  }
  AttachHelp help{.vmm = vmm};
  if (vmm == Vmm::kQemu) help.arguments = QemuArguments(nic);
  if (vmm == Vmm::kCloudHypervisor) help.arguments = CloudHypervisorArguments(nic);
  help.text = vmm == Vmm::kLibvirt ? LibvirtXml(nic) : ShellText(help.arguments);
  help.notes = NotesOn(port, nic, vmm);
  return help;
}

std::string AttachHelpJson(const AttachHelp& help) {
  const auto list = [](const std::vector<std::string>& texts) {
    return absl::StrCat("[",
                        absl::StrJoin(texts, ", ",
                                      [](std::string* out, const std::string& text) {
                                        absl::StrAppend(out, JsonText(text));
                                      }),
                        "]");
  };
  return absl::StrCat("{\n \"vmm\": ", JsonText(kNames[static_cast<size_t>(help.vmm)]),
                      ",\n \"arguments\": ", list(help.arguments),
                      ",\n \"text\": ", JsonText(help.text), ",\n \"notes\": ", list(help.notes),
                      "\n}\n");
}

}  // namespace vmqd::cli

// What the device's driver does for XDP, as the kernel's netdev family tells (Linux 6.3) without
// anything being attached, and who has a program on it.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/doctor/checks.h"

namespace vmqd::doctor {
namespace {

// The longest MTU whose frames, tag included, fit the larger of vmqd's two buffer sizes: 4096 bytes
// less the headroom of 256, an Ethernet header of 14 and a tag of 4.
constexpr uint32_t kMostMtuForPorts = 4096 - 256 - 14 - 4;
// What is left of a page for a driver that puts a frame into one: less headroom, the 320 bytes of
// struct skb_shared_info, and the Ethernet header.
constexpr uint32_t kMostMtuInPage = 4096 - 256 - 320 - 14;

constexpr char kNotSaid[] = "not known: this kernel does not say (before Linux 6.3)";

bool IsOwn(const DeviceFacts& device, const DoctorOptions& options) {
  const std::vector<std::string>& own = options.own_devices;
  return std::find(own.begin(), own.end(), device.link.name) != own.end();
}

void CheckMode(uint64_t features, Report& report) {
  if (!(features & kXdpBasic)) {
    report.Problem("xdp-mode", "the driver has no native XDP: an uplink is refused by default",
                   "uplink add --xdp-mode auto uses generic XDP, which is slow");
  } else if (!(features & kXdpRedirect)) {
    report.Problem("xdp-mode", "the driver's XDP cannot redirect frames into sockets",
                   "uplink add --xdp-mode generic");
  } else {
    report.Ok("xdp-mode", "native");
  }
}

void CheckFeatures(const DeviceFacts& device, Report& report) {
  if (!device.xdp_features) {
    report.Note("xdp-mode", kNotSaid, "uplink add tries native XDP and says so when it cannot");
    report.Note("zero-copy", kNotSaid, "uplink show says it once the device is attached");
    report.Note("device-frags", kNotSaid, "");
    report.Note("redirect-target", kNotSaid, "");
    return;
  }
  const uint64_t features = *device.xdp_features;
  CheckMode(features, report);
  if (features & kXdpZeroCopy) {
    report.Ok("zero-copy", "the driver has it");
  } else {
    report.Note("zero-copy", "the driver does not have it: the kernel copies each frame once more",
                "");
  }
  if (features & kXdpFrags) {
    report.Ok("device-frags", "the driver shows XDP frames in several buffers");
  } else {
    report.Note("device-frags", "the driver shows XDP no frames in several buffers",
                "large MTUs do not go with XDP on this device");
  }
  if (features & kXdpTransmit) {
    report.Ok("redirect-target", "frames can be redirected into the device in the kernel");
  } else {
    report.Note("redirect-target", "frames cannot be redirected into the device in the kernel now",
                device.link.kind == "veth"
                    ? "vmqd does not need it; GRO or XDP at the other end turns it on"
                    : "vmqd does not need it");
  }
}

void CheckMtu(const DeviceFacts& device, Report& report) {
  const uint32_t mtu = device.link.mtu;
  const bool no_frags = device.xdp_features && !(*device.xdp_features & kXdpFrags);
  const std::string lower =
      absl::StrCat("ip link set ", device.link.name, " mtu 1500, here and on what it is wired to");
  if (mtu > kMostMtuInPage && no_frags) {
    report.Problem("mtu",
                   absl::StrCat(mtu, ", more than the ", kMostMtuInPage,
                                " that fit one page, and the driver's XDP needs them to"),
                   lower);
  } else if (mtu > kMostMtuForPorts) {
    report.Note("mtu",
                absl::StrCat(mtu, ", more than the ", kMostMtuForPorts,
                             " that fit one buffer: longer frames reach the host, but no port"),
                lower);
  } else {
    report.Ok("mtu", absl::StrCat(mtu));
  }
}

void CheckAttached(const DeviceFacts& device, bool own, Report& report) {
  if (device.programs.empty()) {
    report.Ok("attached-program", "no XDP program is attached");
    return;
  }
  std::vector<std::string> words;
  bool of_vmqd = false;
  for (const AttachedXdp& program : device.programs) {
    words.push_back(absl::StrCat("id ", program.id,
                                 program.name.empty() ? "" : absl::StrCat(" ", program.name), " (",
                                 program.mode, ")"));
    of_vmqd = of_vmqd || absl::StartsWith(program.name, "vmqd_");
  }
  const std::string seen = absl::StrJoin(words, ", ");
  if (own) {
    report.Ok("attached-program", absl::StrCat("vmqd's own: ", seen));
  } else if (of_vmqd) {
    report.Problem("attached-program",
                   absl::StrCat("a program of another vmqd, or of one that died: ", seen),
                   "start the daemon it belongs to, or run vmqd-cli cleanup");
  } else {
    report.Problem("attached-program", absl::StrCat("somebody else's XDP program: ", seen),
                   absl::StrCat("it is left alone, and attaching refused; find its owner with "
                                "bpftool net show dev ",
                                device.link.name));
  }
}

}  // namespace

std::vector<Finding> CheckDeviceXdp(const DeviceFacts& device, const DoctorOptions& options) {
  Report report(device.link.name);
  CheckFeatures(device, report);
  CheckMtu(device, report);
  CheckAttached(device, IsOwn(device, options), report);
  return report.Take();
}

}  // namespace vmqd::doctor

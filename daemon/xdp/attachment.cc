// XDP links, pinned or not; the contract is in the header.
//
// Facts (Linux 6.18). A link whose device died or that was detached stays, with ifindex 0. A device
// keeps its program and link when it moves to another namespace, and the link then tells the index
// over there: that an index of a link is one of ours, is known only from the device itself running
// the link's program. While a link is attached, rtnetlink can neither replace nor remove its
// program. Closing the last descriptor detaches at once, removing the last pin some time later.
#include "daemon/xdp/attachment.h"

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/xdp_link.h"
#include "daemon/xdp/xdp_query.h"

namespace vmqd {
namespace {

absl::Status KernelError(absl::string_view attempted, int error, absl::string_view cure) {
  return absl::FailedPreconditionError(
      absl::StrCat(attempted, ": ", std::strerror(error), cure.empty() ? "" : "; ", cure));
}

absl::Status AttachError(const std::string& device, AttachMode mode, int error) {
  std::string cure;
  if (error == EOPNOTSUPP) cure = "its driver has no native XDP; try xdp_mode GENERIC or AUTO";
  if (error == EBUSY) cure = "another XDP program is attached; it is left alone";
  if (error == ERANGE || error == EINVAL) {
    cure = "its MTU or its offloads (LRO) do not go with XDP; see the kernel log";
  }
  if (error == EPERM) cure = "vmqd needs CAP_BPF and CAP_NET_ADMIN";
  return KernelError(
      absl::StrCat("attaching the XDP program to ", device,
                   mode == AttachMode::kNative ? " in native mode" : " in generic mode"),
      error, cure);
}

uint32_t ProgramId(int program_fd) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  return bpf_obj_get_info_by_fd(program_fd, &info, &size) == 0 ? info.id : 0;
}

// The mode in which `link` runs on this device, as far as it does.
std::optional<AttachMode> ModeOn(int ifindex, const XdpPrograms& running, const XdpLink& link) {
  if (link.ifindex() != ifindex || link.program_id() == 0) return std::nullopt;
  if (running.native == link.program_id()) return AttachMode::kNative;
  if (running.generic == link.program_id()) return AttachMode::kGeneric;
  return std::nullopt;
}

absl::Status RefuseForeign(const std::string& device, uint32_t program_id) {
  return absl::FailedPreconditionError(
      absl::StrCat(device, " already carries an XDP program (id ", program_id,
                   "), which is left alone; find its owner with 'bpftool net show dev ", device,
                   "' and detach it there"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Attachment>> Attachment::Attach(int program_fd, int ifindex,
                                                               const std::string& device,
                                                               AttachMode mode,
                                                               std::string_view pin) {
  auto running = QueryXdp(ifindex);
  if (!running.ok()) return running.status();
  auto pinned = XdpLink::OpenPinned(std::string(pin));
  if (!pinned.ok()) return pinned.status();
  const auto pinned_mode = ModeOn(ifindex, *running, *pinned);
  if (running->any() != 0 && !pinned_mode) return RefuseForeign(device, running->any());

  const uint32_t program_id = ProgramId(program_fd);
  if (pinned_mode == mode && bpf_link_update(pinned->fd(), program_fd, nullptr) == 0) {
    std::unique_ptr<Attachment> taken(new Attachment(pinned->Release(), ifindex, program_id));
    taken->pin_ = pin;
    taken->taken_over_ = true;
    return taken;
  }
  pinned->RemoveWithPin();

  bpf_link_create_opts options{};
  options.sz = sizeof(options);
  options.flags = mode == AttachMode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  const int fd = bpf_link_create(program_fd, ifindex, BPF_XDP, &options);
  if (fd < 0) return AttachError(device, mode, -fd);
  std::unique_ptr<Attachment> fresh(new Attachment(fd, ifindex, program_id));
  fresh->Pin(pin);
  return fresh;
}

void Attachment::Pin(std::string_view pin) {
  if (pin.empty()) return;
  const std::string path(pin);
  if (bpf_obj_pin(link_fd_, path.c_str()) == 0) {
    pin_ = path;
    return;
  }
  pin_status_ = KernelError(absl::StrCat("pinning the XDP program to ", path), errno,
                            "it will end with this process");
}

std::optional<AttachMode> Attachment::PinnedMode(int ifindex, std::string_view pin) {
  auto running = QueryXdp(ifindex);
  auto pinned = XdpLink::OpenPinned(std::string(pin));
  if (!running.ok() || !pinned.ok()) return std::nullopt;
  return ModeOn(ifindex, *running, *pinned);
}

Attachment::~Attachment() { Detach(); }

void Attachment::Detach() {
  if (link_fd_ < 0) return;
  XdpLink(link_fd_, pin_).RemoveWithPin();
  link_fd_ = -1;
}

bool Attachment::Leave() {
  if (pin_.empty() || Look().running != Running::kOurs) {
    Detach();
    return false;
  }
  close(link_fd_);
  link_fd_ = -1;
  return true;
}

Attachment::State Attachment::Look() const {
  const auto running = QueryXdp(ifindex_);
  if (absl::IsNotFound(running.status())) return {.running = Running::kDeviceGone};
  const XdpLinkInfo link = LookAtLink(link_fd_);
  if (link.ifindex == 0) {
    if (!running.ok() || running->any() == 0) return {.running = Running::kDetached};
    return {.running = Running::kReplaced, .program_id = running->any()};
  }
  if (link.program_id != program_id_) {
    return {.running = Running::kReplaced, .program_id = link.program_id};
  }
  if (!running.ok()) return {.running = Running::kOurs};  // the link says so; no more can be known
  const bool here = running->native == program_id_ || running->generic == program_id_;
  return {.running = here ? Running::kOurs : Running::kDeviceGone};
}

absl::Status CheckNoProgram(int ifindex, const std::string& device, std::string_view pin) {
  const auto running = QueryXdp(ifindex);
  if (!running.ok() || running->any() == 0) return absl::OkStatus();
  const auto pinned = XdpLink::OpenPinned(std::string(pin));
  if (pinned.ok() && ModeOn(ifindex, *running, *pinned)) return absl::OkStatus();
  return RefuseForeign(device, running->any());
}

}  // namespace vmqd

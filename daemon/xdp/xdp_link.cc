#include "daemon/xdp/xdp_link.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

constexpr char kCountersSuffix[] = "+counters";

}  // namespace

std::string CountersPin(const std::string& pin) { return pin + kCountersSuffix; }

std::string LinkPin(const std::string& counters_pin) {
  return counters_pin.substr(0, counters_pin.rfind(kCountersSuffix));
}

bool IsCountersPin(const std::string& name) { return name.ends_with(kCountersSuffix); }

XdpLinkInfo LookAtLink(int fd) {
  bpf_link_info info{};
  __u32 size = sizeof(info);
  if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) != 0 || info.type != BPF_LINK_TYPE_XDP) {
    return {};
  }
  return {.id = info.id, .ifindex = static_cast<int>(info.xdp.ifindex), .program_id = info.prog_id};
}

absl::StatusOr<XdpLink> XdpLink::OpenPinned(const std::string& pin) {
  if (pin.empty()) return XdpLink(-1, pin);
  const int fd = bpf_obj_get(pin.c_str());
  if (fd < 0 && errno != ENOENT) {
    const int error = errno;
    return absl::FailedPreconditionError(
        absl::StrCat("opening the XDP link that an earlier vmqd pinned to ", pin, ": ",
                     std::strerror(error), "; 'rm ", pin, "' ends it"));
  }
  return XdpLink(fd, pin);
}

XdpLink::XdpLink(int fd, std::string pin) : fd_(fd), pin_(std::move(pin)), info_(LookAtLink(fd)) {}

XdpLink::XdpLink(XdpLink&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), pin_(std::move(other.pin_)), info_(other.info_) {}

XdpLink::~XdpLink() {
  if (fd_ >= 0) close(fd_);
}

int XdpLink::Release() { return std::exchange(fd_, -1); }

bool XdpLink::IsPinned() const {
  auto pinned = OpenPinned(pin_);
  return pinned.ok() && pinned->fd_ >= 0 && pinned->info_.id == info_.id;
}

void XdpLink::RemoveWithPin() {
  if (fd_ < 0) return;
  if (IsPinned()) {
    unlink(pin_.c_str());
    unlink(CountersPin(pin_).c_str());
  }
  // Not by closing alone: what the pin held may go later than the descriptor.
  bpf_link_detach(fd_);
  close(Release());
}

}  // namespace vmqd

// Finishing devices that are vmqd's own: new ones, and those of an earlier daemon. Control threads;
// the contracts are in link.h and link_finish.h.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/link_finish.h"
#include "daemon/xdp/link_message.h"
#include "daemon/xdp/link_parse.h"

namespace vmqd {
namespace {

// kAlreadyExists unless the device is what a daemon with this mark made under this name.
absl::Status CheckOwn(const LinkDetails& found, bool right_kind, const std::string& kind,
                      std::string_view mark) {
  const Link& link = found.link;
  std::string difference;
  if (!right_kind) {
    difference = absl::StrCat("is not a ", kind, " as vmqd makes it");
  } else if (link.alias != mark && !IsUnfinished(found, mark)) {
    difference = link.alias.empty() ? "is not marked as vmqd's"
                                    : absl::StrCat("is marked \"", link.alias, "\"");
  }
  if (difference.empty()) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("taking over ", kind, " ", link.name, ": the device of that name ", difference,
                   "; choose another name, or remove it with `ip link del ", link.name, "`"));
}

// Headers and offloads are those of whoever opened the tap last, and stay when they close it. While
// somebody has it open, they are the VMM's, and right for it.
absl::Status ResetTap(const LinkDetails& found) {
  auto offload = GetFeature(found.link.name, "tx-checksum-ip-generic");
  if (!offload.ok()) return offload.status();
  if (found.vnet_header && !found.packet_information && !offload->active) return absl::OkStatus();
  TapDescriptor tap;
  int error = tap.Attach(found.link.name, 0);
  if (error == EBUSY) return absl::OkStatus();
  if (error == 0) error = tap.ClearOffloads();
  return KernelRefusal({.error = error}, absl::StrCat("resetting tap ", found.link.name));
}

// What may have changed since the device was finished.
absl::Status Refresh(const Link& link, uint32_t mtu) {
  if (link.mtu != mtu) {
    if (absl::Status status = SetLinkMtu(link.ifindex, mtu); !status.ok()) return status;
  }
  return link.up ? absl::OkStatus() : SetLinkUp(link.ifindex);
}

}  // namespace

TapDescriptor::~TapDescriptor() {
  if (fd_ >= 0) close(fd_);
}

int TapDescriptor::Attach(const std::string& name, int more_flags) {
  fd_ = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd_ < 0) return errno;
  ifreq request{};
  name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more_flags);
  return ioctl(fd_, TUNSETIFF, &request) < 0 ? errno : 0;
}

int TapDescriptor::ClearOffloads() { return ioctl(fd_, TUNSETOFFLOAD, 0) < 0 ? errno : 0; }

int TapDescriptor::MakePersistent() { return ioctl(fd_, TUNSETPERSIST, 1) < 0 ? errno : 0; }

absl::Status FinishTap(int ifindex, uint32_t mtu) {
  if (absl::Status status = DisableIpv6AddressGeneration(ifindex); !status.ok()) return status;
  if (absl::Status status = SetLinkMtu(ifindex, mtu); !status.ok()) return status;
  return SetLinkUp(ifindex);
}

absl::Status FinishVeth(const LinkDetails& near, std::string_view mark) {
  const int ifindex = near.link.ifindex;
  if (absl::Status status = DisableIpv6AddressGeneration(ifindex); !status.ok()) return status;
  auto far = LookUpLink(near.peer);
  if (!far.ok()) return far.status();
  if (absl::Status status = SetFeature(far->link.name, "rx-gro", true); !status.ok()) {
    return status;
  }
  if (absl::Status status = SetLinkUp(ifindex); !status.ok()) return status;
  if (absl::Status status = SetLinkUp(near.peer); !status.ok()) return status;
  return mark.empty() ? absl::OkStatus() : SetMark(ifindex, mark);
}

absl::Status AdoptTap(std::string_view name, uint32_t mtu, std::string_view mark) {
  auto found = LookUpLink(name);
  if (!found.ok()) return found.status();
  const bool single_queue_tap = found->tap && !found->multi_queue;
  if (absl::Status status = CheckOwn(*found, single_queue_tap, "tap", mark); !status.ok()) {
    return status;
  }
  if (absl::Status status = ResetTap(*found); !status.ok()) return status;
  return Refresh(found->link, mtu);
}

absl::Status AdoptVeth(std::string_view name, uint32_t mtu, std::string_view mark) {
  auto found = LookUpLink(name);
  if (!found.ok()) return found.status();
  if (absl::Status status = CheckOwn(*found, found->link.kind == "veth", "veth", mark);
      !status.ok()) {
    return status;
  }
  // The far end is its user's once the pair was complete.
  if (IsUnfinished(*found, mark)) {
    if (absl::Status status = FinishVeth(*found, mark); !status.ok()) return status;
    found->link.up = true;
  }
  return Refresh(found->link, mtu);
}

absl::StatusOr<std::vector<Link>> MarkedLinks(std::string_view prefix) {
  if (GroupOfMark(prefix) == 0) {  // else everybody's devices might be vmqd's
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(prefix), "\" is not the beginning of a mark"));
  }
  std::vector<Link> marked;
  absl::Status status = ForEachLink([&](LinkDetails details) {
    if (details.link.alias.starts_with(prefix) || IsUnfinished(details, prefix)) {
      marked.push_back(std::move(details.link));
    }
  });
  if (!status.ok()) return status;
  return marked;
}

}  // namespace vmqd

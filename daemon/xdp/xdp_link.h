// A bpf_link of type XDP by its descriptor, and the file that pins it. Used by attachment.cc and
// pin.cc; control threads.
#ifndef VMQD_DAEMON_XDP_XDP_LINK_H_
#define VMQD_DAEMON_XDP_XDP_LINK_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace vmqd {

struct XdpLinkInfo {
  uint32_t id = 0;
  int ifindex = 0;  // in the device's namespace; 0: detached, or the device is gone
  uint32_t program_id = 0;
};
// Zeros when `fd` is no XDP link.
XdpLinkInfo LookAtLink(int fd);

// Owns the descriptor, which may be -1: no link.
class XdpLink {
 public:
  // Without a descriptor when there is nothing at `pin`, or `pin` is empty.
  static absl::StatusOr<XdpLink> OpenPinned(const std::string& pin);
  XdpLink(int fd, std::string pin);
  ~XdpLink();
  XdpLink(XdpLink&& other) noexcept;
  XdpLink& operator=(XdpLink&&) = delete;

  int fd() const { return fd_; }
  int ifindex() const { return info_.ifindex; }
  uint32_t program_id() const { return info_.program_id; }

  int Release();
  // Detaches, and removes the pin with what was pinned beside it, unless another link is pinned
  // there by now. The device has no program of this link when it returns.
  void RemoveWithPin();

 private:
  bool IsPinned() const;

  int fd_;
  std::string pin_;  // may be empty
  XdpLinkInfo info_;
};

// Where the counters of the program whose link is pinned at `pin` are pinned. No id has a plus.
std::string CountersPin(const std::string& pin);
bool IsCountersPin(const std::string& name);
std::string LinkPin(const std::string& counters_pin);  // beside which those counters lie

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_XDP_LINK_H_

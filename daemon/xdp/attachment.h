// An XDP program on a device, held by a bpf_link. Pinned to a file, the link outlives the daemon: a
// crash leaves the program at work (VM frames dropped, the host's passed), and the next daemon
// takes the link over without a moment in which the device has no program. Without a pin the
// program ends with the object, or with the process.
//
// Needs CAP_BPF and CAP_NET_ADMIN, no CAP_SYS_ADMIN. Control threads, under the Switch's mutex, in
// the device's network namespace.
#ifndef VMQD_DAEMON_XDP_ATTACHMENT_H_
#define VMQD_DAEMON_XDP_ATTACHMENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

enum class AttachMode { kNative, kGeneric };

class Attachment {
 public:
  // `pin`: a file on a bpf file system, see pin.h; empty: none. A link pinned there that is on this
  // device in this mode is taken over: from one frame to the next it runs `program_fd`, whose maps
  // must therefore be complete. One on another device, in another mode, or without its device is
  // removed, and a fresh one made. An Attachment of this process with this pin has to be gone
  // before, or it will take the link away when it goes.
  // kFailedPrecondition when the device already carries another program, which is left alone, or
  // when the driver cannot; the message says which. OK also when the program is attached but could
  // not be pinned: pin_status() says why.
  static absl::StatusOr<std::unique_ptr<Attachment>> Attach(int program_fd, int ifindex,
                                                            const std::string& device,
                                                            AttachMode mode,
                                                            std::string_view pin = "");
  // In which mode the link pinned at `pin` runs on this device; nothing when there is none. For
  // callers that would try several modes: the one that runs costs no gap.
  static std::optional<AttachMode> PinnedMode(int ifindex, std::string_view pin);

  ~Attachment();  // detaches
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  // Removes the pin and ends the program: when it returns, the device has none. Once is enough.
  void Detach();
  // Lets the pinned program run on, for the next Attachment with this pin to take over. One that is
  // not pinned, or has lost its device, is detached; then false.
  bool Leave();

  bool taken_over() const { return taken_over_; }                 // from an earlier daemon
  const absl::Status& pin_status() const { return pin_status_; }  // OK: pinned, or no pin wanted

  enum class Running {
    kOurs,        // as attached
    kDetached,    // somebody detached it; the device carries no program
    kReplaced,    // somebody else's program runs there, or theirs was put into our link
    kDeviceGone,  // deleted, or moved to another namespace; Detach() all the same
  };
  struct State {
    Running running = Running::kOurs;
    uint32_t program_id = 0;  // kReplaced: theirs
    friend bool operator==(const State&, const State&) = default;
  };
  // What runs on the device now. Two system calls' worth: fit for once a second and device.
  State Look() const;

 private:
  Attachment(int link_fd, int ifindex, uint32_t program_id)
      : link_fd_(link_fd), ifindex_(ifindex), program_id_(program_id) {}
  void Pin(std::string_view pin);

  int link_fd_;  // -1: detached
  int ifindex_;
  uint32_t program_id_;
  std::string pin_;  // empty: not pinned
  bool taken_over_ = false;
  absl::Status pin_status_;
};

// FailedPrecondition, naming the program, when `device` carries an XDP program other than that of
// the link pinned at `pin`.
absl::Status CheckNoProgram(int ifindex, const std::string& device, std::string_view pin = "");

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_ATTACHMENT_H_

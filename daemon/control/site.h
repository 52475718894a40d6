// Site: where the switch stands, i.e. what everything that runs needs of its surroundings. A value;
// the ledger outlives whoever has it.
#ifndef VMQD_DAEMON_CONTROL_SITE_H_
#define VMQD_DAEMON_CONTROL_SITE_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/borrowed.h"
#include "daemon/xdp/pin.h"

namespace vmqd {

class VhostServer;

struct Site {
  VhostServer* vhost = nullptr;  // null: no vhost-user ports
  std::string vhost_reason;      // why
  SettingsLedger* ledger = nullptr;
  std::string bpf_directory;  // where attached programs are pinned; empty: nowhere
  std::string bpf_reason;     // why nowhere
  std::string mark;           // of the devices it makes: "vmqd <state id> "

  // The file that keeps a program on the device of "uplink" or "port" `id`; empty: none.
  std::string PinOf(const char* what, const std::string& id) const {
    return bpf_directory.empty() ? "" : PinPath(bpf_directory, what, id);
  }
  std::string MarkOf(const std::string& port_id) const { return absl::StrCat(mark, port_id); }
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_SITE_H_

// What vmqd changes on devices that are not its own, and the ledger that keeps a crash from losing
// what is to be put back. Control threads.
#ifndef VMQD_DAEMON_XDP_BORROWED_H_
#define VMQD_DAEMON_XDP_BORROWED_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace vmqd {

struct BorrowedSetting {
  std::string device;
  std::string setting;  // "feature:rx-vlan-hw-parse", "irq:45", as setting.h names them
  std::string before;   // what is put back
  std::string during;   // what vmqd set

  friend bool operator==(const BorrowedSetting&, const BorrowedSetting&) = default;
};

class SettingsLedger {
 public:
  virtual ~SettingsLedger() = default;

  // Before the change is made, so that there is no moment in which only the kernel knows of it:
  // durable when it returns OK; on error the change must not be made. An entry of the same device
  // and setting is replaced.
  virtual absl::Status Record(const BorrowedSetting& setting) = 0;
  // After it was put back. Never fails for the caller: a stale entry is harmless.
  virtual void Erase(std::string_view device, std::string_view setting) = 0;
  // What an earlier daemon recorded and did not put back: its `before` is the one to keep.
  virtual std::optional<BorrowedSetting> Find(std::string_view device,
                                              std::string_view setting) const = 0;
  // All it has of a device, settings whose name begins with `kind`.
  virtual std::vector<BorrowedSetting> FindAll(std::string_view device,
                                               std::string_view kind) const = 0;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_BORROWED_H_

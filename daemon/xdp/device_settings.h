// Settings of devices that are not vmqd's own, changed for as long as vmqd uses them: what was
// changed is remembered and put back, last change first. With a ledger a crash loses nothing: the
// change is in it before it is made, and the next daemon goes on with the value that was there
// before the first. Owned by whatever attached the device.
//
// Control threads, in the network namespace of the devices. The ledger must outlive the object.
#ifndef VMQD_DAEMON_XDP_DEVICE_SETTINGS_H_
#define VMQD_DAEMON_XDP_DEVICE_SETTINGS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "daemon/xdp/borrowed.h"

namespace vmqd {

class DeviceSettings {
 public:
  explicit DeviceSettings(SettingsLedger* ledger = nullptr) : ledger_(ledger) {}
  ~DeviceSettings();  // restores
  DeviceSettings(DeviceSettings&& other) noexcept;
  DeviceSettings& operator=(DeviceSettings&& other) noexcept;  // restores its own first

  // Nothing when the feature is off already, or this kernel has none of that name.
  // kFailedPrecondition when it is fixed on.
  absl::Status TurnOff(std::string_view device, std::string_view feature);
  // Interrupt `irq`, or NAPI kernel thread `thread`, of `device` runs on `cpu` alone. Nothing when
  // it does already. As SetIrqCpuList and SetThreadCpus; kPermissionDenied without root and without
  // CAP_SYS_NICE respectively.
  absl::Status PinIrq(std::string_view device, int irq, int cpu);
  absl::Status PinThread(std::string_view device, pid_t thread, int cpu);

  // Any other setting of setting.h becomes `value`. Nothing when it is that already. As
  // WriteSetting.
  absl::Status Set(std::string_view device, const std::string& setting, const std::string& value);
  // Puts one back before the others. Nothing when it was not changed.
  absl::Status PutBack(std::string_view device, std::string_view setting);
  // What was changed of a device, settings whose name begins with `kind`.
  std::vector<BorrowedSetting> Changed(std::string_view device, std::string_view kind) const;
  // What an earlier daemon changed, and recorded, counts as changed by this object. Not after the
  // machine was started anew.
  void TakeOver(std::string_view device, std::string_view kind);
  // The device has lost it: the next Set looks again, and what is there then is what is put back.
  void Forget(std::string_view device, std::string_view setting);

  // In words, in the order of the changes: "rx-vlan-hw-parse: on -> off", "irq 45: CPU 0-3 -> 1",
  // "NAPI thread 123: CPU 0-3 -> 1".
  std::vector<std::string> changed() const;

  // Puts everything back and forgets it, in the ledger too. A device that is gone is passed over, a
  // renamed one is found by its index, and a value that somebody changed meanwhile is left to them.
  // The first failure is returned after everything has been tried; what failed stays in the ledger.
  absl::Status Restore();

  // Forgets features and channels, which stay as they are, and in the ledger: for an XDP program
  // that stays on the device. Who sets them the next time has them to put back.
  void LeaveForProgram();

  // Puts back what a daemon that is gone recorded: the device by its name. OK when there is nothing
  // to do: the device, interrupt or thread is gone, or somebody changed the value meanwhile. The
  // caller erases the record then. Not for records of an earlier boot of the machine, which are to
  // be erased unread: what they tell of is not there any more.
  static absl::Status RestoreRecorded(const BorrowedSetting& recorded);

 private:
  struct Change {
    int ifindex = 0;  // of the device; 0: not looked at (interrupts and threads)
    BorrowedSetting setting;
  };
  absl::Status Make(int ifindex, BorrowedSetting wanted);
  absl::Status Undo(const Change& change);
  std::vector<Change>::iterator Find(std::string_view device, std::string_view setting);
  absl::Status Record(const BorrowedSetting& setting);
  void Unrecord(const BorrowedSetting& setting, const std::optional<BorrowedSetting>& earlier);

  SettingsLedger* ledger_;
  std::vector<Change> changes_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_DEVICE_SETTINGS_H_

// Settings of devices that are not vmqd's own, changed for as long as vmqd uses them: what was
// changed is remembered and put back, last change first. Owned by whatever attached the device.
// Control threads, in the network namespace of the devices.
#ifndef VMQD_DAEMON_XDP_DEVICE_SETTINGS_H_
#define VMQD_DAEMON_XDP_DEVICE_SETTINGS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace vmqd {

class DeviceSettings {
 public:
  DeviceSettings() = default;
  ~DeviceSettings();
  DeviceSettings(DeviceSettings&& other) noexcept;
  DeviceSettings& operator=(DeviceSettings&& other) noexcept;  // restores its own first

  // Nothing when the feature is off already, or this kernel has none of that name.
  // kFailedPrecondition when it is fixed on.
  absl::Status TurnOff(std::string_view device, std::string_view feature);

  // Nothing when it has this MTU already.
  absl::Status SetMtu(std::string_view device, uint32_t mtu);

  // In words, in the order of the changes: "rx-vlan-hw-parse: on -> off", "mtu: 1500 -> 9000".
  std::vector<std::string> changed() const;

  // Puts everything back and forgets it. A device that is gone is passed over, a renamed one is
  // found by its index, and a value that somebody changed meanwhile is left to them. The first
  // failure is returned after everything has been tried.
  absl::Status Restore();

 private:
  struct Change {
    int ifindex = 0;
    std::string feature;  // empty: the MTU
    uint32_t old_mtu = 0;
    uint32_t new_mtu = 0;
  };
  static absl::Status Undo(const Change& change);
  std::vector<Change> changes_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_DEVICE_SETTINGS_H_

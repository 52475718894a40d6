// The few facts about a device that only sysfs tells, read from a sysfs that certainly shows the
// device's network namespace. Used by link.cc; control threads, blocking.
//
// A mounted sysfs shows the namespace it was mounted in. /sys is believed when its entry has the
// device's name, index and address; otherwise one is mounted for the calling thread's namespace
// without attaching it anywhere (Linux 5.2, CAP_SYS_ADMIN). Where neither works nothing is known.
#ifndef VMQD_DAEMON_XDP_DEVICE_SYSFS_H_
#define VMQD_DAEMON_XDP_DEVICE_SYSFS_H_

#include <cstdint>
#include <string>

#include "daemon/xdp/link.h"

namespace vmqd {

class DeviceSysfs {
 public:
  // `link` needs ifindex, name and mac.
  explicit DeviceSysfs(const Link& link);
  ~DeviceSysfs();
  DeviceSysfs(const DeviceSysfs&) = delete;
  DeviceSysfs& operator=(const DeviceSysfs&) = delete;

  int NumaNode() const;            // -1: not known
  uint32_t ReceiveQueues() const;  // in use, also while the device is down; 0: not known
  std::string Read(const std::string& file) const;  // the first line; "" when there is none
  int Write(const std::string& file, const std::string& text) const;  // 0, or the errno

 private:
  bool Shows(const Link& link) const;

  int directory_ = -1;  // class/net/<name>
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_DEVICE_SYSFS_H_

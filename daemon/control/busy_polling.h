// BusyPolling: has the workers of an uplink run the receive processing (NAPI) of their queues
// themselves, in place of interrupts, where the driver tells a socket its NAPI. A part of
// UplinkRuntime, called by the Switch under its mutex.
//
// It takes two sides: options of the socket, and a NAPI that, once polled, waits for the next poll
// some time before it enables its interrupt again. The latter is a borrowed setting.
#ifndef VMQD_DAEMON_CONTROL_BUSY_POLLING_H_
#define VMQD_DAEMON_CONTROL_BUSY_POLLING_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "daemon/xdp/device_settings.h"

namespace vmqd {

struct QueueRuntime;

class BusyPolling {
 public:
  // `settings` must outlive it and restores what it did.
  BusyPolling(std::string device, DeviceSettings& settings)
      : device_(std::move(device)), settings_(settings) {}

  // Begins where it can be, and ends where it cannot be any more: a socket may learn its NAPI with
  // its first frame. True when the state is another one now.
  bool Look(bool wanted, std::vector<QueueRuntime>& queues);

  // In words, which queues are busy polled, and why others are not; empty when it is not wanted.
  const std::string& state() const { return state_; }

 private:
  absl::Status Begin(QueueRuntime& queue, uint32_t napi);
  void End(QueueRuntime& queue);
  absl::Status Delay(uint32_t napi);
  void PutBackUnused();

  const std::string device_;
  DeviceSettings& settings_;
  std::vector<uint32_t> napis_;  // of each queue, 0 where it is not polled
  std::string state_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_BUSY_POLLING_H_

// Switch: the one owner of what the switch should be, and the only place where it is changed.
//
// Thread-safe: every public method may be called from any thread; one mutex orders them. Workers
// never take it. A method that returns an error has changed nothing. Errors are made by Refuse():
//   kInvalidArgument     a field is malformed or out of range
//   kNotFound            the named uplink, queue or port is not there
//   kAlreadyExists       the id, the device or a filter is taken
//   kFailedPrecondition  the machine is not in the state the call needs
//   kResourceExhausted   no buffers or table space left
//   kInternal            the kernel refused something it should not have; the message says what
#ifndef VMQD_DAEMON_CONTROL_SWITCH_H_
#define VMQD_DAEMON_CONTROL_SWITCH_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/model.h"
#include "daemon/vmq/processor_set.h"

namespace vmqd {

class Switch {
 public:
  struct Options {
    ProcessorSet processors;
    std::string version;
  };

  // Loads the port programs; the switch is empty then.
  static absl::StatusOr<std::unique_ptr<Switch>> Create(Options options);

  // Removes every port and uplink in the order that leaves no frame unaccounted for.
  ~Switch();

  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  absl::StatusOr<UplinkStatus> AddUplink(const UplinkConfig& config);
  absl::Status DeleteUplink(std::string_view id);
  absl::StatusOr<UplinkStatus> GetUplink(std::string_view id) const;
  std::vector<UplinkStatus> ListUplinks() const;  // by id

  absl::StatusOr<PortStatus> AddPort(const PortConfig& config);
  absl::StatusOr<PortStatus> UpdatePort(std::string_view id, const PortPatch& patch);
  absl::Status DeletePort(std::string_view id);
  absl::StatusOr<PortStatus> GetPort(std::string_view id) const;
  std::vector<PortStatus> ListPorts() const;  // by id

  absl::StatusOr<QueueStatus> GetQueue(std::string_view uplink, uint32_t queue) const;
  // All queues of one uplink, or of every uplink when absent; by uplink id, then number.
  absl::StatusOr<std::vector<QueueStatus>> ListQueues(
      const std::optional<std::string>& uplink) const;

  SwitchStatus Show() const;

 private:
  class Impl;
  explicit Switch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_SWITCH_H_

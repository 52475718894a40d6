// Switch: the one owner of what the switch should be, and the only place where it is changed.
//
// Thread-safe: every public method may be called from any thread; one mutex orders them. Workers
// never take it. A method that returns an error has changed nothing. Errors are made by Refuse():
//   kInvalidArgument     a field is malformed or out of range
//   kNotFound            the named uplink, queue or port is not there
//   kAlreadyExists       the id, the device or a filter is taken
//   kFailedPrecondition  the machine is not in the state the call needs
//   kResourceExhausted   no buffers, table space or disk left
//   kAborted             the etag is not the resource's
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
#include "daemon/control/history.h"
#include "daemon/control/model.h"
#include "daemon/control/state.h"
#include "daemon/vmq/processor_set.h"

namespace vmqd {

class VhostServer;

// What a caller may ask of a change; see vmqd.proto.
struct ChangeOptions {
  bool validate_only = false;
  bool allow_missing = false;  // of a deletion: a resource that is not there is as good
  std::string etag;            // empty or "*": whatever is there. kAborted where it differs
  std::string request_id;      // empty: none
  std::string fingerprint;     // of method and content, with a request_id
};

class Switch {
 public:
  struct Options {
    ProcessorSet processors;
    std::string version;
    StateStore* store = nullptr;  // outlives the switch; nullptr: nothing survives it
    // Where the attached programs are pinned, on a bpf file system; empty: they end with the
    // daemon.
    std::string bpf_directory;
    std::string bpf_reason;             // why it is empty, for those who ask
    VhostServer* vhost = nullptr;       // outlives the switch; nullptr: no vhost-user ports
    std::string vhost_reason;           // why
    std::vector<std::string> warnings;  // to be shown for as long as it runs
  };

  // Loads the port programs, then brings back what the store holds: devices that are there are
  // connected when it returns, the others are waited for. Removes what an earlier daemon of this
  // state left in the kernel and the state does not hold.
  static absl::StatusOr<std::unique_ptr<Switch>> Create(Options options);

  // Gives the devices back: programs detached, settings restored. The devices of ports stay, and so
  // does the desired state; see Cleanup.
  ~Switch();

  // Takes out of the kernel whatever a daemon with this state and bpf directory left there: pinned
  // programs, devices it made, settings it borrowed. In sentences, what was done. No daemon may run
  // on it.
  static absl::StatusOr<std::vector<std::string>> Cleanup(StateStore& store,
                                                          const std::string& bpf_directory);

  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  absl::StatusOr<UplinkStatus> AddUplink(const UplinkConfig& config,
                                         const ChangeOptions& options = {});
  // `missing`: what to add when there is none; absent: kNotFound.
  absl::StatusOr<UplinkStatus> UpdateUplink(std::string_view id, const UplinkPatch& patch,
                                            const std::optional<UplinkConfig>& missing = {},
                                            const ChangeOptions& options = {});
  absl::Status DeleteUplink(std::string_view id, const ChangeOptions& options = {});
  absl::StatusOr<UplinkStatus> GetUplink(std::string_view id) const;
  std::vector<UplinkStatus> ListUplinks() const;  // by id

  absl::StatusOr<PortStatus> AddPort(const PortConfig& config, const ChangeOptions& options = {});
  absl::StatusOr<PortStatus> UpdatePort(std::string_view id, const PortPatch& patch,
                                        const std::optional<PortConfig>& missing = {},
                                        const ChangeOptions& options = {});
  absl::Status DeletePort(std::string_view id, const ChangeOptions& options = {});
  absl::StatusOr<PortStatus> GetPort(std::string_view id) const;
  std::vector<PortStatus> ListPorts() const;  // by id

  absl::StatusOr<QueueStatus> GetQueue(std::string_view uplink, uint32_t queue) const;
  // All queues of one uplink, or of every uplink when absent; by uplink id, then number.
  absl::StatusOr<std::vector<QueueStatus>> ListQueues(
      const std::optional<std::string>& uplink) const;

  // Workers run on these CPUs from now on; those that did not, move while frames flow. On error
  // nothing changed.
  absl::Status SetProcessors(const ProcessorSet& processors);

  SwitchStatus Show() const;

  // Plans moves of queues and ports by load, and carries them out. Each is told as an event.
  absl::StatusOr<RebalanceReport> Rebalance(const ChangeOptions& options = {});

  // What is there at one revision; History::After(revision) goes on from it.
  struct Snapshot {
    uint64_t revision = 0;
    std::vector<UplinkStatus> uplinks;
    std::vector<PortStatus> ports;
  };
  Snapshot Look() const;
  History& history();

  // Whether every worker has made a turn, or slept with nothing to do, since the last call. Main
  // thread.
  bool WorkersAdvance();

 private:
  class Impl;
  explicit Switch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_SWITCH_H_

// Fabric: everything that runs, i.e. uplinks and ports with their sockets, workers and programs,
// and what is to run but cannot yet. Switch tells it what to run and owns what is wanted; Fabric
// closes what has lost its device, and opens it again when the device is back.
//
// Called under the Switch's mutex only. What it has to say goes to the observer, in the same call.
#ifndef VMQD_DAEMON_CONTROL_FABRIC_H_
#define VMQD_DAEMON_CONTROL_FABRIC_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/model.h"
#include "daemon/control/port_runtime.h"
#include "daemon/control/slots.h"
#include "daemon/control/uplink_runtime.h"
#include "daemon/vmq/processor_set.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/program.h"

namespace vmqd {

class FabricObserver {
 public:
  virtual ~FabricObserver() = default;
  // `resource` as the API names it, "ports/vm1". Its status is another one now.
  virtual void Changed(const std::string& resource) = 0;
  virtual void Happened(Severity severity, const std::string& resource, std::string_view reason,
                        const std::string& message) = 0;
};

class Fabric {
 public:
  struct Options {
    ProcessorSet processors;
    Site site;
  };
  using Time = std::chrono::steady_clock::time_point;
  struct Uplink {
    UplinkConfig config;
    std::unique_ptr<UplinkRuntime> runtime;  // null: it waits
    std::string trouble;                     // for what, or what is wrong with it
    Time not_before{};                       // when it is tried again, after it failed to attach
    std::chrono::seconds pause{1};           // before that
    Counters kept;                           // of earlier runtimes
    uint64_t kept_replicated = 0;
    uint64_t kept_misplaced = 0;
    uint64_t kept_to_host = 0;
    std::optional<LeftProgram> left;  // drops what is for VMs until the uplink is opened again
  };
  struct Port {
    PortConfig config;  // uplink and device filled in once it has run
    std::unique_ptr<PortRuntime> runtime;
    std::string trouble;
    Counters kept;
  };
  using Uplinks = std::map<std::string, Uplink, std::less<>>;  // by id
  using Ports = std::map<std::string, Port, std::less<>>;

  // Loads the port programs; nothing runs then.
  static absl::StatusOr<std::unique_ptr<Fabric>> Create(Options options, FabricObserver& observer);
  // Gives all devices back: programs detached, settings restored; devices made for ports stay.
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  // Frames flow when these return. Configurations have passed checks.h. On error nothing changed.
  absl::Status AddUplink(const UplinkConfig& config);
  absl::Status AddPort(const PortConfig& config);
  // What the port does not say is not touched.
  absl::Status UpdateUplink(const UplinkConfig& config);
  absl::Status UpdatePort(const PortConfig& config);
  void RemoveUplink(std::string_view id);  // without ports
  void RemovePort(std::string_view id);    // and the device that was made for it

  // To run as soon as it can; opened by the next Resume.
  void Expect(const UplinkConfig& config);
  void Expect(const PortConfig& config);
  // Opens whatever waits and can be had: many ports at once cost one change of the topology.
  void Resume();

  // A device changed, or some did and nobody knows which.
  void OnLink(const LinkMonitor::Event& event);
  // Once a second: rates; whether programs and queues are still as they were; what waits.
  void Tick(double seconds);

  const Uplinks& uplinks() const { return uplinks_; }
  const Ports& ports() const { return ports_; }

  UplinkStatus StatusOf(const Uplink& uplink) const;
  PortStatus StatusOf(const Port& port) const;
  QueueStatus StatusOfQueue(const Uplink& uplink, uint32_t queue) const;
  // Sums over all that runs and ran.
  Counters TotalCounters() const;
  uint64_t TotalReplicated() const;
  uint32_t WorkerCount() const;

  // Where a port with this wish would live on a running uplink.
  static Placement PlaceOn(const UplinkRuntime& uplink, const PortConfig& config);

  // Whether there can be vhost-user ports.
  absl::Status CheckVhost() const;

  // Rings every worker; whether all that were rung the last time have made a turn since.
  bool WorkersAdvance();

 private:
  Fabric(Options options, FabricObserver& observer)
      : options_(std::move(options)), observer_(observer) {}

  absl::Status OpenUplink(Uplink& uplink);
  void CloseUplink(Uplink& uplink, UplinkRuntime::ProgramThen then);
  uint64_t CountLeft(Uplink& uplink);
  void TellDropped(Uplink& uplink);
  UplinkProgram* ProgramOf(Uplink& uplink);
  absl::Status OpenPort(Port& port);
  void ClosePort(Port& port, bool keep_device);
  void ClosePorts(const std::vector<Port*>& ports);
  void GivePlace(const PortPlace& place);
  std::string FreeKeptEnd() const;
  absl::Status Connect(Port& port);
  void HoldOrLetGo(const Port& port, bool hold);
  void Publish(UplinkRuntime& uplink);
  void UpdateWakeModes();
  std::vector<int> DealCpus(uint32_t queues) const;
  std::map<int, int> WorkersOnCpus() const;

  void Suspend(Uplink& uplink, Severity severity, std::string_view reason,
               const std::string& message);
  void Suspend(Port& port, Severity severity, std::string_view reason, const std::string& message);
  template <typename Item>
  void Waits(Item& item, const absl::Status& why);
  template <typename Item>
  void Runs(Item& item);
  std::vector<Uplink*> ResumeUplinks();
  void ResumePorts();
  // `removed`: the kernel told that it went, and all sockets on it with it.
  void LookAt(Uplink& uplink, bool removed = false);
  void LookAt(Port& port, bool removed = false);
  void LookAtVhost(Port& port);
  void LookAtQueues(Uplink& uplink);
  void LookAtSteering(Uplink& uplink, bool closely);
  void PassOnMtu(UplinkRuntime& uplink);
  template <typename Item>
  void LookAtProgramOf(Item& item);

  const Options options_;
  FabricObserver& observer_;
  std::unique_ptr<PortProgram> program_;
  Uplinks uplinks_;
  Ports ports_;
  Slots slots_{VMQD_MAX_PORTS};
  Slots sockets_{4 * VMQD_MAX_PORTS};
  uint64_t next_serial_ = 1;
  Counters retired_;  // of what was removed
  uint64_t retired_replicated_ = 0;
  std::map<const Worker*, uint64_t> turns_;  // when they were rung last
};

// "uplinks/eth0", "ports/vm1".
std::string NameOf(const Fabric::Uplink& uplink);
std::string NameOf(const Fabric::Port& port);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_FABRIC_H_

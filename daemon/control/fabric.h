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
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/balance.h"
#include "daemon/control/growth.h"
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
  // An uplink that gets another number of queues is closed and opened again, and its ports with it;
  // on error, it is as it was before.
  absl::Status UpdateUplink(const UplinkConfig& config);
  absl::Status UpdatePort(const PortConfig& config);
  // A running port to another queue, while frames flow: none is lost, none overtakes another of its
  // flow. On error nothing changed.
  absl::Status MovePort(Port& port, const Placement& to);
  absl::Status MovePort(std::string_view id, const Placement& to);  // if it runs
  void RemoveUplink(std::string_view id);                           // without ports
  void RemovePort(std::string_view id);  // and the device that was made for it

  // To run as soon as it can; opened by the next Resume.
  void Expect(const UplinkConfig& config);
  void Expect(const PortConfig& config);
  // Opens whatever waits and can be had: many ports at once cost one change of the topology.
  void Resume();

  // A device changed, or some did and nobody knows which.
  void OnLink(const LinkMonitor::Event& event);
  // Plans moves, and carries them out unless `dry_run`.
  RebalanceReport Rebalance(bool dry_run);

  // Once a second: rates and loads, and what is to be moved for them; whether programs and queues
  // are still as they were; what waits.
  void Tick(double seconds);

  const Uplinks& uplinks() const { return uplinks_; }
  const Ports& ports() const { return ports_; }

  UplinkStatus StatusOf(const Uplink& uplink) const;
  PortStatus StatusOf(const Port& port) const;
  QueueStatus StatusOfQueue(const Uplink& uplink, uint32_t queue) const;
  // CPUs of the processor set, and those that workers are on besides.
  std::vector<CpuStatus> StatusOfCpus() const;
  const Balance& balance() const { return balance_; }
  const ProcessorSet& processors() const { return options_.processors; }
  // Sums over all that runs and ran.
  Counters TotalCounters() const;
  uint64_t TotalReplicated() const;
  uint32_t WorkerCount() const;

  // How many queues an uplink with this wish would serve; refuses what its device cannot have.
  absl::StatusOr<uint32_t> QueuesFor(const UplinkConfig& config) const;

  // Where a port with this wish would live on a running uplink.
  static Placement PlaceOn(const UplinkRuntime& uplink, const PortConfig& config);

  // Deals workers to these CPUs from now on. Those outside move in; the others are pinned anew.
  // Frames flow meanwhile. How many moved; on error none did.
  absl::StatusOr<uint32_t> SetProcessors(const ProcessorSet& processors);

  // Whether there can be vhost-user ports.
  absl::Status CheckVhost() const;

  // Rings every worker; whether all that were rung the last time have made a turn since.
  bool WorkersAdvance();

 private:
  Fabric(Options options, FabricObserver& observer);

  absl::Status OpenUplink(Uplink& uplink);
  void CloseUplink(Uplink& uplink, UplinkRuntime::ProgramThen then);
  absl::Status SetQueues(Uplink& uplink, const UplinkConfig& config);
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
  void PublishMove(UplinkRuntime& uplink, std::unique_ptr<PortMove> move,
                   const PortRuntime* opened);
  void Steer(UplinkRuntime& uplink);
  void UpdateWakeModes();
  std::vector<int> DealCpus(const UplinkConfig& config, uint32_t queues, int node) const;
  int DealCpu(std::map<int, int>& workers, int node) const;
  std::map<int, int> WorkersOnCpus() const;

  // Closes an uplink and its ports, behind its program.
  void Halt(Uplink& uplink, const std::string& why);
  absl::Status Reopen(Uplink& uplink);
  void Suspend(Uplink& uplink, Severity severity, std::string_view reason,
               const std::string& message);
  void Suspend(Port& port, Severity severity, std::string_view reason, const std::string& message);
  template <typename Item>
  void Waits(Item& item, const absl::Status& why);
  template <typename Item>
  void Runs(Item& item);
  std::vector<Uplink*> ResumeUplinks();
  void ResumePorts();
  void Start(const std::vector<Uplink*>& opened);
  // `removed`: the kernel told that it went, and all sockets on it with it.
  void LookAt(Uplink& uplink, bool removed = false);
  void LookAt(Port& port, bool removed = false);
  void LookAtVhost(Port& port);
  void LookAtSockets(Uplink& uplink);
  void LookAtQueues(Uplink& uplink);
  void LookAtSteering(Uplink& uplink, bool closely);
  void PassOnMtu(UplinkRuntime& uplink);
  template <typename Item>
  void LookAtProgramOf(Item& item);

  // What the balancer sees, and what its indices mean.
  struct View {
    Scene scene;
    std::vector<std::pair<Uplink*, uint32_t>> queues;
    std::vector<Port*> ports;
  };
  View LookAround(Time now);
  void CountThreadTime(QueueRuntime& queue);
  void SampleCpus(double seconds);
  double OtherShare(int cpu) const;
  void SampleLoads(Time now);
  // The CPU the operator wants, if it may be used.
  std::optional<int> PinOf(const UplinkConfig& config, uint32_t queue) const;
  bool HasCpu(int cpu) const;
  void UseProcessors(const ProcessorSet& processors);
  absl::Status MoveQueue(Uplink& uplink, uint32_t queue, int cpu);
  Placement PlaceAgain(const Port& port, const PortConfig& wanted) const;
  absl::Status ObeyPins(Uplink& uplink, const UplinkConfig& config);
  absl::Status CarryOut(const View& view, const Move& move);
  void KeepBalance(Time now);

  Options options_;
  std::vector<CpuView> cpus_;  // of the processor set
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
  Balance balance_;
  Time loads_sampled_ = std::chrono::steady_clock::now();
  std::map<int, uint64_t> worker_time_;  // by CPU, since then
  std::map<int, Growth> cpu_time_;       // by CPU, of everybody
  std::map<int, double> other_share_;    // by CPU, in the last second, of all but workers
};

// "uplinks/eth0", "ports/vm1".
std::string NameOf(const Fabric::Uplink& uplink);
std::string NameOf(const Fabric::Port& port);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_FABRIC_H_

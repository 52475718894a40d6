// UplinkRuntime: an attached uplink as it runs: its queues with their memory, sockets and workers,
// the XDP program, and the settings borrowed from the device. The Switch owns it and calls it under
// its mutex.
//
// Order of start: sockets bound, workers running, filters set, then the program. Order of stop: the
// reverse, and the device's settings last.
#ifndef VMQD_DAEMON_CONTROL_UPLINK_RUNTIME_H_
#define VMQD_DAEMON_CONTROL_UPLINK_RUNTIME_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/busy_polling.h"
#include "daemon/control/growth.h"
#include "daemon/control/model.h"
#include "daemon/control/nic_steering.h"
#include "daemon/control/site.h"
#include "daemon/datapath/topology.h"
#include "daemon/datapath/uplink_queue.h"
#include "daemon/datapath/worker.h"
#include "daemon/port/vhost_pair.h"
#include "daemon/xdp/device_settings.h"
#include "daemon/xdp/frame_area.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/packet_socket.h"
#include "daemon/xdp/program.h"
#include "daemon/xdp/socket.h"

namespace vmqd {

// What was counted a sampling interval ago, to make rates of.
struct RateSample {
  uint64_t in_pkts = 0;
  uint64_t out_pkts = 0;
  uint64_t in_octets = 0;
  uint64_t out_octets = 0;
};
Rates RatesBetween(const RateSample& before, const RateSample& after, double seconds);

// Members are in the order of construction; destruction is the reverse.
struct QueueRuntime {
  std::unique_ptr<FrameArea> area;
  std::unique_ptr<Umem> umem;
  std::unique_ptr<XskSocket> anchor;
  std::unique_ptr<XskSocket> socket;  // the default socket
  std::unique_ptr<UplinkQueue> queue;
  std::unique_ptr<Worker> worker;
  std::unique_ptr<VhostScratch> scratch;  // with the first vhost-user port
  uint32_t reserved = 0;                  // buffers promised: rings, grants, working margin, ports
  uint32_t ports = 0;                     // that call it home
  WakeMode wake_mode = WakeMode::kAdaptive;
  std::string wake_mode_reason;
  Napi napi;
  std::string napi_text;
  bool napi_thread_here = false;  // its thread was put on the worker's CPU
  RateSample sample;
  Rates rates;
  Growth busy, thread, lost;      // counters of worker, its thread and the default socket
  uint64_t thread_ns = 0;         // CPU time of the thread since the load was sampled
  uint64_t lost_of_ports = 0;     // likewise, in the rings of ports served here
  uint64_t backlog_of_ports = 0;  // now
  LoadReading reading;
  LoadWindows load;
  // What the thread has had on its CPU since that was asked last.
  uint64_t TakeThreadTime() { return thread.Take(worker->CpuTimeNs()); }
};
// Over the windows that are told.
Loads LoadsOf(const LoadWindows& load);

// A program that stays on the device of a runtime that was closed; its filters can be changed.
struct LeftProgram {
  std::unique_ptr<UplinkProgram> program;
  vmqd_uplink_counters counted;  // at that time
};

class UplinkRuntime {
 public:
  // Buffer size for a device MTU: the smallest that holds its frames, or the largest there is.
  static uint32_t BufferSizeFor(uint32_t mtu);
  // The longest frame, tag included, with a device MTU: what one buffer holds, or more, where the
  // sockets take frames of several buffers and the MTU calls for it.
  static uint32_t FrameLimitFor(uint32_t mtu, bool chains);

  // All but the program. `cpus` has one CPU for each queue. `settings`: what was changed on the
  // device to have them. Everything is undone on error, except what a program needs that was left
  // on the device.
  static absl::StatusOr<std::unique_ptr<UplinkRuntime>> Open(
      const UplinkConfig& config, const Link& link, const std::vector<int>& cpus, const Site& site,
      DeviceSettings settings, bool program_left = false);
  ~UplinkRuntime();

  // Frames come from here on, so everybody they may be for has set its filters. A program that an
  // earlier daemon left on the device is replaced from one frame to the next.
  absl::Status Attach();
  absl::Status AttachAgain();
  Attachment::State LookAtProgram() const;
  // What the program counted that Attach took over; nothing when none was.
  const std::optional<vmqd_uplink_counters>& TakenOver() const {
    return program_->InheritedCounters();
  }

  const UplinkConfig& config() const { return config_; }
  const Link& link() const { return link_; }
  UplinkProgram& program() { return *program_; }
  PacketSocket& flood() { return *flood_; }
  std::vector<QueueRuntime>& queues() { return queues_; }
  const std::vector<QueueRuntime>& queues() const { return queues_; }
  std::atomic<bool>& link_up() { return link_up_; }

  // Replaces the topology; returns when no worker uses the old one, which is freed.
  void Publish(std::unique_ptr<Topology> topology);
  uint64_t NextSequence() const { return topology_->sequence + 1; }

  // How long the worker of `queue` spins, from the wish of the uplink, what shares its CPU, and
  // where its NAPI runs.
  void SetWakeMode(uint32_t queue, bool cpu_shared);

  // Device state as the link monitor reports it.
  void OnLink(bool up, bool carrier, uint32_t mtu);
  bool NeedsLargerBuffers() const;  // for frames of the device's present MTU
  // Longest frame, tag included, that ports can get and send; and the MTU that makes.
  uint32_t max_frame_len() const { return max_frame_len_; }
  uint32_t MaxMtu() const;

  // The rules that ports want of the NIC; heeded where the uplink is steered by hardware.
  void Steer(NicRules wanted);
  // Whether a flow may come by another queue when rules change.
  bool NicSteers() const { return nic_steering_ != nullptr; }
  // As NicSteering::Check; empty where there is nothing to check.
  std::string CheckSteering(bool closely);
  // How frames for these filters come to their queue, and why not by the NIC where that was asked
  // for.
  Steering SteeringOf(const std::vector<NicFilter>& filters, std::string& reason) const;
  // Of the uplink as a whole.
  Steering EffectiveSteering(std::string& reason) const;

  // What was asked for, as far as it can be changed while it runs.
  void SetWishes(const UplinkConfig& config) {
    config_.wake_mode = config.wake_mode;
    config_.queues = config.queues;  // of which it serves as many already
    config_.busy_poll = config.busy_poll;
  }
  // As BusyPolling::Look, once the program is attached.
  bool LookAtBusyPoll() { return busy_polling_.Look(config_.busy_poll, queues_); }

  // The worker goes to `cpu`, and its NAPI thread or interrupt with it; wake modes are to be set
  // anew then. On error nothing changed.
  absl::Status MoveQueue(uint32_t queue, int cpu);

  // Ends all arrivals and all workers; returns the counters for good. Before destruction, without
  // ports. kLeave: a pinned program stays on the device, and drops what is for VMs, until another
  // runtime attaches.
  enum class ProgramThen { kDetach, kLeave };
  Counters Close(ProgramThen then = ProgramThen::kDetach);
  uint64_t to_host_at_close() const { return to_host_at_close_; }
  // After Close; nothing when no program stayed.
  std::optional<LeftProgram> TakeLeftProgram();

  UplinkStatus Status() const;
  QueueStatus StatusOfQueue(uint32_t queue) const;
  uint64_t Replicated() const;
  uint64_t Misplaced() const;
  uint64_t ToHost() const;
  void Sample(double seconds);
  // Once a second, after ReadLoad of its ports. `thread_ns` of each queue has been set.
  void SampleLoad(LoadWindows::Time now);

 private:
  UplinkRuntime(const UplinkConfig& config, const Link& link, const Site& site,
                DeviceSettings settings);
  absl::Status Prepare(const std::vector<int>& cpus);
  absl::Status OpenAnchor(uint32_t queue);
  absl::Status OpenQueue(uint32_t queue, int cpu);
  void ConnectWorkers();
  void StartSteering();
  void PinNapi(QueueRuntime& queue);
  bool LeaveProgram();
  Counters CountersNow() const { return CountersWith(program_->Counters()); }
  Counters CountersWith(const vmqd_uplink_counters& kernel) const;

  UplinkConfig config_;
  const Site site_;
  Link link_;
  std::atomic<bool> link_up_{false};
  bool chains_ = true;  // the kernel has frames of several buffers, as far as is known
  uint32_t max_frame_len_ = 0;
  DeviceSettings settings_;
  std::unique_ptr<NicSteering> nic_steering_;  // null: the NIC does not steer
  std::string no_nic_steering_;                // why not, where it was asked for
  BusyPolling busy_polling_;
  XdpMode xdp_mode_ = XdpMode::kNative;
  std::string xdp_mode_reason_;
  std::unique_ptr<Topology> topology_;
  std::atomic<const Topology*> published_{nullptr};
  std::vector<std::unique_ptr<Handover>> handovers_;  // [from * queues + to]
  std::unique_ptr<UplinkProgram> program_;
  bool program_left_ = false;  // by this or an earlier runtime, and not taken over
  std::optional<LeftProgram> left_;
  uint64_t to_host_at_close_ = 0;
  std::unique_ptr<PacketSocket> flood_;
  std::vector<QueueRuntime> queues_;
  RateSample sample_;
  Rates rates_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_UPLINK_RUNTIME_H_

// UplinkRuntime: an attached uplink as it runs: its queues with their memory, sockets and workers,
// the XDP program, and the settings borrowed from the device. The Switch owns it and calls it under
// its mutex.
//
// Order of start: maps full, sockets bound, workers running, then the program. Order of stop: the
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
#include "daemon/control/model.h"
#include "daemon/datapath/topology.h"
#include "daemon/datapath/uplink_queue.h"
#include "daemon/datapath/worker.h"
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
  uint32_t reserved = 0;  // buffers promised: rings, grants, working margin, ports
  uint32_t ports = 0;     // that call it home
  WakeMode wake_mode = WakeMode::kAdaptive;
  std::string wake_mode_reason;
  Napi napi;
  std::string napi_text;
  std::vector<int> napi_cpus_before;  // affinity of its thread, to be put back
  std::string irq_cpus_before;
  RateSample sample;
  uint64_t busy_sample = 0;
  Rates rates;
  double busy_percent = 0;
};

class UplinkRuntime {
 public:
  // Buffer size for a device MTU: the smallest that holds its frames, or the largest there is.
  static uint32_t BufferSizeFor(uint32_t mtu);

  // `cpus` has one CPU for each queue. Everything is undone on error.
  static absl::StatusOr<std::unique_ptr<UplinkRuntime>> Open(const UplinkConfig& config,
                                                             const Link& link,
                                                             const std::vector<int>& cpus);
  ~UplinkRuntime();

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
  void OnRemoved() {
    gone_ = true;
    link_up_.store(false);
  }

  // Ends all arrivals and all workers; returns the counters for good. Before destruction, without
  // ports.
  Counters Close();

  UplinkStatus Status() const;
  QueueStatus StatusOfQueue(uint32_t queue) const;
  uint64_t Replicated() const;
  void Sample(double seconds);

 private:
  UplinkRuntime(const UplinkConfig& config, const Link& link);
  absl::Status Prepare(const std::vector<int>& cpus);
  absl::Status OpenQueue(uint32_t queue, int cpu);
  void ConnectWorkers();
  absl::Status AttachProgram();
  void PinNapi(QueueRuntime& queue);
  Counters CountersNow() const;

  const UplinkConfig config_;
  Link link_;
  bool gone_ = false;
  std::atomic<bool> link_up_{false};
  DeviceSettings settings_;
  XdpMode xdp_mode_ = XdpMode::kNative;
  std::string xdp_mode_reason_;
  std::unique_ptr<Topology> topology_;
  std::atomic<const Topology*> published_{nullptr};
  std::vector<std::unique_ptr<Handover>> handovers_;  // [from * queues + to]
  std::unique_ptr<UplinkProgram> program_;
  std::unique_ptr<PacketSocket> flood_;
  std::vector<QueueRuntime> queues_;
  RateSample sample_;
  Rates rates_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_UPLINK_RUNTIME_H_

// What the switch should be (the *Config structs) and what it is (the *Status structs), free of
// protobuf and of kernel types. Values; any thread.
#ifndef VMQD_DAEMON_CONTROL_MODEL_H_
#define VMQD_DAEMON_CONTROL_MODEL_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/net/drop_reason.h"
#include "daemon/net/mac_address.h"
#include "daemon/virtio/vhost_role.h"
#include "daemon/vmq/load.h"
#include "daemon/vmq/scene.h"

namespace vmqd {

enum class XdpMode { kNative, kGeneric, kAuto };
enum class Steering { kSoftware, kExternal, kHardware };
enum class WakeMode { kAdaptive, kPoll, kInterrupt };
enum class PortKind { kTap, kNetdev, kVeth, kHost, kVhostUser };
enum class OperStatus { kUp, kDown, kFaulted, kWaiting };
enum class Severity { kInfo, kWarning, kAlarm };

inline constexpr uint32_t kDefaultBuffersPerQueue = 16384;
inline constexpr uint32_t kMinBuffersPerQueue = 2048;
inline constexpr uint32_t kMaxBuffersPerQueue = 131072;
inline constexpr uint32_t kDefaultWeight = 100;
inline constexpr size_t kMaxMacsPerPort = 64;
inline constexpr uint32_t kMaxQueuePairs = 16;

struct UplinkConfig {
  std::string id;  // "eth0", without the collection
  std::string device;
  XdpMode xdp_mode = XdpMode::kNative;
  Steering steering = Steering::kSoftware;
  WakeMode wake_mode = WakeMode::kAdaptive;
  uint32_t queues = 0;  // 0: all the device has
  uint32_t buffers_per_queue = kDefaultBuffersPerQueue;
  bool busy_poll = false;
  BalanceMode balance_mode = BalanceMode::kDynamic;
  std::map<uint32_t, int> queue_cpus;  // queue -> CPU of the processor set; others: vmqd's choice
  friend bool operator==(const UplinkConfig&, const UplinkConfig&) = default;
};

struct PortConfig {
  std::string id;
  std::string uplink;  // id; empty: the only one
  PortKind kind = PortKind::kTap;
  std::string device;
  std::string peer_device;
  std::vector<MacAddress> macs;
  uint32_t vlan = 0;
  uint32_t weight = kDefaultWeight;
  std::optional<uint32_t> queue;
  bool trusted = false;
  bool disabled = false;
  uint32_t mtu = 0;  // 0: the uplink's
  // kVhostUser only.
  std::string socket;  // name under the daemon's directory
  VhostRole vhost_role = VhostRole::kSwitchListens;
  uint32_t queue_pairs = 1;
  bool coalescing_off = false;
  friend bool operator==(const PortConfig&, const PortConfig&) = default;
};

// The mutable fields of a port; absent means unchanged.
struct PortPatch {
  std::optional<std::vector<MacAddress>> macs;
  std::optional<uint32_t> vlan;
  std::optional<uint32_t> weight;
  std::optional<bool> trusted;
  std::optional<bool> disabled;
  std::optional<uint32_t> mtu;
  std::optional<bool> coalescing_off;
  std::optional<std::optional<uint32_t>> queue;  // nothing in it: placed by vmqd
};

// The mutable fields of an uplink; absent means unchanged.
struct UplinkPatch {
  std::optional<WakeMode> wake_mode;
  std::optional<BalanceMode> balance_mode;
  std::optional<std::map<uint32_t, int>> queue_cpus;
  std::optional<uint32_t> queues;
  std::optional<bool> busy_poll;
};

// `config` with what `patch` changes.
UplinkConfig Patched(UplinkConfig config, const UplinkPatch& patch);
PortConfig Patched(PortConfig config, const PortPatch& patch);

using DropCounts = std::array<uint64_t, kDropReasonCount>;

// As vmqd.v1.Counters, whose comments hold.
struct Counters {
  uint64_t in_pkts = 0;
  uint64_t in_octets = 0;
  uint64_t in_forwarded_pkts = 0;
  uint64_t offered_pkts = 0;
  uint64_t out_pkts = 0;
  uint64_t out_octets = 0;
  DropCounts in_drops{};
  DropCounts out_drops{};

  Counters& operator+=(const Counters& other);
  uint64_t InDiscards() const;
  uint64_t OutDiscards() const;
};

struct Rates {
  double in_pps = 0;
  double out_pps = 0;
  double in_bps = 0;
  double out_bps = 0;
};

// Windows that loads are told over, in seconds.
inline constexpr std::array<size_t, 3> kLoadWindows = {1, 10, LoadWindows::kSeconds};
using Loads = std::array<Load, kLoadWindows.size()>;

struct SocketStatus {
  std::string role;  // "anchor", "default", "vm", "port"
  uint32_t queue = 0;
  uint32_t rx_ring_size = 0;
  uint32_t tx_ring_size = 0;
  bool zero_copy = false;
  uint64_t rx_dropped = 0;
  uint64_t rx_invalid_descs = 0;
  uint64_t tx_invalid_descs = 0;
  uint64_t rx_ring_full = 0;
  uint64_t rx_fill_ring_empty_descs = 0;
  uint64_t tx_ring_empty_descs = 0;
  uint64_t tx_kicks = 0;
  uint64_t tx_completions = 0;
};

// `reason` explains the pair (requested, effective) where they differ, or why oper is not kUp.
struct UplinkStatus {
  UplinkConfig config;
  OperStatus oper = OperStatus::kUp;
  std::string oper_reason;
  XdpMode xdp_mode = XdpMode::kNative;
  std::string xdp_mode_reason;
  Steering steering = Steering::kSoftware;
  std::string steering_reason;
  WakeMode wake_mode = WakeMode::kAdaptive;
  std::string wake_mode_reason;
  uint32_t queues = 0;
  bool zero_copy = false;
  std::string zero_copy_reason;
  MacAddress mac;
  uint32_t mtu = 0;
  uint32_t max_frame_len = 0;
  int numa_node = -1;
  uint32_t port_count = 0;
  Counters counters;
  Rates rates;
  uint64_t to_host_pkts = 0;
  uint64_t misplaced_pkts = 0;
  std::vector<std::string> changed_settings;
  std::string etag;
  bool survives_crash = false;
  std::string survives_crash_reason;
  std::string busy_poll_state;  // empty when it was not asked for
};

struct QueueFilter {
  std::string port;  // id
  MacAddress mac;
  uint32_t vlan = 0;
};

struct QueueStatus {
  std::string uplink;  // id
  uint32_t queue = 0;
  int cpu = 0;
  int numa_node = -1;
  std::vector<QueueFilter> filters;
  bool default_queue = false;
  bool dedicated = false;
  bool zero_copy = false;
  WakeMode wake_mode = WakeMode::kAdaptive;
  std::string wake_mode_reason;
  std::string napi;
  double busy_percent = 0;
  Rates rates;
  uint64_t in_pkts = 0;
  uint64_t out_pkts = 0;
  uint64_t drops = 0;
  uint64_t misplaced_pkts = 0;
  uint64_t wakeups = 0;
  uint32_t buffers = 0;
  uint32_t buffers_free = 0;
  uint32_t buffers_reserved = 0;
  int32_t buffers_in_flight = 0;
  std::vector<SocketStatus> sockets;
  Loads loads{};
  bool pinned = false;  // cpu is the operator's wish
};

struct VhostPortRing {
  uint32_t index = 0;  // 2i: what the guest receives by, 2i + 1: what it transmits by
  uint32_t size = 0;   // entries
  bool running = false;
  bool enabled = false;
};

// A vhost-user port as its front end sees it.
struct VhostPortStatus {
  std::string socket_path;
  bool connected = false;
  std::chrono::system_clock::time_point since;  // when that began
  std::vector<std::string> features;            // negotiated, by name
  std::vector<std::string> protocol_features;
  std::vector<std::string> offloads;  // what is done where, in sentences
  uint32_t memory_regions = 0;
  uint64_t memory_bytes = 0;
  bool memory_sealed = false;
  bool logging = false;  // dirty pages, for a migration
  std::vector<VhostPortRing> rings;
  std::string last_fault;
  std::chrono::system_clock::time_point last_fault_time;
  uint64_t connections = 0;
  uint64_t faults = 0;
};

struct PortStatus {
  PortConfig config;  // uplink and device filled in
  OperStatus oper = OperStatus::kUp;
  std::string oper_reason;
  uint32_t queue = 0;
  std::string queue_reason;
  uint32_t mtu = 0;
  std::vector<MacAddress> macs;
  int cpu = 0;
  Counters counters;
  Rates rates;
  std::vector<SocketStatus> sockets;
  std::vector<std::string> changed_settings;
  std::string etag;
  uint32_t queue_pairs = 1;  // served
  std::string queue_pairs_reason;
  Steering steering = Steering::kSoftware;
  std::string steering_reason;
  std::optional<VhostPortStatus> vhost;
  Loads loads{};
};

// Something that happened. `resource` is a name as the API spells it, empty for the whole switch;
// `reason` is stable and UPPER_SNAKE_CASE.
struct Event {
  uint64_t revision = 0;
  std::chrono::system_clock::time_point time;
  Severity severity = Severity::kInfo;
  std::string resource;
  std::string reason;
  std::string message;
};

struct CpuStatus {
  int cpu = 0;
  int numa_node = -1;
  struct Queue {
    std::string uplink;  // id
    uint32_t queue = 0;
  };
  std::vector<Queue> queues;  // whose workers are here
  Loads loads{};              // of these together
  double other_percent = 0;   // of the last second, anything but workers and what gives way
};

// What the balancer has done, or would do; as vmqd.v1.RebalanceResponse.
struct MoveReport {
  std::string resource;  // as the API names it
  int from_cpu = 0;
  int to_cpu = 0;
  std::string to_queue;  // as the API names it; of a port
  std::string reason;
  CpuForecast from, to;
};
struct RebalanceReport {
  std::vector<MoveReport> moves;
  std::vector<CpuForecast> forecast;
  std::vector<std::string> remarks;
};

struct SwitchStatus {
  std::string version;
  std::string processor_set;
  uint32_t uplink_count = 0;
  uint32_t port_count = 0;
  uint32_t worker_count = 0;
  Counters counters;
  uint64_t replicated_pkts = 0;
  uint64_t uptime_seconds = 0;
  uint64_t revision = 0;
  uint64_t state_revision = 0;
  std::vector<std::string> warnings;
  std::vector<CpuStatus> cpus;  // ascending
  uint64_t queue_moves = 0;     // to other CPUs
  uint64_t port_moves = 0;      // to other queues
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_MODEL_H_

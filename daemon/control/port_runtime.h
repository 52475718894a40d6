// PortRuntime: a port as it runs: its device, its place, its sockets and counters. The Switch owns
// it and calls it under its mutex.
#ifndef VMQD_DAEMON_CONTROL_PORT_RUNTIME_H_
#define VMQD_DAEMON_CONTROL_PORT_RUNTIME_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/model.h"
#include "daemon/control/site.h"
#include "daemon/control/uplink_runtime.h"
#include "daemon/datapath/topology.h"
#include "daemon/port/away_port.h"
#include "daemon/port/port.h"
#include "daemon/port/vhost_user_port.h"
#include "daemon/vmq/demand.h"
#include "daemon/vmq/load.h"
#include "daemon/vmq/placement.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/program.h"

namespace vmqd {

// Whether the device of this kind is made, and deleted, by vmqd.
inline bool MakesDevice(PortKind kind) {
  return kind != PortKind::kNetdev && kind != PortKind::kVhostUser;
}
// Whether it has a network device at all.
inline bool HasDevice(PortKind kind) { return kind != PortKind::kVhostUser; }

// The places a port takes in tables that are fixed when it is added.
struct PortPlace {
  uint64_t serial = 0;
  uint32_t slot = 0;          // the first of as many as it has queue pairs
  uint32_t vm_slot = 0;       // of vm_sockets: the same at first, another after a move
  uint32_t pairs = 1;         // on as many queues, the home queue and those that follow it
  uint32_t first_socket = 0;  // of port_sockets
  uint32_t sockets = 1;       // so many: receive queues of its device
  Placement placement;
};

class PortRuntime {
 public:
  // Buffers for one more port on a queue that has `ports` already and `available` not set aside:
  // many for the first ports, few for the hundredth. ResourceExhausted when not even the least
  // fits.
  static absl::StatusOr<PortBuffers> BuffersFor(uint32_t ports, uint32_t device_queues,
                                                uint32_t available);

  // Makes or finds the device, opens the sockets and has the device's frames come to them. Nothing
  // arrives from the uplink before Connect. Everything is undone on error.
  static absl::StatusOr<std::unique_ptr<PortRuntime>> Open(const PortConfig& config,
                                                           const PortPlace& place,
                                                           UplinkRuntime& uplink,
                                                           PortProgram& program, const Site& site);
  // Closes, then gives back the buffers its rings held. A device that vmqd made stays, for the VM
  // that has it and for the next daemon, unless DeleteDevice was called.
  ~PortRuntime();

  // Claims the port's filters: from now on its frames come to its socket.
  absl::Status Connect();
  // `hold`: the port waits from now on, so its frames are dropped and not left to the host.
  void Disconnect(bool hold = false);
  // No worker may use the port any more. Ends all arrivals; returns its counters for good, in which
  // frames that still lay in a ring are dropped as PORT_GONE.
  Counters Close();

  // The device goes with the object, if vmqd made it.
  void DeleteDevice() { delete_device_ = device_made_; }

  // The port goes to another queue, step by step (Fabric::MovePort). Ports with one queue pair.
  //
  // Its socket on that queue, to be `vm_slot` of vm_sockets, is opened, and the port is at home
  // there: Entry() says so. On error nothing changed.
  absl::Status BeginMove(const Placement& to, uint32_t vm_slot);
  // What the topology of that entry says of it.
  std::unique_ptr<PortMove> Move() const;
  // Its frames come to that socket. On error some do.
  absl::Status MoveFilters();
  // All frames come to the socket it left again, and it is at home there again. Then a topology,
  // and the rest, as if that had been the way.
  void TurnBack();
  // Waits until nothing is left in the socket it left, which gets no frames any more, then forgets
  // that: Entry() does not name it.
  void LeaveSocket();
  // No worker knows of that socket now: closes it. Returns its place in vm_sockets.
  uint32_t EndMove();
  void SetPlacementReason(std::string reason) { place_.placement.reason = std::move(reason); }
  PortTurnState* turn_state() const { return pairs_[0].state.get(); }

  // What runs on the port's device; kOurs for kinds that attach no program.
  Attachment::State LookAtProgram() const { return pairs_[0].port->LookAtProgram(); }
  absl::Status AttachAgain() { return pairs_[0].port->AttachAgain(); }
  // Vhost-user: passes on what workers found wrong; what has changed since the last look.
  struct VhostChange {
    bool connection = false;  // it came or went
    bool link = false;
    bool fault = false;  // there was one
    VhostStatus now;
  };
  std::optional<VhostChange> LookAtVhost();

  // Applies new MACs, VLAN and so on to filters and the snapshot's entry. On error nothing changed.
  absl::Status Reconfigure(const PortConfig& config);
  // The uplink has another MTU now: a device vmqd made, for a port without one of its own, gets it.
  absl::Status FollowUplinkMtu();

  const PortConfig& config() const { return config_; }
  const std::vector<MacAddress>& macs() const { return config_.macs; }
  const Link& link() const { return link_; }
  const PortPlace& place() const { return place_; }
  UplinkRuntime& uplink() const { return uplink_; }
  const std::atomic<bool>& link_up() const { return link_up_; }

  PortEntry Entry();
  // What the NIC is to send to which queues.
  std::vector<NicFilter> NicFilters() const;
  NicQueues HomeQueues() const;
  uint32_t BuffersHeld() const;  // for its device's sockets, of the memory of:
  uint32_t memory_queue() const { return memory_queue_; }
  PortStatus Status() const;
  void OnLink(bool up, bool carrier);
  void Sample(double seconds);
  // Once a second, in this order. What its home worker moved of it since the last time, what was
  // lost and what lies in the rings that worker empties; the queues that serve it get their part.
  PortSecond ReadLoad();
  // `busy`: the part of its worker's time that was spent on it, seconds.
  void SampleLoad(LoadWindows::Time now, double busy);

 private:
  PortRuntime(const PortConfig& config, const PortPlace& place, UplinkRuntime& uplink,
              const Site& site)
      : config_(config), place_(place), uplink_(uplink), site_(site) {}
  // Claims the filters of `config`. On error exactly what was done is undone.
  absl::Status Claim(const PortConfig& config);
  bool Owns(const MacAddress& mac, uint32_t vlan) const;
  absl::Status ResizeDevice(uint32_t mtu);
  absl::Status OpenDevice();
  absl::Status MakeOrAdoptDevice();
  absl::Status SetUpPeer();
  // A queue pair, on the queue that serves it.
  struct Pair {
    uint32_t queue = 0;
    PortBuffers buffers{};
    std::unique_ptr<XskSocket> vm_socket;
    Port* port = nullptr;
    std::unique_ptr<PortTurnState> state;
    uint32_t share = 0;    // buffers set aside for it on its queue
    uint64_t drained = 0;  // frames found in the VM socket when it was closed
    Growth waits, lost_for_vm, lost_from_vm;
  };
  struct PairLoad {
    uint64_t lost = 0;  // since the last time
    uint64_t backlog = 0;
  };
  PairLoad ReadLoad(Pair& pair, bool vm_is_full);
  absl::Status OpenPairs();
  absl::Status OpenPair(Pair& pair);
  absl::Status OpenPort(PortProgram& program);
  absl::Status OpenTap(PortProgram& program);
  absl::Status OpenNetdev(PortProgram& program);
  absl::Status OpenVhost();
  absl::Status WatchSockets();
  QueueRuntime& QueueOf(const Pair& pair) const { return uplink_.queues()[pair.queue]; }
  absl::StatusOr<std::unique_ptr<XskSocket>> OpenVmSocket(uint32_t queue, uint32_t ring) const;
  VhostUserPort::Host HostAt(uint32_t queue) const;
  absl::Status OpenAt(uint32_t queue, Pair& pair);
  absl::Status WatchAt(const Pair& pair);
  void UnwatchAt(const Pair& pair);
  void GiveShare(Pair& pair);
  static void CountLost(const Pair& pair, Counters& counters);
  vmqd_filter Filter() const;
  QueueRuntime& memory() const { return uplink_.queues()[memory_queue_]; }
  FrameArea::Owner Owner() const {
    return static_cast<FrameArea::Owner>(FrameArea::kFirstPort + place_.slot);
  }
  QueueRuntime& home() const { return uplink_.queues()[place_.placement.queue]; }
  void DescribeLink(PortStatus& status) const;
  VhostPortStatus VhostNow() const;
  uint32_t EffectiveMtu() const;
  void DrainVmSocket(Pair& pair);
  Counters CountersNow() const;

  PortConfig config_;
  PortPlace place_;
  UplinkRuntime& uplink_;
  const Site& site_;
  Link link_;
  bool device_made_ = false;    // by this daemon or an earlier one
  bool delete_device_ = false;  // when the object goes
  bool connected_ = false;
  std::atomic<bool> link_up_{false};
  std::vector<Pair> pairs_;
  std::unique_ptr<Port> port_;  // on a device; one pair
  // Queue in whose memory the rings of the device's sockets are: where the port was at home at
  // first. A vhost-user port has none there, and takes this along.
  uint32_t memory_queue_ = 0;
  PortBuffers memory_buffers_{};
  uint32_t kept_share_ = 0;         // set aside there while the port is at home elsewhere
  std::unique_ptr<AwayPort> away_;  // stands before port_ while the port is at home elsewhere
  std::optional<Pair> left_;        // in the middle of a move: the pair as it was
  Placement left_placement_;
  uint32_t left_vm_slot_ = 0;  // its place in vm_sockets
  bool socket_left_ = false;   // and nothing is in its socket any more
  Counters gone_;              // of sockets that were left
  std::unique_ptr<VhostUserPort> vhost_;
  bool vhost_connected_ = false;  // when it was looked at last, and so on
  bool vhost_link_ = false;
  uint64_t vhost_faults_ = 0;
  std::vector<std::unique_ptr<FrameCounters>> counters_;  // by worker
  bool closed_ = false;
  RateSample sample_;
  Rates rates_;
  std::vector<Growth> moved_;  // frames, by worker
  Growth vm_full_;             // drops because the VM takes no more
  LoadReading reading_;
  LoadWindows load_;
};

// Deletes the device that was made for a port that does not run.
void DeleteMadeDevice(const PortConfig& config, const Site& site);

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_PORT_RUNTIME_H_

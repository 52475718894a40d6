// Topology: what the workers of one uplink need to know to forward, as an immutable snapshot. The
// Switch builds a new one for every change and publishes it by one pointer store; a worker picks it
// up at the start of its next turn and says so, and when all have, the old one is freed.
#ifndef VMQD_DAEMON_DATAPATH_TOPOLOGY_H_
#define VMQD_DAEMON_DATAPATH_TOPOLOGY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "daemon/datapath/counters.h"
#include "daemon/net/counter.h"
#include "daemon/port/port.h"
#include "daemon/xdp/socket.h"

namespace vmqd {

inline constexpr uint32_t kNoPort = UINT32_MAX;
inline constexpr uint32_t kNoWorker = UINT32_MAX;

// What the home worker remembers of a port from turn to turn. Only that worker touches it; control
// reads `waits`.
struct PortTurnState {
  int64_t deficit = 0;             // bytes its VM socket may still hand over in this round
  bool blocked = false;            // frames wait in its VM socket, but the port has no room
  Counter waits;                   // turns in which they did
  bool armed = true;               // its VM socket wakes the worker
  bool touched = false;            // frames were queued to it in this turn
  uint32_t handed_to = kNoWorker;  // worker that its last burst was handed over to
  // After a move; see rehome.h.
  bool closed = false;          // its VM socket is not served yet
  int64_t closed_until_ns = 0;  // 0: nothing has come to it
};

// What one worker serves of a port: a queue pair of it, and the VM's socket on that worker's queue.
struct PortPair {
  Port* port = nullptr;
  XskSocket* vm_socket = nullptr;
  PortTurnState* state = nullptr;
};

struct PortEntry {
  uint64_t serial = 0;  // never reused
  uint32_t slot = 0;
  uint32_t home = 0;  // worker: index of its home queue, which takes what others hand over
  std::vector<PortPair> pairs;  // by worker; nothing in it where the worker serves none
  bool coalesce = false;        // segments from the uplink, where its VM takes large ones
  uint16_t vlan = 0;
  uint32_t max_len = 0;  // longest untagged frame, bytes
  uint32_t quantum = 0;  // bytes a round, by weight
  uint32_t batch = 0;    // frames taken from the port a turn, by weight
  bool trusted = false;
  bool disabled = false;
  std::vector<uint64_t> macs;            // MacAddress::ToWord()
  std::vector<FrameCounters*> counters;  // by worker
  const std::atomic<bool>* link_up = nullptr;
};

// The ports of one VLAN: indices into Topology::ports, by home worker.
struct FloodGroup {
  std::vector<std::vector<uint32_t>> members;
};

// A port that comes to another worker with this topology; see rehome.h.
struct PortMove {
  uint32_t from = 0;  // workers
  uint32_t to = 0;
  Port* old_port = nullptr;                 // as `from` served it
  Port* new_port = nullptr;                 // as `to` serves it
  mutable std::atomic<bool> passed{false};  // by `from`, which does not touch it any more
  bool flows_move = false;  // those of the port that come to `from` come to `to` soon
  // When `from` last had all that lay in its sockets handed over; of the steady clock.
  mutable std::atomic<int64_t> emptied_ns{0};
  // As Port::Room, of a while ago; by `to`, for the frames that still come by `from`.
  mutable std::atomic<uint32_t> room{0};
};

struct Topology {
  uint64_t sequence = 0;
  std::vector<PortEntry> ports;
  std::vector<std::vector<uint32_t>> home;         // by worker: the ports it serves
  absl::flat_hash_map<uint64_t, uint32_t> owners;  // Key(vlan, mac) -> port
  absl::flat_hash_map<uint16_t, FloodGroup> floods;
  absl::flat_hash_map<uint64_t, uint32_t> by_serial;
  uint32_t uplink_max_len = 0;  // longest untagged frame the uplink takes
  const std::atomic<bool>* uplink_up = nullptr;
  std::unique_ptr<PortMove> move;  // mostly null
  // The state of a port that came to this worker before, and whose VM socket may be opened.
  PortTurnState* opened = nullptr;
  uint32_t opened_at = kNoWorker;
  // By worker: ports at home elsewhere now, whose frames are still in a socket here.
  std::vector<std::vector<uint32_t>> leaving;

  static uint64_t Key(uint16_t vlan, uint64_t mac_word) {
    return static_cast<uint64_t>(vlan) << 48 | mac_word;
  }
  uint32_t OwnerOf(uint16_t vlan, uint64_t mac_word) const {
    const auto found = owners.find(Key(vlan, mac_word));
    return found == owners.end() ? kNoPort : found->second;
  }
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_TOPOLOGY_H_

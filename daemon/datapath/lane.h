// Lane: what the stages of one worker work on. It belongs to that worker's thread; the parts
// control threads may touch are marked.
#ifndef VMQD_DAEMON_DATAPATH_LANE_H_
#define VMQD_DAEMON_DATAPATH_LANE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/datapath/counters.h"
#include "daemon/datapath/handover.h"
#include "daemon/datapath/topology.h"
#include "daemon/datapath/uplink_queue.h"
#include "daemon/net/coalesce.h"
#include "daemon/net/frame_tail.h"
#include "daemon/xdp/frame_pool.h"

namespace vmqd {

// Frames taken from one source at a time.
inline constexpr uint32_t kBurst = 64;

// How a worker is woken by another thread. Both sides use a read-modify-write on `sleeping`:
// whichever comes second sees what the other wrote before, so either the worker sees the work or
// the other thread sees that it sleeps.
struct Doorbell {
  int event_fd = -1;
  std::atomic<uint32_t> sleeping{0};

  // Any thread; call after publishing what the worker should see.
  void Ring();
};

// The way to one other worker of the uplink.
struct Peer {
  Handover* to = nullptr;     // we send, it receives
  Handover* from = nullptr;   // it sends, we receive
  FrameArea* area = nullptr;  // its memory
  Doorbell* doorbell = nullptr;
  const std::atomic<uint64_t>* hands_over_by = nullptr;  // Lane::hands_over_by of that worker
};

// What MergeSegments works with.
struct MergeRoom {
  Coalescing coalescing;
  std::array<FrameTail, kBurst> tails;
  std::array<FramePiece, kBurst> pieces;
  uint32_t tail_count = 0;
  uint32_t piece_count = 0;
};

struct Lane {
  Lane(uint32_t lane_index, FrameArea& area, UplinkQueue& queue)
      : index(lane_index), pool(area), uplink(queue) {}

  const uint32_t index;  // queue number, and position in PortEntry::counters
  FramePool pool;
  UplinkQueue& uplink;
  std::vector<Peer> peers;  // by worker; the entry of this worker is empty
  const Topology* topology = nullptr;
  uint8_t era = 0;  // low byte of the topology's sequence number
  // What is handed over from now on is by the topology of this sequence number. Others read it.
  std::atomic<uint64_t> hands_over_by{0};
  // Of the topology published that this worker does not work by yet: its items wait.
  std::optional<uint8_t> next_era;
  bool waits_for_leaving = false;  // a socket stays closed until another worker has had a turn
  int64_t emptied_ns = 0;          // when its sockets last were, while a port leaves; see rehome.h
  bool finish_checksums = false;   // the uplink hands over checksums its sender left to the device
  bool blocked = false;            // some port's frames wait for room
  bool waits_for_peer = false;  // some port was not received from, until a peer lends buffers again
  MergeRoom merge;
  std::vector<uint32_t> touched;  // ports with frames queued in this turn

  FrameCounters uplink_counters;  // read by control threads
  WorkerCounters counters;        // read by control threads

  FrameCounters& CountersOf(const PortEntry& port) const { return *port.counters[index]; }
  const PortPair& PairOf(const PortEntry& port) const { return port.pairs[index]; }
  // Whether frames for the port are delivered here.
  bool Serves(const PortEntry& port) const {
    const PortPair& pair = PairOf(port);
    return pair.port != nullptr && (index == port.home || pair.port->Takes());
  }
  void GiveBack(const Frame* frames, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) GiveFrame(pool, frames[i]);
  }
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_LANE_H_

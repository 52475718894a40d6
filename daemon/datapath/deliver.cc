#include "daemon/datapath/deliver.h"

#include <algorithm>
#include <cstring>

#include "daemon/net/ethernet.h"
#include "daemon/xdp/frame_tag.h"

namespace vmqd {
namespace {

void DropAll(Lane& lane, FrameCounters& counters, DropReason reason, const Frame* frames,
             uint32_t count) {
  counters.DropOut(reason, count);
  lane.GiveBack(frames, count);
}

// Gives back the frames longer than `max_len`; the others move up. Returns how many are left.
uint32_t DropTooLong(Lane& lane, FrameCounters& counters, uint32_t max_len, Frame* frames,
                     uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (frames[i].len <= max_len) {
      frames[kept++] = frames[i];
    } else {
      DropAll(lane, counters, DropReason::kMTU_EXCEEDED, &frames[i], 1);
    }
  }
  return kept;
}

uint64_t Octets(const Frame* frames, uint32_t count) {
  uint64_t octets = 0;
  for (uint32_t i = 0; i < count; ++i) octets += frames[i].len;
  return octets;
}

void FlushPort(Lane& lane, const PortEntry& entry) {
  const uint32_t refused = entry.port->Flush();
  if (refused == 0) return;
  FrameCounters& counters = lane.CountersOf(entry);
  counters.out_pkts.Subtract(refused);
  counters.DropOut(DropReason::kDEVICE_REFUSED, refused);
}

// As many of `count` frames as the port has room for; returns how many.
uint32_t TransmitSome(Lane& lane, uint32_t index, const Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[index];
  const uint32_t sent = std::min(count, entry.port->Room());
  if (sent == 0) return 0;
  FrameCounters& counters = lane.CountersOf(entry);
  counters.out_pkts.Add(sent);
  counters.out_octets.Add(Octets(frames, sent));
  entry.port->Transmit(frames, sent);
  if (!entry.state->touched) {
    entry.state->touched = true;
    lane.touched.push_back(index);
  }
  return sent;
}

void DeliverHere(Lane& lane, uint32_t index, Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[index];
  FrameCounters& counters = lane.CountersOf(entry);
  counters.offered.Add(count);
  if (entry.disabled) return DropAll(lane, counters, DropReason::kPORT_DISABLED, frames, count);
  if (!entry.link_up->load(std::memory_order_relaxed)) {
    return DropAll(lane, counters, DropReason::kPORT_DOWN, frames, count);
  }
  count = DropTooLong(lane, counters, entry.max_len, frames, count);
  uint32_t sent = TransmitSome(lane, index, frames, count);
  if (sent < count) {
    // A small quota is used up by one burst: send that now, and the rest has room.
    FlushPort(lane, entry);
    entry.port->Recycle(lane.pool);
    sent += TransmitSome(lane, index, frames + sent, count - sent);
  }
  if (sent < count) {
    DropAll(lane, counters, DropReason::kPORT_FULL, frames + sent, count - sent);
  }
}

// Copies one frame into a buffer the peer has lent. False when there is none.
bool CopyToPeer(Lane& lane, Peer& peer, const Frame& frame, uint64_t serial, uint16_t vlan) {
  uint64_t buffer;
  if (!peer.to->grants.Pop(&buffer)) return false;
  const uint64_t addr = buffer + FrameArea::kHeadroom;
  std::memcpy(peer.area->Data(addr), lane.pool.area().Data(frame.addr), frame.len);
  peer.to->items.Push({{addr, frame.len}, serial, vlan});  // has room: as many places as grants
  peer.to->unpublished = true;
  return true;
}

void HandOver(Lane& lane, const PortEntry& entry, const Frame* frames, uint32_t count) {
  Peer& peer = lane.peers[entry.home];
  for (uint32_t i = 0; i < count; ++i) {
    if (!CopyToPeer(lane, peer, frames[i], entry.serial, entry.vlan)) {
      FrameCounters& counters = lane.CountersOf(entry);
      counters.offered.Add(1);
      counters.DropOut(DropReason::kHANDOVER_FULL);
    }
  }
  lane.GiveBack(frames, count);
}

// A copy of `frame` in a fresh buffer. False when the pool is empty.
bool Replicate(Lane& lane, const Frame& frame, Frame* copy) {
  if (lane.pool.available() == 0) return false;
  *copy = {lane.pool.Take() + FrameArea::kHeadroom, frame.len};
  std::memcpy(lane.pool.area().Data(copy->addr), lane.pool.area().Data(frame.addr), frame.len);
  return true;
}

// Copies of `frame` to every member but `source`; the frame itself stays the caller's. Returns how
// many there were.
uint32_t ReplicateToMembers(Lane& lane, const std::vector<uint32_t>& members, uint32_t source,
                            const Frame& frame) {
  uint32_t copies = 0;
  for (uint32_t member : members) {
    if (member == source) continue;
    ++copies;
    Frame copy;
    if (Replicate(lane, frame, &copy)) {
      DeliverHere(lane, member, &copy, 1);
    } else {
      FrameCounters& counters = lane.CountersOf(lane.topology->ports[member]);
      counters.offered.Add(1);
      counters.DropOut(DropReason::kNO_BUFFER);
    }
  }
  return copies;
}

// Hands a flood over to the workers with ports in `group`. Returns for how many frames that stands
// here: one for each worker reached (it counts its own further copies), one for each port of a
// worker that could not be reached.
uint32_t HandOverFlood(Lane& lane, const FloodGroup& group, uint16_t vlan, const Frame& frame) {
  uint32_t copies = 0;
  for (uint32_t worker = 0; worker < group.members.size(); ++worker) {
    const std::vector<uint32_t>& members = group.members[worker];
    if (worker == lane.index || members.empty()) continue;
    if (CopyToPeer(lane, lane.peers[worker], frame, 0, vlan)) {
      ++copies;
      continue;
    }
    for (uint32_t member : members) {
      ++copies;
      FrameCounters& counters = lane.CountersOf(lane.topology->ports[member]);
      counters.offered.Add(1);
      counters.DropOut(DropReason::kHANDOVER_FULL);
    }
  }
  return copies;
}

}  // namespace

void DeliverToPort(Lane& lane, uint32_t port, Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[port];
  if (entry.home == lane.index) {
    DeliverHere(lane, port, frames, count);
  } else {
    HandOver(lane, entry, frames, count);
  }
}

void DeliverToUplink(Lane& lane, uint16_t vlan, Frame* frames, uint32_t count) {
  FrameCounters& counters = lane.uplink_counters;
  counters.offered.Add(count);
  if (!lane.topology->uplink_up->load(std::memory_order_relaxed)) {
    return DropAll(lane, counters, DropReason::kUPLINK_DOWN, frames, count);
  }
  count = DropTooLong(lane, counters, lane.topology->uplink_max_len, frames, count);
  const uint32_t sent = std::min(count, lane.uplink.Room());
  if (sent < count) {
    DropAll(lane, counters, DropReason::kUPLINK_FULL, frames + sent, count - sent);
  }
  if (sent == 0) return;
  if (vlan != 0) {
    for (uint32_t i = 0; i < sent; ++i) {
      PushVlanTag(lane.pool.area().Data(frames[i].addr), frames[i], vlan);
    }
  }
  const uint64_t octets = Octets(frames, sent);
  counters.out_pkts.Add(sent);
  counters.out_octets.Add(octets);
  lane.counters.tx_pkts.Add(sent);
  lane.counters.tx_octets.Add(octets);
  lane.uplink.Transmit(frames, sent);
}

bool Flood(Lane& lane, uint16_t vlan, uint32_t source, Frame frame) {
  const bool to_wire = source != kNoPort;
  uint32_t copies = to_wire ? 1 : 0;
  const auto group = lane.topology->floods.find(vlan);
  if (group != lane.topology->floods.end()) {
    copies += HandOverFlood(lane, group->second, vlan, frame);
    copies += ReplicateToMembers(lane, group->second.members[lane.index], source, frame);
  }
  if (copies == 0) return false;
  lane.counters.replicated.Add(copies - 1);
  if (to_wire) {
    DeliverToUplink(lane, vlan, &frame, 1);
  } else {
    lane.GiveBack(&frame, 1);
  }
  return true;
}

void FloodHome(Lane& lane, uint16_t vlan, Frame frame) {
  const auto group = lane.topology->floods.find(vlan);
  const uint32_t copies =
      group == lane.topology->floods.end()
          ? 0
          : ReplicateToMembers(lane, group->second.members[lane.index], kNoPort, frame);
  if (copies == 0) {
    // The last port of the VLAN left this worker while the frame was on its way.
    lane.uplink_counters.offered.Add(1);
    lane.uplink_counters.DropOut(DropReason::kPORT_GONE);
  } else {
    lane.counters.replicated.Add(copies - 1);
  }
  lane.GiveBack(&frame, 1);
}

void Flush(Lane& lane) {
  size_t pending = 0;  // ports whose device did not take all; they stay for the next turn
  for (uint32_t index : lane.touched) {
    const PortEntry& entry = lane.topology->ports[index];
    FlushPort(lane, entry);
    entry.state->touched = entry.port->Pending();
    if (entry.state->touched) lane.touched[pending++] = index;
  }
  lane.touched.resize(pending);
  if (const uint32_t refused = lane.uplink.Flush(); refused > 0) {
    lane.uplink_counters.out_pkts.Subtract(refused);
    lane.counters.tx_pkts.Subtract(refused);
    lane.uplink_counters.DropOut(DropReason::kDEVICE_REFUSED, refused);
  }
  for (Peer& peer : lane.peers) {
    if (peer.to == nullptr || !peer.to->unpublished) continue;
    peer.to->unpublished = false;
    peer.to->grants.Release();
    peer.to->items.Publish();
    peer.doorbell->Ring();
  }
}

}  // namespace vmqd

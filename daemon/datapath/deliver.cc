#include "daemon/datapath/deliver.h"

#include <algorithm>
#include <cstring>

#include "daemon/datapath/complete.h"
#include "daemon/net/ethernet.h"
#include "daemon/xdp/frame_chain.h"
#include "daemon/xdp/frame_tag.h"

namespace vmqd {
namespace {

// How many were received for these; see FrameTail::frames.
uint64_t Count(const Frame* frames, uint32_t count) {
  uint64_t total = count;
  for (uint32_t i = 0; i < count; ++i) {
    if (frames[i].tail != nullptr) total += frames[i].tail->frames - 1;
  }
  return total;
}

void DropAll(Lane& lane, FrameCounters& counters, DropReason reason, const Frame* frames,
             uint32_t count) {
  counters.DropOut(reason, Count(frames, count));
  lane.GiveBack(frames, count);
}

uint32_t WireLength(const Frame& frame) {
  return frame.tail == nullptr ? frame.len : frame.tail->wire_len;
}

// Gives back the frames longer than `max_len`; the others move up. Returns how many are left.
uint32_t DropTooLong(Lane& lane, FrameCounters& counters, uint32_t max_len, Frame* frames,
                     uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (WireLength(frames[i]) <= max_len) {
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
  const Port::Refused refused = lane.PairOf(entry).port->Flush();
  if (refused.frames == 0) return;
  FrameCounters& counters = lane.CountersOf(entry);
  counters.out_pkts.Subtract(refused.frames);
  counters.DropOut(refused.reason, refused.frames);
}

// As many of `count` frames as the port has room for; returns how many.
uint32_t TransmitSome(Lane& lane, uint32_t index, const Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[index];
  const PortPair& pair = lane.PairOf(entry);
  const uint32_t room = std::min(count, pair.port->Room());
  if (room == 0) return 0;
  // A frame's buffers may be somebody else's as soon as it is sent.
  const uint64_t pkts = Count(frames, room), octets = Octets(frames, room);
  const uint32_t sent = pair.port->Transmit(lane.pool, frames, room);
  FrameCounters& counters = lane.CountersOf(entry);
  counters.out_pkts.Add(pkts - Count(frames + sent, room - sent));
  counters.out_octets.Add(octets - Octets(frames + sent, room - sent));
  if (!pair.state->touched) {
    pair.state->touched = true;
    lane.touched.push_back(index);
  }
  return sent;
}

// Frames that the port takes as they are.
void DeliverTaken(Lane& lane, uint32_t index, Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[index];
  FrameCounters& counters = lane.CountersOf(entry);
  counters.offered.Add(Count(frames, count));
  if (entry.disabled) return DropAll(lane, counters, DropReason::kPORT_DISABLED, frames, count);
  if (!entry.link_up->load(std::memory_order_relaxed)) {
    return DropAll(lane, counters, DropReason::kPORT_DOWN, frames, count);
  }
  count = DropTooLong(lane, counters, entry.max_len, frames, count);
  uint32_t sent = TransmitSome(lane, index, frames, count);
  if (sent < count) {
    // A small quota is used up by one burst: send that now, and the rest has room.
    FlushPort(lane, entry);
    lane.PairOf(entry).port->Recycle(lane.pool);
    sent += TransmitSome(lane, index, frames + sent, count - sent);
  }
  if (sent < count) {
    DropAll(lane, counters, DropReason::kPORT_FULL, frames + sent, count - sent);
  }
}

void DeliverHere(Lane& lane, uint32_t index, Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[index];
  if (!AnyTail(frames, count)) return DeliverTaken(lane, index, frames, count);
  const PortOffloads offloads = lane.PairOf(entry).port->Offloads();
  if (TakesAll(offloads, frames, count)) return DeliverTaken(lane, index, frames, count);
  ForEachFinal(lane, lane.CountersOf(entry), offloads.pieces || offloads.chains, frames, count,
               [&](Frame* whole, uint32_t wholes) { DeliverTaken(lane, index, whole, wholes); });
}

// Copies a frame of several buffers into as many as the peer has lent for it.
bool CopyChainToPeer(Lane& lane, Peer& peer, const Frame& frame, const HandoverItem& to) {
  if (peer.to->grants.Available() < BuffersFor(*peer.area, frame.len)) return false;
  FrameReader reader(lane.pool.area().Data(frame.addr), *frame.tail);
  for (uint32_t left = frame.len; left > 0;) {
    uint64_t buffer = 0;
    peer.to->grants.Pop(&buffer);
    const uint64_t addr = buffer + FrameArea::kHeadroom;
    const uint32_t size = std::min(left, peer.area->max_frame_len());
    reader.Read(size, peer.area->Data(addr));
    left -= size;
    peer.to->items.Push({{addr, size}, to.serial, to.source, to.vlan, left > 0, lane.era});
  }
  peer.to->unpublished = true;
  return true;
}

// Copies one frame into a buffer the peer has lent. False when there is none.
bool CopyToPeer(Lane& lane, Peer& peer, const Frame& frame, const HandoverItem& to) {
  if (frame.tail != nullptr) return CopyChainToPeer(lane, peer, frame, to);
  uint64_t buffer;
  if (!peer.to->grants.Pop(&buffer)) return false;
  const uint64_t addr = buffer + FrameArea::kHeadroom;
  std::memcpy(peer.area->Data(addr), lane.pool.area().Data(frame.addr), frame.len);
  peer.to->items.Push({{addr, frame.len},
                       to.serial,
                       to.source,
                       to.vlan,
                       false,
                       lane.era});  // has room: as many places as grants
  peer.to->unpublished = true;
  return true;
}

void HandOver(Lane& lane, const PortEntry& entry, Frame* frames, uint32_t count) {
  Peer& peer = lane.peers[entry.home];
  for (uint32_t i = 0; i < count; ++i) {
    if (!CopyToPeer(lane, peer, frames[i], {.serial = entry.serial, .vlan = entry.vlan})) {
      FrameCounters& counters = lane.CountersOf(entry);
      counters.offered.Add(1);
      counters.DropOut(DropReason::kHANDOVER_FULL);
    }
  }
  lane.GiveBack(frames, count);
}

// Puts frames into a port of another worker without its help. Returns how many are dealt with:
// fewer, when somebody else is at it.
uint32_t DeliverShared(Lane& lane, const PortEntry& entry, Frame* frames, uint32_t count) {
  FrameCounters& counters = lane.CountersOf(entry);
  const auto drop = [&](DropReason reason, uint32_t from, uint32_t n) {
    counters.offered.Add(Count(frames + from, n));
    DropAll(lane, counters, reason, frames + from, n);
  };
  uint32_t done = 0;
  for (uint32_t end = 0; done < count; done = end) {
    if (WireLength(frames[done]) > entry.max_len) {
      drop(DropReason::kMTU_EXCEEDED, done, 1);
      end = done + 1;
      continue;
    }
    for (end = done + 1; end < count && WireLength(frames[end]) <= entry.max_len;) ++end;
    const uint32_t run = end - done;
    const uint64_t pkts = Count(frames + done, run), octets = Octets(frames + done, run);
    const Port::Shared sent =
        entry.pairs[entry.home].port->TransmitShared(lane.index, lane.pool, frames + done, run);
    const uint32_t left = run - sent.taken;
    counters.offered.Add(pkts - Count(frames + done + sent.taken, left));
    counters.out_pkts.Add(pkts - Count(frames + done + sent.taken, left) - sent.refused);
    counters.out_octets.Add(octets - Octets(frames + done + sent.taken, left));
    if (sent.refused > 0) counters.DropOut(DropReason::kGUEST_BUFFER, sent.refused);
    if (sent.busy) return done + sent.taken;
    if (left > 0) drop(DropReason::kPORT_FULL, done + sent.taken, left);
  }
  return done;
}

// Its buffers may be filled by any worker, as long as nothing that came before is still under way
// to the one it is at home with, or was before.
bool MayShare(const Lane& lane, const PortEntry& entry) {
  const PortMove* move = lane.topology->move.get();
  if (move != nullptr && !move->passed.load(std::memory_order_acquire)) return false;
  return entry.pairs[entry.home].port->CanShare() && !entry.disabled &&
         entry.link_up->load(std::memory_order_relaxed) &&
         lane.peers[entry.home].to->items.Drained();
}

// A copy of `frame` in a fresh buffer, or as many as it takes. False when the pool is empty.
bool Replicate(Lane& lane, const Frame& frame, Frame* copy) {
  if (frame.tail != nullptr) {
    FrameReader reader(lane.pool.area().Data(frame.addr), *frame.tail);
    return CopyToBuffers(lane.pool, reader, frame.len, copy);
  }
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
    const TailRoom::Mark mark = lane.pool.tails().mark();
    if (Replicate(lane, frame, &copy)) {
      DeliverHere(lane, member, &copy, 1);
      lane.pool.tails().Release(mark);
    } else {
      FrameCounters& counters = lane.CountersOf(lane.topology->ports[member]);
      counters.offered.Add(1);
      counters.DropOut(DropReason::kNO_BUFFER);
    }
  }
  return copies;
}

// Hands a flood over to the workers with ports in `group` other than `source`. Returns for how many
// frames that stands here: one for each worker reached (it counts its own further copies), one for
// each port of a worker that could not be reached.
uint32_t HandOverFlood(Lane& lane, const FloodGroup& group, uint16_t vlan, uint32_t source,
                       const Frame& frame) {
  uint32_t copies = 0;
  const uint64_t serial = source == kNoPort ? 0 : lane.topology->ports[source].serial;
  for (uint32_t worker = 0; worker < group.members.size(); ++worker) {
    const std::vector<uint32_t>& members = group.members[worker];
    if (worker == lane.index || members.empty()) continue;
    // A port with several queue pairs may send here and be at home there.
    if (members.size() == 1 && members[0] == source) continue;
    if (CopyToPeer(lane, lane.peers[worker], frame, {.source = serial, .vlan = vlan})) {
      ++copies;
      continue;
    }
    for (uint32_t member : members) {
      if (member == source) continue;
      ++copies;
      FrameCounters& counters = lane.CountersOf(lane.topology->ports[member]);
      counters.offered.Add(1);
      counters.DropOut(DropReason::kHANDOVER_FULL);
    }
  }
  return copies;
}

void FlushUplink(Lane& lane) {
  const uint32_t refused = lane.uplink.Flush();
  if (refused == 0) return;
  lane.uplink_counters.out_pkts.Subtract(refused);
  lane.counters.tx_pkts.Subtract(refused);
  lane.uplink_counters.DropOut(DropReason::kDEVICE_REFUSED, refused);
}

// Final frames.
void TransmitToUplink(Lane& lane, uint16_t vlan, Frame* frames, uint32_t count) {
  FrameCounters& counters = lane.uplink_counters;
  counters.offered.Add(count);
  if (!lane.topology->uplink_up->load(std::memory_order_relaxed)) {
    return DropAll(lane, counters, DropReason::kUPLINK_DOWN, frames, count);
  }
  count = DropTooLong(lane, counters, lane.topology->uplink_max_len, frames, count);
  uint32_t buffers;
  uint32_t sent = lane.uplink.Fit(frames, count, &buffers);
  if (sent < count) {
    // Segments of large frames can fill the ring in one turn: what is there goes out first.
    FlushUplink(lane);
    lane.uplink.Recycle(lane.pool);
    sent = lane.uplink.Fit(frames, count, &buffers);
  }
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
  lane.uplink.Transmit(frames, sent, buffers);
}

}  // namespace

void DeliverToPort(Lane& lane, uint32_t port, Frame* frames, uint32_t count) {
  const PortEntry& entry = lane.topology->ports[port];
  if (lane.Serves(entry)) return DeliverHere(lane, port, frames, count);
  if (MayShare(lane, entry) && TakesAll(entry.pairs[entry.home].port->Offloads(), frames, count)) {
    const uint32_t done = DeliverShared(lane, entry, frames, count);
    if (done == count) return;
    frames += done;
    count -= done;
  }
  ForEachFinal(lane, lane.CountersOf(entry), lane.uplink.chains(), frames, count,
               [&](Frame* whole, uint32_t wholes) { HandOver(lane, entry, whole, wholes); });
}

void DeliverToUplink(Lane& lane, uint16_t vlan, Frame* frames, uint32_t count) {
  ForEachFinal(lane, lane.uplink_counters, lane.uplink.chains(), frames, count,
               [&](Frame* whole, uint32_t wholes) { TransmitToUplink(lane, vlan, whole, wholes); });
}

bool Flood(Lane& lane, uint16_t vlan, uint32_t source, Frame frame) {
  const bool to_wire = source != kNoPort;
  uint32_t copies = to_wire ? 1 : 0;
  const auto group = lane.topology->floods.find(vlan);
  if (group != lane.topology->floods.end()) {
    copies += HandOverFlood(lane, group->second, vlan, source, frame);
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

void FloodHome(Lane& lane, uint16_t vlan, uint64_t source, Frame frame) {
  const auto sender = lane.topology->by_serial.find(source);
  const uint32_t not_to = sender == lane.topology->by_serial.end() ? kNoPort : sender->second;
  const auto group = lane.topology->floods.find(vlan);
  const uint32_t copies =
      group == lane.topology->floods.end()
          ? 0
          : ReplicateToMembers(lane, group->second.members[lane.index], not_to, frame);
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
    const PortPair& pair = lane.PairOf(entry);
    pair.state->touched = pair.port->Pending();
    if (pair.state->touched) lane.touched[pending++] = index;
  }
  lane.touched.resize(pending);
  FlushUplink(lane);
  for (Peer& peer : lane.peers) {
    if (peer.to == nullptr || !peer.to->unpublished) continue;
    peer.to->unpublished = false;
    peer.to->grants.Release();
    peer.to->items.Publish();
    peer.doorbell->Ring();
  }
}

}  // namespace vmqd

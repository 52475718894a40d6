#include "daemon/datapath/receive.h"

#include <algorithm>
#include <array>

#include "daemon/datapath/deliver.h"
#include "daemon/datapath/forward.h"
#include "daemon/datapath/merge.h"
#include "daemon/datapath/police.h"
#include "daemon/datapath/rehome.h"
#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "daemon/xdp/frame_chain.h"
#include "daemon/xdp/frame_tag.h"

namespace vmqd {
namespace {

void CountFromQueue(Lane& lane, const Frame* frames, uint32_t count) {
  uint64_t octets = 0;
  for (uint32_t i = 0; i < count; ++i) {
    lane.pool.area().SetOwner(frames[i].addr, FrameArea::kInHand);
    octets += frames[i].len;
  }
  lane.counters.rx_pkts.Add(count);
  lane.counters.rx_octets.Add(octets);
  lane.uplink_counters.in_octets.Add(octets);
}

// A virtual NIC hands over checksums that its sender left to the device. A physical one never does,
// and its frames' cache lines are not touched for it.
void FinishChecksums(Lane& lane, Frame* frames, uint32_t count) {
  if (!lane.finish_checksums) return;
  for (uint32_t i = 0; i < count; ++i) {
    if (i + 1 < count) __builtin_prefetch(lane.pool.area().Data(frames[i + 1].addr));
    FinishChecksum(lane.pool.area(), frames[i]);
  }
}

// Frames of a VLAN's port arrive tagged. Frames of an untagged port are left alone: an 802.1Q
// priority tag may stay on, and the frame's cache lines are not touched here.
void Untag(Lane& lane, const PortEntry& entry, Frame* frames, uint32_t count) {
  if (entry.vlan == 0) return;
  for (uint32_t i = 0; i < count; ++i) {
    uint8_t* data = lane.pool.area().Data(frames[i].addr);
    if (i + 1 < count) __builtin_prefetch(lane.pool.area().Data(frames[i + 1].addr));
    if (frames[i].len < kEthHeaderLen + kVlanTagLen || EtherTypeOf(data) != kEtherTypeVlan) {
      continue;
    }
    PopVlanTag(data, frames[i]);
  }
}

// With less room than this the port's frames wait: on a device each takes as many buffers as here.
uint32_t LeastRoom(const PortPair& pair) {
  const uint32_t buffers = pair.vm_socket->buffers_per_frame();
  if (buffers == 1) return 1;
  const PortOffloads offloads = pair.port->Offloads();
  return offloads.pieces && !offloads.chains ? 1 : buffers;
}

uint32_t ReceiveForVm(Lane& lane, uint32_t index) {
  const PortEntry& entry = lane.topology->ports[index];
  const PortPair& pair = lane.PairOf(entry);
  PortTurnState& state = *pair.state;
  state.blocked = false;
  if (pair.vm_socket->RxEmpty()) {
    state.deficit = 0;
    return 0;
  }
  if (state.closed && !MayOpen(lane, pair)) return 0;
  const bool passes_on = entry.disabled || !entry.link_up->load(std::memory_order_relaxed) ||
                         !lane.Serves(entry);  // discards them, or hands them over
  const uint32_t room = passes_on ? kBurst : pair.port->Room();
  if (room < LeastRoom(pair)) {
    state.blocked = true;
    state.waits.Add(1);
    lane.blocked = true;
    return 0;
  }
  lane.pool.tails().Clear();
  std::array<Frame, kBurst> frames;
  const int64_t quantum = entry.quantum;
  state.deficit = std::min(state.deficit + quantum, 2 * quantum);
  const uint32_t count = pair.vm_socket->Receive(lane.pool.tails(), frames.data(),
                                                 std::min(kBurst, room), state.deficit);
  for (uint32_t i = 0; i < count; ++i) state.deficit -= frames[i].len;
  CountFromQueue(lane, frames.data(), count);
  FinishChecksums(lane, frames.data(), count);
  Untag(lane, entry, frames.data(), count);
  const uint32_t merged = entry.coalesce ? MergeSegments(lane, entry, frames.data(), count) : count;
  DeliverToPort(lane, index, frames.data(), merged);
  return count;
}

// Frames in the socket of a port that is at home elsewhere now. `emptied` becomes false when some
// are left: as many are taken as can be handed over.
uint32_t ReceiveForLeaving(Lane& lane, uint32_t index, bool* emptied) {
  const PortEntry& entry = lane.topology->ports[index];
  const PortPair& pair = lane.PairOf(entry);
  lane.pool.tails().Clear();
  std::array<Frame, kBurst> frames;
  const PortMove* move = lane.topology->move.get();
  const bool discarded = entry.disabled || !entry.link_up->load(std::memory_order_relaxed);
  const uint32_t taken = move == nullptr || discarded ? kBurst : move->room.load();
  if (taken == 0) lane.peers[entry.home].doorbell->Ring();  // it may sleep, and look no more
  const uint32_t lent = lane.peers[entry.home].to->grants.Available();
  const uint32_t room = std::min({kBurst, lent / pair.vm_socket->buffers_per_frame(), taken});
  const uint32_t count = pair.vm_socket->Receive(lane.pool.tails(), frames.data(), room);
  CountFromQueue(lane, frames.data(), count);
  FinishChecksums(lane, frames.data(), count);
  Untag(lane, entry, frames.data(), count);
  DeliverToPort(lane, index, frames.data(), count);
  if (!pair.vm_socket->RxEmpty()) {
    *emptied = false;
    lane.blocked = true;  // nothing tells when there is room
  }
  return count;
}

uint32_t ReceiveFromDefault(Lane& lane) {
  std::array<Frame, kBurst> frames;
  lane.pool.tails().Clear();
  const uint32_t count = lane.uplink.Receive(lane.pool, frames.data(), kBurst);
  if (count == 0) return 0;
  CountFromQueue(lane, frames.data(), count);
  lane.counters.misplaced.Add(count);
  FinishChecksums(lane, frames.data(), count);
  ForwardFromUplink(lane, frames.data(), count);
  return count;
}

// The VLAN of a flood's frame. An 802.1ad tag names none of ours: it is put back, and the frame is
// treated as the XDP program treats it, as untagged.
uint16_t VlanOf(Lane& lane, const PacketSocket::Received& received, Frame& frame) {
  if (!received.tagged) return 0;
  if (received.tpid == kEtherTypeVlan) return received.tci & kVlanIdMask;
  PushVlanTag(lane.pool.area().Data(frame.addr), frame, received.tci, received.tpid);
  return 0;
}

// A frame that outgrew its buffer. False: dropped, and counted.
bool TakeLongFlood(Lane& lane, const PacketSocket::Received& received, Frame& frame) {
  lane.pool.tails().Clear();
  if (!lane.uplink.chains() || BuffersFor(lane.pool.area(), frame.len) > kMostBuffers) {
    lane.uplink_counters.DropIn(DropReason::kFRAME_TOO_LARGE);
    return false;
  }
  if (CopyToBuffers(lane.pool, received.data, received.length, &frame)) return true;
  lane.uplink_counters.DropIn(DropReason::kNO_BUFFER);
  return false;
}

// Receives a flood's frames into fresh buffers and forwards them.
uint32_t ReceiveFloodBatch(Lane& lane, PacketSocket& socket) {
  std::array<uint64_t, PacketSocket::kBatch> buffers;
  std::array<uint8_t*, PacketSocket::kBatch> data;
  std::array<PacketSocket::Received, PacketSocket::kBatch> received;
  const uint32_t wanted = std::min(PacketSocket::kBatch, lane.pool.available());
  for (uint32_t i = 0; i < wanted; ++i) {
    buffers[i] = lane.pool.Take();
    data[i] = lane.pool.area().Data(buffers[i] + FrameArea::kHeadroom);
  }
  const uint32_t capacity = lane.pool.area().max_frame_len();
  const uint32_t count =
      wanted == 0 ? 0 : socket.Receive(data.data(), capacity, wanted, received.data());
  for (uint32_t i = count; i < wanted; ++i) lane.pool.Give(buffers[i]);
  for (uint32_t i = 0; i < count; ++i) {
    Frame frame{buffers[i] + FrameArea::kHeadroom, received[i].length};
    lane.counters.rx_pkts.Add(1);
    if (frame.len > capacity) {
      lane.pool.Give(frame.addr);
      if (!TakeLongFlood(lane, received[i], frame)) continue;
    }
    lane.counters.rx_octets.Add(frame.len);
    lane.uplink_counters.in_octets.Add(frame.len);
    FinishChecksums(lane, &frame, 1);
    // Replicas are copies of its bytes: nothing may be left to do.
    if (frame.tail != nullptr) CompleteChain(lane.pool.area(), frame);
    ForwardFlood(lane, VlanOf(lane, received[i], frame), frame);
  }
  return count;
}

// Lends buffers until `peer` has its share again.
void Lend(Lane& lane, Peer& peer, uint32_t share) {
  if (peer.from->granted > share / 2) return;
  while (peer.from->granted < share && lane.pool.available() > 0) {
    const uint64_t buffer = lane.pool.Take();
    if (!peer.from->grants.Push(buffer)) {
      lane.pool.Give(buffer);
      break;
    }
    lane.pool.area().SetOwner(buffer, FrameArea::kGranted);
    ++peer.from->granted;
  }
  peer.from->grants.Publish();
}

void DeliverHandover(Lane& lane, HandoverItem& item) {
  if (item.serial == 0) return FloodHome(lane, item.vlan, item.source, item.frame);
  const auto port = lane.topology->by_serial.find(item.serial);
  if (port != lane.topology->by_serial.end()) {
    return DeliverToPort(lane, port->second, &item.frame, 1);
  }
  lane.uplink_counters.offered.Add(1);
  lane.uplink_counters.DropOut(DropReason::kPORT_GONE);
  lane.GiveBack(&item.frame, 1);
}

// Takes the further buffers of a frame that `item` begins; returns how many.
uint32_t TakeRest(Lane& lane, Handover& from, HandoverItem& item) {
  lane.pool.tails().Clear();
  FramePiece* pieces;
  FrameTail& tail = *lane.pool.tails().Take(kMostBuffers, &pieces);
  tail.head = item.frame.len;
  tail.piece_count = 0;
  for (HandoverItem next = item; next.more && tail.piece_count < kMostBuffers;) {
    if (!from.items.Pop(&next)) break;
    lane.pool.area().SetOwner(next.frame.addr, FrameArea::kInHand);
    pieces[tail.piece_count++] = {.bytes = {lane.pool.area().Data(next.frame.addr), next.frame.len},
                                  .buffer = next.frame.addr};
    item.frame.len += next.frame.len;
  }
  tail.wire_len = item.frame.len;
  item.frame.tail = &tail;
  return tail.piece_count;
}

uint32_t ShareOfGrants(const Lane& lane) {
  return Handover::GrantsFor(static_cast<uint32_t>(lane.peers.size()) - 1,
                             lane.pool.area().buffers());
}

// Up to `most` items, and none of the era `before`, if there is one; then lends buffers for more.
uint32_t TakeHandovers(Lane& lane, Peer& peer, uint32_t most, std::optional<uint8_t> before) {
  uint32_t count = 0;
  while (const HandoverItem* front = count < most ? peer.from->items.Front() : nullptr) {
    if (front->era == before) break;
    HandoverItem item;
    peer.from->items.Pop(&item);
    ++count;
    lane.pool.area().SetOwner(item.frame.addr, FrameArea::kInHand);
    if (item.more) count += TakeRest(lane, *peer.from, item);
    DeliverHandover(lane, item);
  }
  if (count > 0) peer.from->items.Release();
  peer.from->granted -= count;
  Lend(lane, peer, ShareOfGrants(lane));
  return count;
}

// A VM that sends to ports of another worker faster than that worker takes frames over waits in its
// own ring, where a loss is its own. The peer always drains what it is handed, so this ends with
// its next turn.
bool MustWaitForPeer(Lane& lane, const PortEntry& entry) {
  PortTurnState& state = *lane.PairOf(entry).state;
  const uint32_t worker = state.handed_to;
  if (worker == kNoWorker) return false;
  // A quarter of the share is left to frames from the wire, which cannot wait. With half of it in
  // the ring the peer may lend no more, so no more may be asked for.
  const uint32_t quarter = ShareOfGrants(lane) / 4;
  const uint32_t batch = entry.batch * lane.uplink.buffers_per_frame();
  const uint32_t needed = std::min(batch, quarter) + quarter;
  if (lane.peers[worker].to->grants.Available() < needed) {
    lane.waits_for_peer = true;
    return true;
  }
  state.handed_to = kNoWorker;
  return false;
}

}  // namespace

uint32_t ReceiveFromUplink(Lane& lane) {
  uint32_t total = 0;
  lane.blocked = false;
  const PortMove* move = lane.topology->move.get();
  if (move != nullptr && move->to == lane.index) move->room.store(move->new_port->Room());
  const bool leaves = move != nullptr && move->from == lane.index;
  const int64_t began = leaves ? BeginLeavingTurn(lane) : 0;
  const uint32_t come = lane.uplink.Come();
  lane.waits_for_leaving = false;
  for (uint32_t index : lane.topology->home[lane.index]) total += ReceiveForVm(lane, index);
  bool emptied = true;
  for (uint32_t index : lane.topology->leaving[lane.index]) {
    total += ReceiveForLeaving(lane, index, &emptied);
  }
  if (!emptied) return total;
  // What came after that, for the same port, is in the default socket.
  const uint32_t misplaced = ReceiveFromDefault(lane);
  if (leaves && static_cast<int32_t>(lane.uplink.Taken() - come) >= 0) lane.emptied_ns = began;
  return total + misplaced;
}

uint32_t ReceiveFloods(Lane& lane) {
  PacketSocket* socket = lane.uplink.flood();
  return socket == nullptr ? 0 : ReceiveFloodBatch(lane, *socket);
}

uint32_t ReceiveFromPorts(Lane& lane) {
  uint32_t total = 0;
  lane.waits_for_peer = false;
  std::array<Frame, kBurst> frames;
  for (uint32_t index : lane.topology->home[lane.index]) {
    const PortEntry& entry = lane.topology->ports[index];
    if (MustWaitForPeer(lane, entry)) continue;
    Port& port = *lane.PairOf(entry).port;
    const uint32_t count = port.Receive(lane.pool, frames.data(), entry.batch);
    if (count == 0) {
      port.Settle();
      continue;
    }
    total += count;
    FrameCounters& counters = lane.CountersOf(entry);
    uint64_t octets = 0;
    for (uint32_t i = 0; i < count; ++i) octets += frames[i].len;
    counters.in_received.Add(count);
    counters.in_octets.Add(octets);
    const uint32_t kept = Police(entry, lane.pool, counters, frames.data(), count);
    ForwardFromPort(lane, index, frames.data(), kept);
    port.Settle();
  }
  return total;
}

uint32_t ReceiveHandovers(Lane& lane) {
  uint32_t total = 0;
  for (Peer& peer : lane.peers) {
    if (peer.from != nullptr) total += TakeHandovers(lane, peer, kBurst, lane.next_era);
  }
  return total;
}

uint32_t ReceiveHandoversBefore(Lane& lane, uint8_t era) {
  uint32_t total = 0;
  for (Peer& peer : lane.peers) {
    if (peer.from != nullptr) total += TakeHandovers(lane, peer, Handover::kSize, era);
  }
  return total;
}

void ReceiveAllHandovers(Lane& lane) {
  for (Peer& peer : lane.peers) {
    if (peer.from != nullptr) TakeHandovers(lane, peer, Handover::kSize, std::nullopt);
  }
}

void ReceiveAllOfDefault(Lane& lane) {
  uint32_t total = 0;
  while (const uint32_t count = ReceiveFromDefault(lane)) {
    total += count;
    if (total >= UplinkQueue::kDefaultRxRing) break;  // more has come since
  }
}

}  // namespace vmqd

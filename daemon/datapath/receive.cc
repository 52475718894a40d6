#include "daemon/datapath/receive.h"

#include <algorithm>
#include <array>

#include "daemon/datapath/deliver.h"
#include "daemon/datapath/forward.h"
#include "daemon/datapath/police.h"
#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
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
void FinishChecksums(Lane& lane, const Frame* frames, uint32_t count) {
  if (!lane.finish_checksums) return;
  for (uint32_t i = 0; i < count; ++i) {
    if (i + 1 < count) __builtin_prefetch(lane.pool.area().Data(frames[i + 1].addr));
    FinishPartialChecksum(lane.pool.area().Data(frames[i].addr), frames[i].len);
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

uint32_t ReceiveForVm(Lane& lane, uint32_t index) {
  const PortEntry& entry = lane.topology->ports[index];
  PortTurnState& state = *entry.state;
  state.blocked = false;
  if (entry.vm_socket->RxEmpty()) {
    state.deficit = 0;
    return 0;
  }
  const bool discards = entry.disabled || !entry.link_up->load(std::memory_order_relaxed);
  const uint32_t room = discards ? kBurst : entry.port->Room();
  if (room == 0) {
    state.blocked = true;
    lane.blocked = true;
    return 0;
  }
  std::array<Frame, kBurst> frames;
  const int64_t quantum = entry.quantum;
  state.deficit = std::min(state.deficit + quantum, 2 * quantum);
  const uint32_t count =
      entry.vm_socket->Receive(frames.data(), std::min(kBurst, room), state.deficit);
  for (uint32_t i = 0; i < count; ++i) state.deficit -= frames[i].len;
  CountFromQueue(lane, frames.data(), count);
  FinishChecksums(lane, frames.data(), count);
  Untag(lane, entry, frames.data(), count);
  DeliverToPort(lane, index, frames.data(), count);
  return count;
}

// The VLAN of a flood's frame. An 802.1ad tag names none of ours: it is put back, and the frame is
// treated as the XDP program treats it, as untagged.
uint16_t VlanOf(const PacketSocket::Received& received, Frame& frame) {
  if (!received.tagged) return 0;
  if (received.tpid == kEtherTypeVlan) return received.tci & kVlanIdMask;
  PushVlanTag(received.data, frame, received.tci, received.tpid);
  return 0;
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
      lane.uplink_counters.DropIn(DropReason::kFRAME_TOO_LARGE);
      lane.pool.Give(frame.addr);
      continue;
    }
    lane.counters.rx_octets.Add(frame.len);
    lane.uplink_counters.in_octets.Add(frame.len);
    FinishChecksums(lane, &frame, 1);
    ForwardFlood(lane, VlanOf(received[i], frame), frame);
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
  if (item.serial == 0) return FloodHome(lane, item.vlan, item.frame);
  const auto port = lane.topology->by_serial.find(item.serial);
  if (port != lane.topology->by_serial.end()) {
    return DeliverToPort(lane, port->second, &item.frame, 1);
  }
  lane.uplink_counters.offered.Add(1);
  lane.uplink_counters.DropOut(DropReason::kPORT_GONE);
  lane.pool.Give(item.frame.addr);
}

uint32_t ShareOfGrants(const Lane& lane) {
  return Handover::GrantsFor(static_cast<uint32_t>(lane.peers.size()) - 1,
                             lane.pool.area().buffers());
}

// A VM that sends to ports of another worker faster than that worker takes frames over waits in its
// own ring, where a loss is its own. The peer always drains what it is handed, so this ends with
// its next turn.
bool MustWaitForPeer(Lane& lane, const PortEntry& entry) {
  const uint32_t worker = entry.state->handed_to;
  if (worker == kNoWorker) return false;
  // A quarter of the share is left to frames from the wire, which cannot wait. With half of it in
  // the ring the peer may lend no more, so no more may be asked for.
  const uint32_t quarter = ShareOfGrants(lane) / 4;
  const uint32_t needed = std::min(entry.batch, quarter) + quarter;
  if (lane.peers[worker].to->grants.Available() < needed) {
    lane.waits_for_peer = true;
    return true;
  }
  entry.state->handed_to = kNoWorker;
  return false;
}

}  // namespace

uint32_t ReceiveFromUplink(Lane& lane) {
  uint32_t total = 0;
  lane.blocked = false;
  for (uint32_t index : lane.topology->home[lane.index]) total += ReceiveForVm(lane, index);
  std::array<Frame, kBurst> frames;
  if (const uint32_t count = lane.uplink.Receive(frames.data(), kBurst); count > 0) {
    CountFromQueue(lane, frames.data(), count);
    lane.counters.misplaced.Add(count);
    FinishChecksums(lane, frames.data(), count);
    ForwardFromUplink(lane, frames.data(), count);
    total += count;
  }
  return total;
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
    const uint32_t count = entry.port->Receive(lane.pool, frames.data(), entry.batch);
    if (count == 0) continue;
    total += count;
    FrameCounters& counters = lane.CountersOf(entry);
    uint64_t octets = 0;
    for (uint32_t i = 0; i < count; ++i) octets += frames[i].len;
    counters.in_received.Add(count);
    counters.in_octets.Add(octets);
    const uint32_t kept = Police(entry, lane.pool, counters, frames.data(), count);
    ForwardFromPort(lane, index, frames.data(), kept);
  }
  return total;
}

uint32_t ReceiveHandovers(Lane& lane) {
  uint32_t total = 0;
  const uint32_t share = ShareOfGrants(lane);
  for (Peer& peer : lane.peers) {
    if (peer.from == nullptr) continue;
    HandoverItem item;
    uint32_t count = 0;
    while (count < kBurst && peer.from->items.Pop(&item)) {
      ++count;
      lane.pool.area().SetOwner(item.frame.addr, FrameArea::kInHand);
      DeliverHandover(lane, item);
    }
    if (count > 0) peer.from->items.Release();
    peer.from->granted -= count;
    Lend(lane, peer, share);
    total += count;
  }
  return total;
}

}  // namespace vmqd

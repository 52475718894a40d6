#include "daemon/datapath/forward.h"

#include "daemon/datapath/complete.h"
#include "daemon/datapath/deliver.h"
#include "daemon/net/ethernet.h"
#include "daemon/net/mac_address.h"
#include "daemon/xdp/frame_tag.h"

namespace vmqd {
namespace {

uint64_t DestinationOf(const Lane& lane, const Frame& frame) {
  return MacAddress::FromWire(lane.pool.area().Data(frame.addr)).ToWord();
}

constexpr uint64_t kMulticastBit = uint64_t{1} << 40;  // of MacAddress::ToWord()

void Drop(Lane& lane, FrameCounters& counters, DropReason reason, const Frame* frames,
          uint32_t count) {
  counters.DropIn(reason, count);
  lane.GiveBack(frames, count);
}

// A flood takes buffers of every worker with ports in the VLAN; its sender waits for the one that
// has lent the fewest.
void RememberPeer(Lane& lane, uint32_t source, uint16_t vlan) {
  PortTurnState& state = *lane.PairOf(lane.topology->ports[source]).state;
  const auto group = lane.topology->floods.find(vlan);
  if (group == lane.topology->floods.end()) return;
  uint32_t fewest = UINT32_MAX;
  for (uint32_t worker = 0; worker < group->second.members.size(); ++worker) {
    if (worker == lane.index || group->second.members[worker].empty()) continue;
    const uint32_t available = lane.peers[worker].to->grants.Available();
    if (available >= fewest) continue;
    fewest = available;
    state.handed_to = worker;
  }
}

void ForwardMulticast(Lane& lane, uint32_t source, FrameCounters& counters, Frame* frames,
                      uint32_t count) {
  const uint16_t vlan = lane.topology->ports[source].vlan;
  // Replicas are copies of final frames.
  ForEachFinal(lane, lane.uplink_counters, lane.uplink.chains(), frames, count,
               [&](Frame* whole, uint32_t wholes) {
                 // The uplink takes it, if nobody else does.
                 for (uint32_t i = 0; i < wholes; ++i) Flood(lane, vlan, source, whole[i]);
               });
  counters.in_forwarded.Add(count);
  RememberPeer(lane, source, vlan);
}

// A run of frames for one unicast destination.
void ForwardUnicast(Lane& lane, uint32_t source, uint64_t destination, FrameCounters& counters,
                    Frame* frames, uint32_t count) {
  const uint16_t vlan = lane.topology->ports[source].vlan;
  const uint32_t port = lane.topology->OwnerOf(vlan, destination);
  if (port == source) return Drop(lane, counters, DropReason::kHAIRPIN, frames, count);
  counters.in_forwarded.Add(count);
  if (port == kNoPort) {
    DeliverToUplink(lane, vlan, frames, count);
  } else {
    const PortEntry& target = lane.topology->ports[port];
    if (!lane.Serves(target)) {
      lane.PairOf(lane.topology->ports[source]).state->handed_to = target.home;
    }
    DeliverToPort(lane, port, frames, count);
  }
}

// VLAN id and destination of a frame from the wire; takes an 802.1Q tag off.
uint64_t UntagAndKey(Lane& lane, Frame& frame) {
  uint8_t* data = lane.pool.area().Data(frame.addr);
  uint16_t vlan = 0;
  if (EtherTypeOf(data) == kEtherTypeVlan && frame.len >= kEthHeaderLen + kVlanTagLen) {
    vlan = VlanIdOf(data);
    PopVlanTag(data, frame);
  }
  return Topology::Key(vlan, DestinationOf(lane, frame));
}

}  // namespace

void ForwardFromPort(Lane& lane, uint32_t source, Frame* frames, uint32_t count) {
  FrameCounters& counters = lane.CountersOf(lane.topology->ports[source]);
  for (uint32_t begin = 0, end = 0; begin < count; begin = end) {
    const uint64_t destination = DestinationOf(lane, frames[begin]);
    end = begin + 1;
    while (end < count && DestinationOf(lane, frames[end]) == destination) ++end;
    if (destination & kMulticastBit) {
      ForwardMulticast(lane, source, counters, frames + begin, end - begin);
    } else {
      ForwardUnicast(lane, source, destination, counters, frames + begin, end - begin);
    }
  }
}

void ForwardFromUplink(Lane& lane, Frame* frames, uint32_t count) {
  FrameCounters& counters = lane.uplink_counters;
  uint64_t keys[kBurst];
  for (uint32_t i = 0; i < count; ++i) keys[i] = UntagAndKey(lane, frames[i]);
  for (uint32_t begin = 0, end = 0; begin < count; begin = end) {
    end = begin + 1;
    while (end < count && keys[end] == keys[begin]) ++end;
    const auto owner = lane.topology->owners.find(keys[begin]);
    if (owner == lane.topology->owners.end()) {
      Drop(lane, counters, DropReason::kNO_DESTINATION, frames + begin, end - begin);
      continue;
    }
    counters.in_forwarded.Add(end - begin);
    DeliverToPort(lane, owner->second, frames + begin, end - begin);
  }
}

void ForwardFlood(Lane& lane, uint16_t vlan, Frame frame) {
  if (Flood(lane, vlan, kNoPort, frame)) {
    lane.uplink_counters.in_forwarded.Add(1);
  } else {
    Drop(lane, lane.uplink_counters, DropReason::kNO_DESTINATION, &frame, 1);
  }
}

}  // namespace vmqd

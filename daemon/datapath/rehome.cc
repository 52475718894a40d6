#include "daemon/datapath/rehome.h"

#include <sched.h>

#include <chrono>

#include "daemon/datapath/deliver.h"
#include "daemon/datapath/receive.h"

namespace vmqd {
namespace {

constexpr int64_t kUplinkPatienceNs = 2'000'000;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Delivers what was handed over by the old topology; returns whether no more can come.
bool DeliverOld(Lane& lane, const Topology& fresh) {
  bool all = true;
  for (const Peer& peer : lane.peers) {
    if (peer.hands_over_by == nullptr) continue;
    all = all && peer.hands_over_by->load(std::memory_order_acquire) >= fresh.sequence;
  }
  const bool some = ReceiveHandoversBefore(lane, static_cast<uint8_t>(fresh.sequence)) > 0;
  Flush(lane);
  return all && !some;
}

bool AllDelivered(const Lane& lane) {
  for (const Peer& peer : lane.peers) {
    if (peer.to != nullptr && !peer.to->items.Drained()) return false;
  }
  return true;
}

// What ports sent to the wire leaves by another queue from now on: first by this one. A device that
// does not take it is not waited for.
void EmptyUplink(Lane& lane) {
  const int64_t until = NowNs() + kUplinkPatienceNs;
  while (!lane.uplink.Idle() && NowNs() < until) {
    Flush(lane);
    lane.uplink.Recycle(lane.pool);
  }
}

// All that came for the port before it came to its own socket is delivered.
void Open(Lane& lane, PortTurnState& state) {
  if (!state.closed) return;
  state.closed = false;
  ReceiveAllOfDefault(lane);
  ReceiveAllHandovers(lane);
}

}  // namespace

bool MayPickUp(const Lane& lane, const Topology& fresh) {
  const PortMove* move = fresh.move.get();
  if (move == nullptr || (move->from != lane.index && move->to != lane.index)) return true;
  for (uint32_t i = 0; i < lane.peers.size(); ++i) {
    const Peer& peer = lane.peers[i];
    if (peer.hands_over_by == nullptr || i == move->from || i == move->to) continue;
    if (peer.hands_over_by->load(std::memory_order_acquire) < fresh.sequence) return false;
  }
  return true;
}

void PassOver(Lane& lane, const Topology& fresh, const std::atomic<bool>& stop) {
  lane.hands_over_by.store(fresh.sequence, std::memory_order_release);
  if (fresh.opened_at == lane.index) Open(lane, *fresh.opened);
  const PortMove* move = fresh.move.get();
  if (move == nullptr || (move->from != lane.index && move->to != lane.index)) return;
  const auto stopped = [&stop] { return stop.load(std::memory_order_relaxed); };
  // What is waited for may need this very CPU.
  while (!DeliverOld(lane, fresh) && !stopped()) sched_yield();
  if (lane.index == move->from) {
    while (!AllDelivered(lane) && !stopped()) sched_yield();
    EmptyUplink(lane);
    move->old_port->Recycle(lane.pool);
    move->old_port->Leave(move->to);
    move->new_port->TakeBuffers(lane.pool);
    move->passed.store(true, std::memory_order_release);
  } else {
    while (!move->passed.load(std::memory_order_acquire) && !stopped()) {
      DeliverOld(lane, fresh);
      sched_yield();
    }
  }
}

int64_t BeginLeavingTurn(const Lane& lane) {
  lane.topology->move->emptied_ns.store(lane.emptied_ns, std::memory_order_release);
  return NowNs();
}

bool MayOpen(Lane& lane, const PortPair& pair) {
  if (lane.next_era) return false;  // what was handed over by that is not delivered yet
  PortTurnState& state = *pair.state;
  const int64_t now = NowNs();
  if (state.closed_until_ns == 0) state.closed_until_ns = now + kClosedNs;
  if (now < state.closed_until_ns) return false;
  const PortMove* move = lane.topology->move.get();
  if (move != nullptr && move->to == lane.index && pair.port == move->new_port &&
      move->flows_move &&
      move->emptied_ns.load(std::memory_order_acquire) < state.closed_until_ns &&
      !pair.vm_socket->RxHalfFull()) {
    lane.peers[move->from].doorbell->Ring();  // it may sleep, and look no more
    lane.waits_for_leaving = true;
    return false;
  }
  Open(lane, state);
  return true;
}

}  // namespace vmqd

// See admission.h.
#include "daemon/rpc/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd::rpc {
namespace {

// Beyond it, peers without connections are forgotten, debts and all: memory is bounded first.
constexpr size_t kRememberedPeers = 4096;

uint32_t ThreeQuarters(uint32_t limit) { return std::max(limit - limit / 4, 1u); }

}  // namespace

bool Admission::Enter(Seat seat_for, Bucket::Clock::time_point now, Seat& seat,
                      std::string& refusal) {
  const bool control = seat_for.listener == Listener::kControl;
  const uint32_t total = control ? limits_.connections : ThreeQuarters(limits_.connections);
  if (connections_ >= total) {
    refusal = absl::StrCat("there are ", connections_, " connections already; limits.connections");
    return false;
  }
  const auto found = peers_.find(seat_for.peer_key);
  const uint32_t of_peer = found == peers_.end() ? 0 : found->second->connections;
  if (of_peer >= limits_.connections_per_peer) {
    refusal = absl::StrCat(seat_for.peer_key, " has ", of_peer,
                           " connections already; limits.connections_per_peer");
    return false;
  }
  if (seat_for.pid != 0) {
    const auto process = processes_.find(seat_for.pid);
    if (process != processes_.end() &&
        process->second >= ThreeQuarters(limits_.connections_per_peer)) {
      refusal = absl::StrCat("process ", seat_for.pid, " of ", seat_for.peer_key, " has ",
                             process->second, " connections already, three quarters of ",
                             "limits.connections_per_peer");
      return false;
    }
    ++processes_[seat_for.pid];
  }
  if (found == peers_.end() && peers_.size() >= kRememberedPeers) ForgetIdlePeers(now);
  std::shared_ptr<Peer>& peer = peers_[seat_for.peer_key];
  if (peer == nullptr) peer = std::make_shared<Peer>();
  ++peer->connections;
  ++connections_;
  peer->bucket.Take(seat_for.listener == Listener::kTcp ? kHandshakeCost : kConnectionCost);
  seat = std::move(seat_for);
  seat.peer = peer;
  return true;
}

void Admission::Leave(const Seat& seat) {
  --connections_;
  --seat.peer->connections;
  if (seat.pid == 0) return;
  const auto process = processes_.find(seat.pid);
  if (--process->second == 0) processes_.erase(process);
}

void Admission::ForgetIdlePeers(Bucket::Clock::time_point now) {
  const auto forget = [&](bool in_debt_too) {
    std::erase_if(peers_, [&](auto& entry) {
      return entry.second->connections == 0 && (in_debt_too || entry.second->bucket.Full(now));
    });
  };
  forget(false);
  if (peers_.size() >= kRememberedPeers) forget(true);
}

}  // namespace vmqd::rpc

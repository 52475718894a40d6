// Admission: how many connections there may be, in all and of one peer, and how fast a peer's
// connections may speak together. A peer is a user of this machine or a source address. The front's
// thread.
#ifndef VMQD_DAEMON_RPC_ADMISSION_H_
#define VMQD_DAEMON_RPC_ADMISSION_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "daemon/rpc/bucket.h"
#include "daemon/rpc/caller.h"

namespace vmqd::rpc {

// Tokens a second and at once. A token is a byte on the wire; frames cost more (frame_guard.h). A
// client that calls as fast as it gets answers needs less than one connection may.
inline constexpr double kConnectionRate = 2 << 20;
inline constexpr double kPeerRate = 4 << 20;
// What a connection costs its peer when it comes: 500 a second, and 60 handshakes with
// certificates, each about a millisecond of a CPU.
inline constexpr double kConnectionCost = 8 << 10;
inline constexpr double kHandshakeCost = 64 << 10;

class Admission {
 public:
  struct Limits {
    uint32_t connections = 256;
    uint32_t connections_per_peer = 64;
  };
  struct Peer {
    uint32_t connections = 0;
    Bucket bucket{kPeerRate, kPeerRate};
  };
  // What one connection occupies; given back by Leave.
  struct Seat {
    Listener listener = Listener::kControl;
    std::string peer_key;
    pid_t pid = 0;
    std::shared_ptr<Peer> peer;
  };

  explicit Admission(const Limits& limits) : limits_(limits) {}

  // From now on; connections that are there stay.
  void SetLimits(const Limits& limits) { limits_ = limits; }

  // Takes a seat for the peer `key`. `pid` is 0 where it is not known. Without a seat, `refusal`
  // says which limit was reached.
  //   in all               limits.connections; the last quarter is the control socket's, so that
  //                        neither monitoring nor the network shuts out who rules the switch
  //   of a peer            limits.connections_per_peer
  //   of a process         three quarters of that, so that an orchestrator that leaks connections
  //                        leaves its user some for vmqd-cli
  bool Enter(Seat seat_for, Bucket::Clock::time_point now, Seat& seat, std::string& refusal);
  void Leave(const Seat& seat);

  uint32_t connections() const { return connections_; }
  size_t peers_remembered() const { return peers_.size(); }

 private:
  void ForgetIdlePeers(Bucket::Clock::time_point now);

  Limits limits_;
  uint32_t connections_ = 0;
  // A peer without connections stays until its bucket is full: leaving does not fill it.
  std::map<std::string, std::shared_ptr<Peer>> peers_;
  std::map<pid_t, uint32_t> processes_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_ADMISSION_H_

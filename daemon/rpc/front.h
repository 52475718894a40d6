// Front: the one thread that strangers meet. It accepts on every public socket, finds out who is
// there, bounds what a client can take, and passes its bytes on to gRPC.
//
// Why gRPC does not accept for itself. Debian's is 1.51.1, without security fixes since (its
// changelog ends in 2022). It lacks the fix for CVE-2023-4785 (connections until descriptors run
// out, and then a loop on accept errors), those for CVE-2023-33953 and CVE-2023-44487
// (frame_guard.h), and has no limit of connections, no SO_PEERCRED and no least TLS version. gRPC
// takes connections as descriptors (ExternalConnectionAcceptor): the front gives it one end of a
// socket pair and relays. It costs one copy each way and a wake-up, some 20 µs a call.
//
//   stranger ── accept ── seat free? ── TLS, certificate ── HTTP/2 preface ── socket pair ── gRPC
//               admission.h             tls.h                frame_guard.h     caller.h
//
// What bounds what:
//   connections    admission.h; and an eighth of RLIMIT_NOFILE, because each takes three
//   descriptors
//                  and ports need theirs. Who is too many is closed at once.
//   descriptors    when there are none left all the same, accepting rests for 100 ms
//   time           relay.h: 10 s until a client speaks HTTP/2; TCP keep-alive finds dead peers
//   memory         70 KiB a connection, and TLS's own 40 KiB
//   work           tokens (admission.h) for bytes, frames and connections
//
// Identity. gRPC says of a call only its connection's peer address. The front's end of the pair has
// an abstract address with 128 random bits, so no connection ever has the name of another, nobody
// can take it first, and nobody listens there. Callers holds who is behind it.
//
// Any thread may call it; the work is done by its own.
#ifndef VMQD_DAEMON_RPC_FRONT_H_
#define VMQD_DAEMON_RPC_FRONT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/net/mutex.h"
#include "daemon/rpc/admission.h"
#include "daemon/rpc/caller.h"
#include "daemon/rpc/descriptor.h"
#include "daemon/rpc/relay.h"
#include "daemon/rpc/tls.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd::rpc {

class Front {
 public:
  struct Door {
    Listener listener = Listener::kControl;
    Descriptor socket;  // listening, non-blocking
  };
  struct Rules {
    Admission::Limits limits;
    std::shared_ptr<const TlsContext> tls;  // of the TCP door
    v1::TcpListener tcp;                    // its roles count
  };
  // Gives gRPC its end of a connection whose caller it is. The front's thread.
  using HandOver = std::function<void(const Caller& caller, Descriptor end)>;

  // `callers` outlives it.
  static absl::StatusOr<std::unique_ptr<Front>> Start(std::vector<Door> doors, Rules rules,
                                                      Callers& callers, HandOver hand_over);
  ~Front();  // Stop, without patience
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  // From now on. TCP connections that are there are closed, because their certificates and roles
  // may no longer hold; their clients come again.
  void Replace(Rules rules) ABSL_LOCKS_EXCLUDED(mutex_);

  // Nobody else is let in, and nothing handed over, once it has returned.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until every connection has ended, at most for `patience`, then ends them.
  void Stop(std::chrono::milliseconds patience) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Clock = Relay::Clock;
  Front(std::vector<Door> doors, Rules rules, Callers& callers, HandOver hand_over);

  void Run();
  Clock::time_point Heed(Clock::time_point now) ABSL_LOCKS_EXCLUDED(mutex_);
  void Accept(Door& door, Clock::time_point now);
  void Admit(const Door& door, Descriptor client, Clock::time_point now);
  void Rest(Clock::time_point now);
  void TurnAll(Clock::time_point now);
  void Serve(Relay& relay, Clock::time_point now);
  absl::Status Connect(Relay& relay) ABSL_LOCKS_EXCLUDED(mutex_);
  void WatchEnds(Relay& relay);
  void Happened(uint64_t tag, uint32_t events, Clock::time_point now);
  void Forget(uint64_t id);
  void Say(const std::string& sentence);

  Callers& callers_;
  const HandOver hand_over_;
  Descriptor epoll_;
  Descriptor doorbell_;  // rung when something below has changed

  Mutex mutex_;
  bool replaced_ ABSL_GUARDED_BY(mutex_) = false;
  Rules wanted_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  Clock::time_point end_ ABSL_GUARDED_BY(mutex_) = Clock::time_point::max();

  // The thread's own.
  std::vector<Door> doors_;
  Rules rules_;
  Admission admission_;
  std::unordered_map<uint64_t, std::unique_ptr<Relay>> relays_;
  uint64_t next_id_ = 0;
  bool doors_watched_ = true;
  Clock::time_point rest_until_ = Clock::time_point::max();
  Bucket log_{1, 20};
  uint64_t unsaid_ = 0;

  std::thread thread_;  // the last member: it uses all others
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_FRONT_H_

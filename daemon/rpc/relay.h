// Relay: one client's connection and the way of its bytes to gRPC and back. Two buffers of fixed
// size; what does not fit is not read, so that whoever is slow makes the other side wait. A client
// that does not take its answers gets no more requests read.
//
// Every byte from the client costs its connection and its peer tokens (admission.h), and every
// frame some more (frame_guard.h). Without tokens nothing is read until there are some again.
//
// Never blocks, allocates when it is made and not after. The front's thread.
#ifndef VMQD_DAEMON_RPC_RELAY_H_
#define VMQD_DAEMON_RPC_RELAY_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "daemon/rpc/admission.h"
#include "daemon/rpc/bucket.h"
#include "daemon/rpc/caller.h"
#include "daemon/rpc/client_stream.h"
#include "daemon/rpc/descriptor.h"
#include "daemon/rpc/frame_guard.h"

namespace vmqd::rpc {

class Relay {
 public:
  using Clock = Bucket::Clock;

  // A client has to say who it is and begin to speak HTTP/2 within this time; and once either side
  // has ended, the rest has to be through.
  static constexpr std::chrono::seconds kPatience{10};

  // A client that takes none of its answers for this long is dropped: each of them holds a thread.
  static constexpr std::chrono::seconds kStalled{30};

  Relay(uint64_t id, Descriptor client, SslPtr tls, Caller caller, Admission::Seat seat,
        Clock::time_point now);

  // Moves what can be moved. After it, see the questions below.
  void Turn(Clock::time_point now);

  // Over: to be destroyed. reason() is empty for an ordinary end.
  bool over() const { return over_; }
  const std::string& reason() const { return reason_; }
  void End(const std::string& reason);

  // The client is let in and speaks HTTP/2: its caller is final, and Connect is due.
  bool wants_connection() const { return !over_ && guard_.speaks_http2() && !inner_.open(); }
  // `inner` leads to gRPC; `name` is what gRPC calls it.
  void Connect(Descriptor inner, std::string name);

  // Names from the client's certificate were read and want a role, once.
  bool TakeIntroduced() { return std::exchange(introduced_, false); }
  Caller& caller() { return caller_; }

  // For epoll: what to wait for at both ends, and when to take a turn without.
  uint32_t ClientEvents() const;
  uint32_t InnerEvents() const;
  Clock::time_point NextTurn() const;

  uint64_t id() const { return id_; }
  int client_fd() const { return client_.fd(); }
  int inner_fd() const { return inner_.get(); }
  const std::string& name() const { return name_; }
  const Admission::Seat& seat() const { return seat_; }

  // What epoll was told; the front's.
  struct Watched {
    uint32_t client = 0;
    uint32_t inner = 0;
    bool inner_added = false;
    bool inner_hung_up = false;  // nothing more to be told about it
  } watched;

 private:
  class Buffer {
   public:
    static constexpr size_t kSize = 32 << 10;  // two TLS records
    Buffer() : data_(std::make_unique_for_overwrite<char[]>(kSize)) {}
    const char* head() const { return data_.get() + begin_; }
    size_t size() const { return end_ - begin_; }
    char* tail();  // room() bytes may be written here
    size_t room() const { return kSize - size(); }
    void Grow(size_t bytes) { end_ += bytes; }
    void Shrink(size_t bytes);

   private:
    std::unique_ptr<char[]> data_;
    size_t begin_ = 0;
    size_t end_ = 0;
  };

  bool Introduce(Clock::time_point now);
  bool ReadClient(Clock::time_point now);
  bool WriteInner();
  bool ReadInner(Clock::time_point now);
  bool WriteClient(Clock::time_point now);
  void Pay();
  bool Broke(Clock::time_point now);
  bool MayReadClient() const;

  const uint64_t id_;
  ClientStream client_;
  Descriptor inner_;
  std::string name_;
  Caller caller_;
  Admission::Seat seat_;
  Bucket bucket_;
  FrameGuard guard_;
  Buffer to_inner_;
  Buffer to_client_;
  Clock::time_point deadline_;
  Clock::time_point expires_ = Clock::time_point::max();  // the client's certificate
  Clock::time_point solvent_{};                           // when there are tokens again; or zero
  Clock::time_point stalled_ = Clock::time_point::max();  // when it has been so for too long
  bool shaken_ = false;
  bool introduced_ = false;
  bool client_ended_ = false;
  bool inner_ended_ = false;
  bool inner_shut_ = false;
  bool unfinished_ = false;  // more could be moved at once
  bool over_ = false;
  std::string reason_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_RELAY_H_

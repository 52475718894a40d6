// See relay.h.
#include "daemon/rpc/relay.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace vmqd::rpc {
namespace {

using Io = ClientStream::Io;

constexpr size_t kMaxRead = 16 << 10;  // at once, so that a debt stays small
constexpr int kPasses = 4;             // in a turn, so that others get theirs
// Reading goes on when there are this many tokens again: fewer would mean a wake-up for each frame.
constexpr double kWorthReading = 4 << 10;

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

char* Relay::Buffer::tail() {
  if (begin_ > 0) {
    std::memmove(data_.get(), head(), size());
    end_ -= std::exchange(begin_, 0);
  }
  return data_.get() + end_;
}

void Relay::Buffer::Shrink(size_t bytes) {
  begin_ += bytes;
  if (begin_ == end_) begin_ = end_ = 0;
}

Relay::Relay(uint64_t id, Descriptor client, SslPtr tls, Caller caller, Admission::Seat seat,
             Clock::time_point now)
    : id_(id),
      client_(std::move(client), std::move(tls)),
      caller_(std::move(caller)),
      seat_(std::move(seat)),
      bucket_(kConnectionRate, kConnectionRate, now),
      deadline_(now + kPatience) {}

void Relay::End(const std::string& reason) {
  if (!over_) reason_ = reason;
  over_ = true;
}

void Relay::Connect(Descriptor inner, std::string name) {
  inner_ = std::move(inner);
  name_ = std::move(name);
  deadline_ = Clock::time_point::max();
}

void Relay::Turn(Clock::time_point now) {
  unfinished_ = false;
  if (now >= solvent_) solvent_ = {};
  if (now >= expires_) End("its certificate has expired");
  if (now >= stalled_) End("it does not take its answers");
  if (now >= deadline_) {
    End(inner_.open() || client_ended_ ? "" : "it did not begin to speak HTTP/2 in time");
  }
  if (over_) return;
  if (!Introduce(now)) return;
  for (int pass = 0; pass < kPasses && !over_; ++pass) {
    bool moved = ReadClient(now);
    if (inner_.open()) {
      moved |= WriteInner();
      moved |= ReadInner(now);
      moved |= WriteClient(now);
    } else if (client_ended_) {
      End("");
    }
    unfinished_ = moved;
    if (!moved) break;
  }
}

bool Relay::Introduce(Clock::time_point now) {
  if (shaken_) return true;
  const Io outcome = client_.Handshake();
  Pay();
  if (outcome == Io::kAgain) return false;
  if (outcome != Io::kDone) {
    End("TLS: " + (client_.error().empty() ? std::string("it ended") : client_.error()));
    return false;
  }
  shaken_ = true;
  if (caller_.listener != Listener::kTcp) return true;
  std::optional<Certificate> certificate = client_.certificate();
  if (!certificate.has_value()) {
    End("TLS: no certificate");
    return false;
  }
  caller_.names = std::move(certificate->names);
  // Not beyond a year, which is nearer than the end of the clock's range.
  expires_ = now + std::min<std::chrono::system_clock::duration>(
                       certificate->expires - std::chrono::system_clock::now(),
                       std::chrono::hours(24 * 365));
  introduced_ = true;
  return true;
}

bool Relay::MayReadClient() const {
  return !client_ended_ && !inner_ended_ && to_client_.size() == 0 && to_inner_.room() > 0;
}

bool Relay::ReadClient(Clock::time_point now) {
  if (!MayReadClient() || Broke(now)) return false;
  size_t moved = 0;
  char* const to = to_inner_.tail();
  const Io outcome = client_.Read(to, std::min(to_inner_.room(), kMaxRead), moved);
  to_inner_.Grow(moved);
  const bool fine = guard_.Feed(std::string_view(to, moved));
  Pay();
  if (!fine) {
    End(guard_.error());
    return false;
  }
  if (outcome == Io::kFailed) End("");
  if (outcome == Io::kEnd) {
    client_ended_ = true;
    deadline_ = now + kPatience;
    return true;
  }
  return outcome == Io::kDone;
}

bool Relay::WriteInner() {
  if (inner_ended_) return false;
  if (to_inner_.size() == 0) {
    // Once: gRPC then closes its end, and ReadInner sees it.
    if (client_ended_ && !std::exchange(inner_shut_, true)) shutdown(inner_.get(), SHUT_WR);
    return false;
  }
  const ssize_t n =
      send(inner_.get(), to_inner_.head(), to_inner_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n > 0) {
    to_inner_.Shrink(n);
    return true;
  }
  if (WouldBlock()) return false;
  // gRPC has closed its end; what it said before is still to be read. Anything else would leave a
  // hole in what the client said.
  if (errno != EPIPE && errno != ECONNRESET) inner_ended_ = true;
  to_inner_.Shrink(to_inner_.size());
  return false;
}

bool Relay::ReadInner(Clock::time_point now) {
  if (inner_ended_ || to_client_.room() == 0) return false;
  char* const to = to_client_.tail();
  const ssize_t n = recv(inner_.get(), to, to_client_.room(), MSG_DONTWAIT);
  if (n > 0) {
    to_client_.Grow(n);
    return true;
  }
  if (n < 0 && WouldBlock()) return false;
  inner_ended_ = true;
  deadline_ = now + kPatience;
  return true;
}

bool Relay::WriteClient(Clock::time_point now) {
  if (to_client_.size() == 0) {
    if (inner_ended_) End("");
    return false;
  }
  size_t moved = 0;
  const Io outcome = client_.Write(to_client_.head(), to_client_.size(), moved);
  to_client_.Shrink(moved);
  if (moved > 0) stalled_ = Clock::time_point::max();
  if (outcome == Io::kAgain) stalled_ = std::min(stalled_, now + kStalled);
  if (outcome == Io::kFailed || outcome == Io::kEnd) End("");
  if (outcome == Io::kDone && to_client_.size() == 0 && inner_ended_) End("");
  return outcome == Io::kDone;
}

void Relay::Pay() {
  const double cost = static_cast<double>(client_.TakeWireBytes() + guard_.TakeCost());
  bucket_.Take(cost);
  seat_.peer->bucket.Take(cost);
}

bool Relay::Broke(Clock::time_point now) {
  if (bucket_.Level(now) > 0 && seat_.peer->bucket.Level(now) > 0) return false;
  solvent_ =
      std::max(bucket_.Until(kWorthReading, now), seat_.peer->bucket.Until(kWorthReading, now));
  return true;
}

uint32_t Relay::ClientEvents() const {
  if (!shaken_) return client_.wants_write() ? EPOLLOUT : EPOLLIN;
  uint32_t events = to_client_.size() > 0 || client_.wants_write() ? uint32_t{EPOLLOUT} : 0;
  if (MayReadClient() && solvent_ == Clock::time_point{}) events |= EPOLLIN;
  return events;
}

uint32_t Relay::InnerEvents() const {
  uint32_t events = to_inner_.size() > 0 && !inner_ended_ ? uint32_t{EPOLLOUT} : 0;
  if (!inner_ended_ && to_client_.room() > 0) events |= EPOLLIN;
  return events;
}

Relay::Clock::time_point Relay::NextTurn() const {
  if (unfinished_ || over_) return Clock::time_point::min();
  Clock::time_point next = std::min({deadline_, expires_, stalled_});
  if (solvent_ != Clock::time_point{}) next = std::min(next, solvent_);
  return next;
}

}  // namespace vmqd::rpc

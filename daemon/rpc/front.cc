// See front.h.
#include "daemon/rpc/front.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/connection.h"
#include "daemon/rpc/roles.h"

namespace vmqd::rpc {
namespace {

constexpr int kAcceptsAtOnce = 16;  // so that those who are in get their turns
constexpr std::chrono::milliseconds kRest{100};

// epoll's tags: a connection's number times two, plus one for gRPC's end; the doors and the bell
// from the top.
constexpr uint64_t kDoorbell = ~uint64_t{0};
constexpr uint64_t kDoors = kDoorbell - 8;

std::string ErrorText(int error) { return std::generic_category().message(error); }

void Watch(const Descriptor& epoll, int operation, int fd, uint32_t events, uint64_t tag) {
  epoll_event event{.events = events, .data = {.u64 = tag}};
  epoll_ctl(epoll.get(), operation, fd, &event);
}

// epoll_wait counts whole milliseconds: rounded up, or the last one would be spent spinning.
int Milliseconds(Bucket::Clock::time_point until, Bucket::Clock::time_point now) {
  if (until <= now) return 0;
  if (until == Bucket::Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
  return static_cast<int>(std::min<int64_t>(left.count(), 60'000));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Front>> Front::Start(std::vector<Door> doors, Rules rules,
                                                    Callers& callers, HandOver hand_over) {
  std::unique_ptr<Front> front(
      new Front(std::move(doors), std::move(rules), callers, std::move(hand_over)));
  front->epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  front->doorbell_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!front->epoll_.open() || !front->doorbell_.open()) {
    return absl::InternalError(absl::StrCat("cannot make an epoll set: ", ErrorText(errno)));
  }
  Watch(front->epoll_, EPOLL_CTL_ADD, front->doorbell_.get(), EPOLLIN, kDoorbell);
  for (size_t i = 0; i < front->doors_.size(); ++i) {
    Watch(front->epoll_, EPOLL_CTL_ADD, front->doors_[i].socket.get(), EPOLLIN, kDoors + i);
  }
  front->thread_ = std::thread([self = front.get()] { self->Run(); });
  return front;
}

Front::Front(std::vector<Door> doors, Rules rules, Callers& callers, HandOver hand_over)
    : callers_(callers),
      hand_over_(std::move(hand_over)),
      doors_(std::move(doors)),
      rules_(std::move(rules)),
      admission_(rules_.limits) {}

Front::~Front() { Stop(std::chrono::milliseconds(0)); }

void Front::Replace(Rules rules) {
  MutexLock lock(mutex_);
  wanted_ = std::move(rules);
  replaced_ = true;
  eventfd_write(doorbell_.get(), 1);
}

void Front::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  eventfd_write(doorbell_.get(), 1);
}

void Front::Stop(std::chrono::milliseconds patience) {
  if (!thread_.joinable()) return;
  Close();
  {
    MutexLock lock(mutex_);
    end_ = Clock::now() + patience;
    eventfd_write(doorbell_.get(), 1);
  }
  thread_.join();
}

void Front::Run() {
  pthread_setname_np(pthread_self(), "vmqd-front");
  // OpenSSL writes without MSG_NOSIGNAL.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);

  std::array<epoll_event, 64> events;
  while (true) {
    Clock::time_point now = Clock::now();
    if (rest_until_ <= now) Rest(Clock::time_point::max());
    TurnAll(now);
    Clock::time_point next = Heed(now);
    if (next <= now) break;
    next = std::min(next, rest_until_);
    for (const auto& [id, relay] : relays_) next = std::min(next, relay->NextTurn());
    const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 Milliseconds(next, Clock::now()));
    now = Clock::now();
    for (int i = 0; i < count; ++i) Happened(events[i].data.u64, events[i].events, now);
  }
  while (!relays_.empty()) Forget(relays_.begin()->first);
}

// Takes over what other threads asked for. When the thread has to end: in the past if now.
Front::Clock::time_point Front::Heed(Clock::time_point now) {
  bool drop_tcp = false;
  Clock::time_point end;
  {
    MutexLock lock(mutex_);
    if (replaced_) {
      rules_ = std::move(wanted_);
      replaced_ = false;
      drop_tcp = true;
    }
    if (closed_) doors_.clear();
    end = closed_ && end_ != Clock::time_point::max() && relays_.empty() ? now : end_;
  }
  if (drop_tcp) {
    admission_.SetLimits(rules_.limits);
    for (const auto& [id, relay] : relays_) {
      if (relay->caller().listener == Listener::kTcp) relay->End("");
    }
  }
  return end;
}

void Front::Happened(uint64_t tag, uint32_t events, Clock::time_point now) {
  if (tag == kDoorbell) {
    eventfd_t rings;
    eventfd_read(doorbell_.get(), &rings);
    return;
  }
  if (tag >= kDoors) {
    if (tag - kDoors < doors_.size()) Accept(doors_[tag - kDoors], now);
    return;
  }
  const auto found = relays_.find(tag / 2);
  if (found == relays_.end()) return;  // ended by an event before this one
  Relay& relay = *found->second;
  const bool hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;
  if (tag % 2 == 1 && hung_up && !relay.watched.inner_hung_up) {
    // gRPC has closed; it would be told for as long as the client takes to read the last words.
    relay.watched.inner_hung_up = true;
    Watch(epoll_, EPOLL_CTL_DEL, relay.inner_fd(), 0, 0);
  }
  // Nobody is there to be answered; and without a read due, it would be told again and again.
  if (tag % 2 == 0 && hung_up) relay.End("");
  Serve(relay, now);
  WatchEnds(relay);
}

void Front::TurnAll(Clock::time_point now) {
  std::vector<uint64_t> over;
  for (const auto& [id, relay] : relays_) {
    if (!relay->over() && relay->NextTurn() <= now) {
      Serve(*relay, now);
      WatchEnds(*relay);
    }
    if (relay->over()) over.push_back(id);
  }
  for (const uint64_t id : over) Forget(id);
}

void Front::Serve(Relay& relay, Clock::time_point now) {
  if (relay.over()) return;
  relay.Turn(now);
  if (relay.TakeIntroduced()) {
    relay.caller().role = RoleOf(relay.caller().names, rules_.tcp);
    if (relay.caller().role == v1::ROLE_UNSPECIFIED) {
      Say(absl::StrCat(relay.caller().ToString(), " has no role under tcp.roles"));
    }
  }
  if (!relay.wants_connection()) return;
  if (const absl::Status connected = Connect(relay); !connected.ok()) {
    relay.End(std::string(connected.message()));
    return;
  }
  relay.Turn(now);
}

absl::Status Front::Connect(Relay& relay) {
  auto pair = NamedPair();
  if (!pair.ok()) return pair.status();
  MutexLock lock(mutex_);
  if (closed_) return absl::CancelledError("");
  auto caller = std::make_shared<const Caller>(relay.caller());
  callers_.Add(pair->name, caller);
  relay.Connect(std::move(pair->ours), pair->name);
  // Under the lock: once Close has returned, gRPC may be shut down and would leak it.
  hand_over_(*caller, std::move(pair->theirs));
  return absl::OkStatus();
}

// Tells epoll what the relay waits for now.
void Front::WatchEnds(Relay& relay) {
  if (relay.over()) return;
  const uint64_t tag = relay.id() * 2;
  if (const uint32_t events = relay.ClientEvents(); events != relay.watched.client) {
    Watch(epoll_, EPOLL_CTL_MOD, relay.client_fd(), events, tag);
    relay.watched.client = events;
  }
  if (relay.inner_fd() < 0 || relay.watched.inner_hung_up) return;
  const uint32_t events = relay.InnerEvents();
  if (!std::exchange(relay.watched.inner_added, true)) {
    Watch(epoll_, EPOLL_CTL_ADD, relay.inner_fd(), events, tag + 1);
  } else if (events != relay.watched.inner) {
    Watch(epoll_, EPOLL_CTL_MOD, relay.inner_fd(), events, tag + 1);
  }
  relay.watched.inner = events;
}

void Front::Accept(Door& door, Clock::time_point now) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    Descriptor client(accept4(door.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client.open()) {
      Admit(door, std::move(client), now);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      Say(absl::StrCat("cannot accept connections: ", ErrorText(errno), "; trying again"));
      Rest(now + kRest);
      return;
    }
    // A client that left before it was accepted is no reason to stop.
    if (errno != ECONNABORTED && errno != EINTR && errno != EPROTO) return;
  }
}

// Accepts nothing until then; time_point::max() for accepting again.
void Front::Rest(Clock::time_point until) {
  const uint32_t events = until == Clock::time_point::max() ? uint32_t{EPOLLIN} : 0;
  rest_until_ = until;
  for (size_t i = 0; i < doors_.size(); ++i) {
    Watch(epoll_, EPOLL_CTL_MOD, doors_[i].socket.get(), events, kDoors + i);
  }
}

void Front::Admit(const Door& door, Descriptor client, Clock::time_point now) {
  std::optional<Visitor> visitor = VisitorAt(client, door.listener);
  if (!visitor.has_value()) return;
  Admission::Seat seat;
  std::string refusal;
  if (!admission_.Enter(
          {.listener = door.listener, .peer_key = visitor->peer_key, .pid = visitor->caller.pid},
          now, seat, refusal)) {
    Say(absl::StrCat("refused a connection: ", refusal));
    return;
  }
  SslPtr tls;
  if (door.listener == Listener::kTcp) {
    if (rules_.tls != nullptr) tls = rules_.tls->Accept(client.get());
    if (tls == nullptr) {
      Say("refused a connection: TLS: " + TlsError());
      admission_.Leave(seat);
      return;
    }
  }
  const int fd = client.get();
  const uint64_t id = next_id_++;
  auto relay = std::make_unique<Relay>(id, std::move(client), std::move(tls),
                                       std::move(visitor->caller), std::move(seat), now);
  Watch(epoll_, EPOLL_CTL_ADD, fd, relay->ClientEvents(), id * 2);
  relay->watched.client = relay->ClientEvents();
  relays_.emplace(id, std::move(relay));
}

void Front::Forget(uint64_t id) {
  const auto found = relays_.find(id);
  Relay& relay = *found->second;
  if (!relay.reason().empty()) {
    Say(absl::StrCat("closed the connection of ", relay.caller().Address(), ": ", relay.reason()));
  }
  if (!relay.name().empty()) callers_.Remove(relay.name());
  admission_.Leave(relay.seat());
  relays_.erase(found);
}

// At most one line a second: strangers may not fill the log.
void Front::Say(const std::string& sentence) {
  if (log_.Level(Clock::now()) < 1) {
    ++unsaid_;
    return;
  }
  log_.Take(1);
  if (unsaid_ > 0) spdlog::warn("front: {} lines like this one were left out", unsaid_);
  unsaid_ = 0;
  spdlog::warn("front: {}", sentence);
}

}  // namespace vmqd::rpc

#include "daemon/datapath/worker.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "daemon/datapath/deliver.h"
#include "daemon/datapath/receive.h"
#include "daemon/datapath/rehome.h"

namespace vmqd {
namespace {

// While a port without room has frames waiting, or a transmit queue was full, nothing wakes the
// worker when room appears: it looks again after this time.
constexpr int kLookAgainMs = 1;
// Looking for floods is a system call, for frames that are few: after so many turns that did
// nothing, or an eighth of that which did something. Spinning, some 10 us.
constexpr uint32_t kTurnsPerFlood = 64;
constexpr int64_t kMostGrown = 4;  // times the time to spin, where frames come again soon
// Ends a system call that a hostile front end made to wait.
constexpr int kInterrupt = SIGUSR1;
constexpr int kLooksBeforeStuck = 5000;  // some 300 ms

void ReadyToBeInterrupted() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(kInterrupt, &action, nullptr);  // without SA_RESTART
}

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

void Doorbell::Ring() {
  if (sleeping.fetch_add(0, std::memory_order_acq_rel) == 0) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd, &one, sizeof(one));
}

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(
    const Options& options, FrameArea& area, UplinkQueue& queue,
    const std::atomic<const Topology*>& published) {
  ReadyToBeInterrupted();
  std::unique_ptr<Worker> worker(new Worker(options, area, queue, published));
  worker->epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  worker->doorbell_.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (worker->epoll_fd_ < 0 || worker->doorbell_.event_fd < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("starting worker ", options.name, ": ",
                                                     std::strerror(errno),
                                                     "; raise the open-file limit (LimitNOFILE)"));
  }
  if (absl::Status status = worker->Watch(worker->doorbell_.event_fd); !status.ok()) return status;
  return worker;
}

Worker::Worker(const Options& options, FrameArea& area, UplinkQueue& queue,
               const std::atomic<const Topology*>& published)
    : options_(options),
      cpu_(options.cpu),
      published_(published),
      lane_(options.index, area, queue) {
  lane_.finish_checksums = options.finish_checksums;
}

Worker::~Worker() {
  Stop();
  if (epoll_fd_ >= 0) close(epoll_fd_);
  if (doorbell_.event_fd >= 0) close(doorbell_.event_fd);
}

void Worker::Start() {
  thread_ = std::thread([this] { Run(); });
  MoveTo(cpu()).IgnoreError();  // the CPU was checked when the set was parsed
}

absl::Status Worker::MoveTo(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<size_t>(cpu), &cpus);
  const int error =
      thread_.joinable() ? pthread_setaffinity_np(thread_.native_handle(), sizeof(cpus), &cpus) : 0;
  if (error != 0) {
    return absl::FailedPreconditionError(absl::StrCat("moving worker ", options_.name, " to CPU ",
                                                      cpu, ": ", std::strerror(error),
                                                      "; is the CPU online, and vmqd's to use?"));
  }
  cpu_.store(cpu, std::memory_order_relaxed);
  return absl::OkStatus();
}

uint64_t Worker::CpuTimeNs() {
  clockid_t clock;
  timespec time{};
  if (!thread_.joinable() || pthread_getcpuclockid(thread_.native_handle(), &clock) != 0) return 0;
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_release);
  doorbell_.Ring();
  thread_.join();
}

absl::Status Worker::Watch(int fd, Wake wake) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (wake == Wake::kEachWrite) event.events |= EPOLLET;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("watching a socket: ", std::strerror(errno),
                   "; raise the open-file limit (LimitNOFILE, fs.epoll.max_user_watches)"));
}

void Worker::Unwatch(int fd) { epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr); }

bool Worker::WaitForTopology(uint64_t sequence) {
  for (int looks = 0; looks < kLooksBeforeStuck; ++looks) {
    if (topology_seen_.load(std::memory_order_acquire) >= sequence) return true;
    doorbell_.Ring();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  return false;
}

void Worker::Interrupt() {
  if (thread_.joinable()) pthread_kill(thread_.native_handle(), kInterrupt);
}

void Worker::Unstick() {
  const uint64_t turns = turns_done_.load(std::memory_order_acquire);
  const bool stuck = turns == turns_looked_at_ && doorbell_.sleeping.load() == 0;
  turns_looked_at_ = turns;
  if (stuck) Interrupt();
}

// As with the doorbell, both sides use a read-modify-write: the turn after the one that is waited
// for sees what the caller wrote before. A plain load could overtake that write, and the worker's
// next turn begin with what it was to stop using.
void Worker::WaitForTurn() {
  const uint64_t before = turns_done_.fetch_add(0, std::memory_order_acq_rel);
  for (int looks = 0; turns_done_.load(std::memory_order_acquire) == before &&
                      !stop_.load(std::memory_order_acquire);
       ++looks) {
    doorbell_.Ring();
    if (looks % kLooksBeforeStuck == kLooksBeforeStuck - 1) Interrupt();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void Worker::ReturnBuffers(const std::vector<uint64_t>& buffers) {
  if (buffers.empty()) return;
  {
    MutexLock lock(mailbox_mutex_);
    returned_.insert(returned_.end(), buffers.begin(), buffers.end());
  }
  mail_.store(true, std::memory_order_release);
  doorbell_.Ring();
}

void Worker::Run() {
  pthread_setname_np(pthread_self(), options_.name.c_str());
  int64_t last = NowNs();
  int64_t idle_since = last;
  int64_t grown = 1;  // times spin_ns_
  while (!stop_.load(std::memory_order_acquire)) {
    const uint32_t frames = Turn();
    const int64_t now = NowNs();
    if (frames > 0) {
      lane_.counters.busy_ns.Add(static_cast<uint64_t>(now - last));
      idle_since = now;
    }
    last = now;
    const bool waits = lane_.waits_for_peer || lane_.waits_for_leaving;
    if ((frames == 0 && waits) || lane_.next_era) {
      sched_yield();  // the peer was rung; it may be waiting for this very CPU
      continue;
    }
    if (frames == 0 && busy_poll_.load(std::memory_order_relaxed)) lane_.uplink.RunNapi();
    const int64_t spin = spin_ns_.load(std::memory_order_relaxed);
    if (frames == 0 && (now - idle_since) / grown >= spin) {
      const bool event = Sleep();
      turns_to_flood_ = 0;  // may be what woke us
      last = NowNs();
      if (!event) continue;  // a timeout: one look is enough
      idle_since = last;
      // A sleep that was not worth its price: spinning as long would have been cheaper.
      grown = last - now < kMostGrown * spin ? std::min(2 * grown, kMostGrown) : 1;
    }
  }
}

uint32_t Worker::Turn() {
  PickUpTopology();
  EmptyMailbox();
  uint32_t frames = ReceiveFromUplink(lane_);
  frames += ReceiveHandovers(lane_);
  frames += ReceiveFromPorts(lane_);
  if (turns_to_flood_ == 0) {
    turns_to_flood_ = kTurnsPerFlood;
    frames += ReceiveFloods(lane_);
  }
  turns_to_flood_ -= std::min(turns_to_flood_, frames == 0 ? 1 : kTurnsPerFlood / 8);
  Flush(lane_);
  Recycle();
  lane_.counters.turns.Add(1);
  turns_done_.fetch_add(1, std::memory_order_acq_rel);
  return frames;
}

void Worker::PickUpTopology() {
  const Topology* fresh = published_.load(std::memory_order_acquire);
  if (fresh == lane_.topology) return;
  if (lane_.topology != nullptr && !MayPickUp(lane_, *fresh)) {
    lane_.next_era = static_cast<uint8_t>(fresh->sequence);
    return;
  }
  lane_.next_era.reset();
  PassOver(lane_, *fresh, stop_);
  lane_.topology = fresh;
  lane_.era = static_cast<uint8_t>(fresh->sequence);
  // Indices into the old snapshot mean nothing in this one.
  lane_.touched.clear();
  lane_.touched.reserve(fresh->home[lane_.index].size());
  for (uint32_t index : fresh->home[lane_.index]) {
    lane_.PairOf(fresh->ports[index]).state->touched = true;
    lane_.touched.push_back(index);
  }
  for (uint32_t index : fresh->leaving[lane_.index]) {
    const PortPair& pair = lane_.PairOf(fresh->ports[index]);
    if (!pair.state->armed) Arm(pair, true);
  }
  topology_seen_.store(fresh->sequence, std::memory_order_release);
}

void Worker::EmptyMailbox() {
  if (!mail_.load(std::memory_order_acquire)) return;
  MutexLock lock(mailbox_mutex_);
  mail_.store(false, std::memory_order_relaxed);
  for (uint64_t buffer : returned_) lane_.pool.Give(buffer);
  returned_.clear();
}

void Worker::Recycle() {
  for (uint32_t index : lane_.topology->home[lane_.index]) {
    lane_.PairOf(lane_.topology->ports[index]).port->Recycle(lane_.pool);
  }
  lane_.uplink.Recycle(lane_.pool);
  lane_.counters.buffers_free.Set(lane_.pool.available());
}

bool Worker::WorkArrived() const {
  if (stop_.load(std::memory_order_relaxed) || mail_.load(std::memory_order_relaxed)) return true;
  if (published_.load(std::memory_order_relaxed) != lane_.topology) return true;
  for (const Peer& peer : lane_.peers) {
    if (peer.from != nullptr && !peer.from->items.Empty()) return true;
  }
  return false;
}

void Worker::Arm(const PortPair& pair, bool armed) {
  epoll_event event{};
  event.events = armed ? static_cast<uint32_t>(EPOLLIN) : 0;
  event.data.fd = pair.vm_socket->fd();
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, event.data.fd, &event);
  pair.state->armed = armed;
}

// A socket whose frames wait for room is readable, but must not keep the worker awake. Returns how
// long to sleep, for epoll_wait.
int Worker::DisarmBlocked() {
  // Nothing wakes the worker when a transmitted buffer comes back: short of buffers, it looks
  // itself.
  const bool short_of_buffers = lane_.pool.available() < UplinkQueue::kPoolReserve;
  const bool look_again = must_look_ || lane_.blocked || !lane_.touched.empty() ||
                          lane_.uplink.Pending() || short_of_buffers;
  for (uint32_t index : lane_.topology->home[lane_.index]) {
    const PortPair& pair = lane_.PairOf(lane_.topology->ports[index]);
    if (pair.state->blocked == pair.state->armed) Arm(pair, !pair.state->blocked);
  }
  return look_again ? kLookAgainMs : -1;
}

// Has the VMs of all ports wake the worker from here on. False: one has sent something already.
bool Worker::PreparePorts() {
  bool quiet = true;
  must_look_ = false;
  for (uint32_t index : lane_.topology->home[lane_.index]) {
    switch (lane_.PairOf(lane_.topology->ports[index]).port->PrepareSleep()) {
      case Port::Rest::kWoken:
        break;
      case Port::Rest::kWork:
        quiet = false;
        break;
      case Port::Rest::kPoll:
        must_look_ = true;
    }
  }
  return quiet;
}

bool Worker::Sleep() {
  bool event = true;
  doorbell_.sleeping.exchange(1, std::memory_order_acq_rel);
  if (!WorkArrived() && PreparePorts()) {
    const int timeout = DisarmBlocked();
    std::array<epoll_event, 8> events;
    const int count =
        epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), timeout);
    event = count > 0;
    for (int i = 0; i < count; ++i) {
      uint64_t rings;
      if (events[static_cast<size_t>(i)].data.fd == doorbell_.event_fd) {
        [[maybe_unused]] const ssize_t got = read(doorbell_.event_fd, &rings, sizeof(rings));
      }
    }
    lane_.counters.wakeups.Add(1);
  }
  doorbell_.sleeping.store(0, std::memory_order_relaxed);
  return event;
}

}  // namespace vmqd

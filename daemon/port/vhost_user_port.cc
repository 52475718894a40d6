#include "daemon/port/vhost_user_port.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

RingUse UseOf(uint32_t index) { return index % 2 == 0 ? RingUse::kWrites : RingUse::kReads; }

}  // namespace

VhostUserPort::VhostUserPort(VhostServer& server, Options options, std::vector<Host> hosts,
                             Workers workers, std::atomic<bool>& link_up)
    : server_(server),
      options_(std::move(options)),
      hosts_(std::move(hosts)),
      workers_(std::move(workers)),
      link_up_(link_up),
      watched_(2 * hosts_.size(), -1) {
  left_.resize(hosts_.size());
  for (const Host& host : hosts_) {
    pairs_.push_back(std::make_unique<VhostPair>(workers_.scratch, host.worker));
  }
}

VhostUserPort::~VhostUserPort() { Close(); }

absl::Status VhostUserPort::Listen() {
  absl::Status status =
      server_.Add(options_.id, options_.socket, options_.role, options_.device, *this);
  listens_ = status.ok();
  return status;
}

void VhostUserPort::Close() {
  if (std::exchange(listens_, false)) server_.Remove(options_.id);
}

std::string VhostUserPort::socket_path() const {
  return absl::StrCat(server_.directory(), "/", options_.socket);
}

void VhostUserPort::StartQueue(uint32_t index, VhostQueue& queue) {
  MutexLock lock(mutex_);
  const Host& host = hosts_[index / 2];
  // Without being woken the worker looks for itself, as for a front end that asked for it.
  if (queue.kick_fd >= 0 && !host.watch(queue.kick_fd).ok()) queue.kick_fd = -1;
  watched_[index] = queue.kick_fd;
  pairs_[index / 2]->Start(UseOf(index), queue);
  host.wake();
}

void VhostUserPort::StopQueue(uint32_t index) {
  VhostPair& pair = *pairs_[index / 2];
  pair.Stop(UseOf(index));
  {
    MutexLock lock(mutex_);
    if (const int fd = std::exchange(watched_[index], -1); fd >= 0) {
      hosts_[index / 2].unwatch(fd);
      if (left_[index / 2]) left_[index / 2]->unwatch(fd);
    }
  }
  workers_.wait();  // any of them may be filling the guest's buffers
  pair.Forget(UseOf(index));
}

absl::Status VhostUserPort::BeginMove(uint32_t index, Host host) {
  MutexLock lock(mutex_);
  for (const uint32_t ring : {2 * index, 2 * index + 1}) {
    if (watched_[ring] < 0) continue;
    if (absl::Status status = host.watch(watched_[ring]); !status.ok()) {
      host.unwatch(watched_[2 * index]);
      return status;
    }
  }
  left_[index] = std::exchange(hosts_[index], std::move(host));
  return absl::OkStatus();
}

void VhostUserPort::EndMove(uint32_t index) {
  MutexLock lock(mutex_);
  for (const uint32_t ring : {2 * index, 2 * index + 1}) {
    if (left_[index] && watched_[ring] >= 0) left_[index]->unwatch(watched_[ring]);
  }
  left_[index].reset();
}

void VhostUserPort::Announce(const MacAddress& mac) {
  pairs_[0]->Announce(mac);
  MutexLock lock(mutex_);
  hosts_[0].wake();
}

void VhostUserPort::Look() {
  for (uint32_t i = 0; i < pairs(); ++i) {
    const auto fault = pairs_[i]->TakeFault();
    if (!fault) continue;
    const bool reads = fault->ring == RingUse::kReads;
    server_.Fault(options_.id, absl::StrCat("queue pair ", i, ": the guest ",
                                            std::string(RingFaultText(fault->what)),
                                            reads ? " (transmit queue)" : " (receive queue)"));
  }
}

}  // namespace vmqd

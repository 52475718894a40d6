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
  const Host& host = hosts_[index / 2];
  // Without being woken the worker looks for itself, as for a front end that asked for it.
  if (queue.kick_fd >= 0 && !host.watch(queue.kick_fd).ok()) queue.kick_fd = -1;
  watched_[index] = queue.kick_fd;
  pairs_[index / 2]->Start(UseOf(index), queue);
  host.wake();
}

void VhostUserPort::StopQueue(uint32_t index) {
  const Host& host = hosts_[index / 2];
  VhostPair& pair = *pairs_[index / 2];
  pair.Stop(UseOf(index));
  if (const int fd = std::exchange(watched_[index], -1); fd >= 0) host.unwatch(fd);
  workers_.wait();  // any of them may be filling the guest's buffers
  pair.Forget(UseOf(index));
}

void VhostUserPort::Announce(const MacAddress& mac) {
  pairs_[0]->Announce(mac);
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

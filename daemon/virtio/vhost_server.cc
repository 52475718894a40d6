// See vhost_server.h. The thread waits without the mutex and takes it for one event at a time;
// whatever another thread removed in between is found by key and then by id, never by pointer.
#include "daemon/virtio/vhost_server.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/net/mutex.h"
#include "daemon/virtio/guest_memory.h"
#include "daemon/virtio/vhost_poll.h"
#include "daemon/virtio/vhost_port.h"
#include "daemon/virtio/vhost_socket.h"

namespace vmqd {
namespace {

constexpr uint32_t kMostQueuePairs = 16;

absl::Status CheckOptions(const VhostOptions& options) {
  if (options.queue_pairs == 0 || options.queue_pairs > kMostQueuePairs) {
    return absl::InvalidArgumentError(absl::StrCat("a vhost-user port has 1 to ", kMostQueuePairs,
                                                   " queue pairs, not ", options.queue_pairs));
  }
  const uint64_t unsupported = options.features & ~SupportedVirtioFeatures();
  for (uint32_t bit = 0; bit < 64; ++bit) {
    if ((unsupported >> bit & 1) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("the feature ", VirtioFeatureName(bit),
                                                     " cannot be offered: it is not supported"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

class VhostServer::Impl {
 public:
  Impl(VhostSocketDirectory directory, VhostPoll poll)
      : directory_(std::move(directory)), poll_(std::move(poll)), thread_([this] { Run(); }) {
    pthread_setname_np(thread_.native_handle(), "vhost");
  }

  ~Impl() {
    {
      MutexLock lock(mutex_);
      stop_ = true;
    }
    poll_.Wake();
    thread_.join();
  }

  absl::Status Add(uint64_t id, const std::string& socket, VhostRole role,
                   const VhostOptions& options, VhostDeviceOwner& owner) {
    if (auto status = VhostSocketDirectory::CheckName(socket); !status.ok()) return status;
    if (auto status = CheckOptions(options); !status.ok()) return status;
    MutexLock lock(mutex_);
    for (const auto& [other, port] : ports_) {
      if (other == id || port->socket() == socket) {
        return absl::AlreadyExistsError(absl::StrCat("another port uses the socket ",
                                                     directory_.path(), "/", port->socket(),
                                                     "; choose another name"));
      }
    }
    auto port = std::make_unique<VhostPort>(id, socket, role, options, owner, directory_, poll_);
    if (auto status = port->Open(Clock::now()); !status.ok()) return status;
    ports_[id] = std::move(port);
    poll_.Wake();
    return absl::OkStatus();
  }

  void Remove(uint64_t id) {
    MutexLock lock(mutex_);
    ports_.erase(id);
  }

  void Reset(uint64_t id) {
    MutexLock lock(mutex_);
    if (VhostPort* port = Find(id); port != nullptr) port->Close("", Clock::now());
    poll_.Wake();
  }

  void Fault(uint64_t id, const std::string& reason) {
    MutexLock lock(mutex_);
    if (VhostPort* port = Find(id); port != nullptr) port->device().Fault(reason);
  }

  VhostStatus Status(uint64_t id) {
    MutexLock lock(mutex_);
    VhostPort* port = Find(id);
    return port != nullptr ? port->device().Status() : VhostStatus();
  }

  const std::string& directory() const { return directory_.path(); }

 private:
  using Clock = VhostPoll::Clock;

  VhostPort* Find(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = ports_.find(id);
    return found == ports_.end() ? nullptr : found->second.get();
  }

  void Run() {
    std::optional<Clock::time_point> due;
    while (true) {
      for (const uint64_t key : poll_.Wait(due)) {
        MutexLock lock(mutex_);
        const std::optional<uint64_t> id = poll_.PortOf(key);
        VhostPort* port = id.has_value() ? Find(*id) : nullptr;
        if (port != nullptr) port->Ready(key, Clock::now());
      }
      MutexLock lock(mutex_);
      if (stop_) return;
      due = Tick();
    }
  }

  // When the first port has something to do.
  std::optional<Clock::time_point> Tick() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::optional<Clock::time_point> first;
    for (const auto& [id, port] : ports_) {
      port->Tick(Clock::now());
      const auto due = port->Due();
      if (due.has_value() && (!first.has_value() || *due < *first)) first = due;
    }
    return first;
  }

  const VhostSocketDirectory directory_;
  mutable Mutex mutex_;
  VhostPoll poll_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<uint64_t, std::unique_ptr<VhostPort>> ports_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all of the above
};

VhostServer::VhostServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VhostServer::~VhostServer() = default;

absl::StatusOr<std::unique_ptr<VhostServer>> VhostServer::Create(const Options& options) {
  auto directory = VhostSocketDirectory::Open(options.directory, options.group, options.mode);
  if (!directory.ok()) return directory.status();
  auto poll = VhostPoll::Create();
  if (!poll.ok()) return poll.status();
  GuardGuestMemory();
  return std::unique_ptr<VhostServer>(
      new VhostServer(std::make_unique<Impl>(*std::move(directory), *std::move(poll))));
}

absl::Status VhostServer::Add(uint64_t id, const std::string& socket, VhostRole role,
                              const VhostOptions& options, VhostDeviceOwner& owner) {
  return impl_->Add(id, socket, role, options, owner);
}
void VhostServer::Remove(uint64_t id) { impl_->Remove(id); }
void VhostServer::Reset(uint64_t id) { impl_->Reset(id); }
void VhostServer::Fault(uint64_t id, const std::string& reason) { impl_->Fault(id, reason); }
VhostStatus VhostServer::Status(uint64_t id) const { return impl_->Status(id); }
const std::string& VhostServer::directory() const { return impl_->directory(); }

}  // namespace vmqd

// A port that a VMM connects over vhost-user: its queue pairs, one for each worker that serves it,
// and what the front end does to them. Control threads under the Switch's mutex; the owner's
// methods are the vhost thread's.
#ifndef VMQD_DAEMON_PORT_VHOST_USER_PORT_H_
#define VMQD_DAEMON_PORT_VHOST_USER_PORT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/net/mutex.h"
#include "daemon/port/vhost_pair.h"
#include "daemon/virtio/vhost_device.h"
#include "daemon/virtio/vhost_server.h"

namespace vmqd {

class VhostUserPort final : public VhostDeviceOwner {
 public:
  // The worker that serves a queue pair, as far as the pair needs it. All may be called by any
  // thread but the worker's own.
  struct Host {
    uint32_t worker = 0;                     // its number
    std::function<absl::Status(int)> watch;  // wake it with each write to this eventfd
    std::function<void(int)> unwatch;
    std::function<void()> wake;
  };
  // The workers of the uplink.
  struct Workers {
    std::vector<VhostScratch*> scratch;  // by number
    std::function<void()> wait;          // until the turns under way are over
  };
  struct Options {
    uint64_t id = 0;  // never used twice
    std::string socket;
    VhostRole role = VhostRole::kSwitchListens;
    VhostOptions device;  // as many queue pairs as hosts
  };

  // Nothing is connected before Listen. `server` and `link_up` outlive the port, and so do workers.
  VhostUserPort(VhostServer& server, Options options, std::vector<Host> hosts, Workers workers,
                std::atomic<bool>& link_up);
  ~VhostUserPort() override;  // closes

  VhostPair& pair(uint32_t index) { return *pairs_[index]; }
  uint32_t pairs() const { return static_cast<uint32_t>(pairs_.size()); }

  // Pair `index` goes to the worker of `host`, which the guest wakes as well from now on; and only
  // that one from EndMove on.
  absl::Status BeginMove(uint32_t index, Host host) ABSL_LOCKS_EXCLUDED(mutex_);
  void EndMove(uint32_t index) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Status Listen();
  // Ends the connection: nothing arrives any more, and no worker uses guest memory.
  void Close();
  // A front end that connects again begins anew.
  void Reset() { server_.Reset(options_.id); }
  // Passes on what workers found wrong with the rings.
  void Look();

  VhostStatus Status() const { return server_.Status(options_.id); }
  const Options& options() const { return options_; }
  std::string socket_path() const;

  void StartQueue(uint32_t index, VhostQueue& queue) override;
  void StopQueue(uint32_t index) override;
  void SetLink(bool up) override { link_up_.store(up); }
  void Announce(const MacAddress& mac) override;

 private:
  VhostServer& server_;
  const Options options_;
  Mutex mutex_;  // of what the vhost thread and a move both touch
  std::vector<Host> hosts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::optional<Host>> left_ ABSL_GUARDED_BY(mutex_);  // in the middle of a move
  const Workers workers_;
  std::atomic<bool>& link_up_;
  std::vector<std::unique_ptr<VhostPair>> pairs_;
  std::vector<int> watched_ ABSL_GUARDED_BY(mutex_);  // kick descriptors by ring; -1: none
  bool listens_ = false;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_VHOST_USER_PORT_H_

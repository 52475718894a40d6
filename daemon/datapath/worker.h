// Worker: the one thread that serves one hardware queue, pinned to one CPU. In its loop there is no
// lock held across frames, no allocation, no logging, and no system call but transmit kicks, the
// receive calls of packet sockets, and sleeping.
//
// The constructor and everything marked "control" is for control threads; the loop is the thread's.
#ifndef VMQD_DAEMON_DATAPATH_WORKER_H_
#define VMQD_DAEMON_DATAPATH_WORKER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/datapath/lane.h"
#include "daemon/net/mutex.h"

namespace vmqd {

class Worker {
 public:
  struct Options {
    std::string name;  // thread name, at most 15 characters
    uint32_t index = 0;
    int cpu = 0;
    bool finish_checksums = false;  // see Lane
  };
  // Nanoseconds a worker looks for frames before it sleeps.
  static constexpr int64_t kNeverSleep = INT64_MAX;

  // `area`, `queue` and `published` (the topology cell of the uplink) must outlive the worker.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(
      const Options& options, FrameArea& area, UplinkQueue& queue,
      const std::atomic<const Topology*>& published);
  ~Worker();  // stops the thread
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Control. Peers are set before Start, and never change.
  void SetPeers(std::vector<Peer> peers) { lane_.peers = std::move(peers); }
  void Start();
  void Stop();  // returns when the thread has ended

  // Control. A readable `fd` wakes the worker: as long as it is readable, or (an eventfd that
  // nobody reads) with each write.
  enum class Wake { kWhileReadable, kEachWrite };
  absl::Status Watch(int fd, Wake wake = Wake::kWhileReadable);
  void Unwatch(int fd);
  // Control. How long it spins; kNeverSleep, or 0 for not at all.
  void SetSpin(int64_t nanoseconds) { spin_ns_.store(nanoseconds, std::memory_order_relaxed); }
  // Control. Whether it runs the NAPI of its queue itself when it finds nothing to do.
  void SetBusyPoll(bool on) { busy_poll_.store(on, std::memory_order_relaxed); }
  // Control. Waits until the worker works with a topology of at least `sequence`. False: it does
  // not yet, and somebody may be stuck.
  bool WaitForTopology(uint64_t sequence);
  // Control. Ends a system call that the worker may be in.
  void Interrupt();
  // Control. From now on it runs on `cpu` alone. Nothing else of it changes: the rings stay with
  // the thread, so that no frame is lost, and none overtakes another.
  absl::Status MoveTo(int cpu);
  // Control. CPU time that the thread has had; 0 when it does not run.
  uint64_t CpuTimeNs();
  // Control. Returns when the turn that may be under way is over, or the worker has stopped.
  void WaitForTurn();
  // Control, once a second: interrupts a turn that has lasted since the last call.
  void Unstick();
  // Control. Buffers that a closed socket held go back to the pool.
  void ReturnBuffers(const std::vector<uint64_t>& buffers) ABSL_LOCKS_EXCLUDED(mailbox_mutex_);

  Doorbell& doorbell() { return doorbell_; }
  const Lane& lane() const { return lane_; }
  int cpu() const { return cpu_.load(std::memory_order_relaxed); }

 private:
  Worker(const Options& options, FrameArea& area, UplinkQueue& queue,
         const std::atomic<const Topology*>& published);
  void Run();
  uint32_t Turn();
  void PickUpTopology();
  void EmptyMailbox() ABSL_LOCKS_EXCLUDED(mailbox_mutex_);
  void Recycle();
  bool Sleep();  // false when nothing happened but the time it looks again
  bool WorkArrived() const;
  bool PreparePorts();
  void Arm(const PortPair& pair, bool armed);
  int DisarmBlocked();

  const Options options_;
  std::atomic<int> cpu_;
  const std::atomic<const Topology*>& published_;
  Lane lane_;
  Doorbell doorbell_;
  int epoll_fd_ = -1;
  bool must_look_ = false;  // a port's VM does not wake us
  uint32_t turns_to_flood_ = 0;
  std::atomic<int64_t> spin_ns_{0};
  std::atomic<bool> busy_poll_{false};
  std::atomic<uint64_t> topology_seen_{0};
  std::atomic<uint64_t> turns_done_{0};
  uint64_t turns_looked_at_ = 0;  // by Unstick
  std::atomic<bool> stop_{false};

  std::atomic<bool> mail_{false};
  Mutex mailbox_mutex_;
  std::vector<uint64_t> returned_ ABSL_GUARDED_BY(mailbox_mutex_);

  std::thread thread_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_WORKER_H_

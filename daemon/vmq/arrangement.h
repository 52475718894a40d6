// Arrangement: who runs where, as it is or as it would be, and what the last minute would have been
// with it. The balancer tries its moves here.
#ifndef VMQD_DAEMON_VMQ_ARRANGEMENT_H_
#define VMQD_DAEMON_VMQ_ARRANGEMENT_H_

#include <cstddef>
#include <vector>

#include "daemon/vmq/demand.h"
#include "daemon/vmq/scene.h"

namespace vmqd {

// How much and how long more was needed than is comfortable; see balancer.h.
double Strain(const Minute& needed);

// What a move does to the strain of two CPUs; nothing when they are one.
struct Exchange {
  double relief = 0;  // of the one it leaves
  double burden = 0;  // of the one it comes to
  double Gain() const { return relief - burden; }
};

class Arrangement {
 public:
  // A CPU, with its hyper-threads.
  struct Core {
    int cpu = 0;  // where workers go: the first of its threads in the processor set
    int node = -1;
    bool in_set = true;  // false: workers may leave it, not come
    Minute needed;
    double strain = 0;
    std::vector<size_t> queues;
  };

  explicit Arrangement(const Scene& scene);  // which must outlive it

  const std::vector<Core>& cores() const { return cores_; }
  size_t CoreOf(size_t queue) const { return core_of_[queue]; }
  size_t QueueOf(size_t port) const { return queue_of_[port]; }
  const std::vector<size_t>& PortsOf(size_t queue) const { return ports_of_[queue]; }
  const Minute& NeededBy(size_t queue) const { return queues_[queue]; }  // with its ports
  bool IsRemote(size_t queue, size_t core) const;
  double TotalStrain() const;

  // What `core` would have needed with the queue too.
  Minute With(size_t core, size_t queue) const;
  Exchange TryQueue(size_t queue, size_t to_core) const;
  Exchange TryPort(size_t port, size_t to_queue) const;

  void MoveQueue(size_t queue, size_t to_core);
  void MovePort(size_t port, size_t to_queue);

 private:
  double Cost(size_t queue, size_t core) const { return IsRemote(queue, core) ? kRemoteCost : 1; }
  Exchange Try(const Minute& demand, size_t from, double cost_there, size_t to,
               double cost_here) const;
  void Change(size_t core, const Minute& by, double factor);

  const Scene& scene_;
  std::vector<Core> cores_;
  std::vector<Minute> queues_;
  std::vector<size_t> core_of_;
  std::vector<size_t> queue_of_;
  std::vector<std::vector<size_t>> ports_of_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_ARRANGEMENT_H_

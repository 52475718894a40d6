// Draft: a plan in the making. The passes of the balancer, in their order, look at the arrangement
// as the moves so far would make it, and add moves.
#ifndef VMQD_DAEMON_VMQ_DRAFT_H_
#define VMQD_DAEMON_VMQ_DRAFT_H_

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/vmq/arrangement.h"
#include "daemon/vmq/balancer.h"
#include "daemon/vmq/scene.h"

namespace vmqd {

class Draft {
 public:
  explicit Draft(const Scene& scene);  // which must outlive it

  const Scene& scene() const { return scene_; }
  const Arrangement& arrangement() const { return arrangement_; }

  // May be moved, has not been moved in this draft, and rests no more.
  bool MayMoveQueue(size_t queue) const { return may_move_queue_[queue]; }
  bool MayMovePort(size_t port) const { return may_move_port_[port]; }
  bool HasRoom(size_t moves = 1) const;  // for so many more
  // No move of before this draft has just changed what the core needs.
  bool IsSettled(size_t core) const { return settled_[core]; }
  // Nothing was moved, for `aim` or at all, in this draft or for so long before it; what was before
  // does not matter when the operator asked.
  bool QuietFor(std::chrono::seconds time, std::optional<MoveAim> aim = std::nullopt) const;

  // 1 when nothing was moved lately; more, the more was moved.
  double Unrest() const;

  // `seen`: the first part of the sentence.
  void MoveQueue(size_t queue, size_t to_core, MoveAim aim, const std::string& seen);
  void MovePort(size_t port, size_t to_queue, MoveAim aim, const std::string& seen);
  void AddRemark(Remark remark) { plan_.remarks.push_back(std::move(remark)); }

  Plan Finish() &&;

 private:
  bool MayMoveOn(size_t uplink) const;
  void Rest();
  void Settle();
  void Add(Move move, size_t from_core, size_t to_core, const std::string& seen,
           const std::string& done);

  const Scene& scene_;
  const Arrangement before_;
  Arrangement arrangement_;
  Plan plan_;
  std::vector<bool> may_move_queue_;
  std::vector<bool> may_move_port_;
  std::vector<bool> settled_;
};

// The passes.
void EnterSet(Draft& draft);
void Spread(Draft& draft);
void DealQueues(Draft& draft);
void Coalesce(Draft& draft);

// "98 %"
std::string Percent(double share);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VMQ_DRAFT_H_

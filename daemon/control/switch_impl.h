// Switch::Impl, for the files that implement it: switch.cc (start, end, history, public face),
// switch_changes.cc (calls that change something) and switch_status.cc (calls that look).
#ifndef VMQD_DAEMON_CONTROL_SWITCH_IMPL_H_
#define VMQD_DAEMON_CONTROL_SWITCH_IMPL_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/control/fabric.h"
#include "daemon/control/history.h"
#include "daemon/control/ledger.h"
#include "daemon/control/switch.h"
#include "daemon/net/mutex.h"

namespace vmqd {

// How a revision is told to callers.
std::string EtagOf(uint64_t revision);

// Stands in where nothing has to survive.
class MemoryStore final : public StateStore {
 public:
  absl::Status Commit(const StateChange& change) override {
    Apply(change, state_);
    return absl::OkStatus();
  }
  const DesiredState& state() const override { return state_; }

 private:
  DesiredState state_;
};

class Switch::Impl final : public FabricObserver {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)),
        started_(std::chrono::steady_clock::now()),
        store_(options_.store != nullptr ? *options_.store : memory_),
        ledger_(store_, [this] { return NextRevision(); }) {}
  ~Impl() override;
  absl::Status Start() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<UplinkStatus> AddUplink(const UplinkConfig& config, const ChangeOptions& options)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<UplinkStatus> UpdateUplink(std::string_view id, const UplinkPatch& patch,
                                            const std::optional<UplinkConfig>& missing,
                                            const ChangeOptions& options)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status DeleteUplink(std::string_view id, const ChangeOptions& options)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<UplinkStatus> GetUplink(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<UplinkStatus> ListUplinks() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<PortStatus> AddPort(const PortConfig& config, const ChangeOptions& options)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<PortStatus> UpdatePort(std::string_view id, const PortPatch& patch,
                                        const std::optional<PortConfig>& missing,
                                        const ChangeOptions& options) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status DeletePort(std::string_view id, const ChangeOptions& options)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<PortStatus> GetPort(std::string_view id) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<PortStatus> ListPorts() ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<QueueStatus> GetQueue(const std::string& uplink, uint32_t queue)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<QueueStatus>> ListQueues(const std::optional<std::string>& uplink)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SetProcessors(const ProcessorSet& processors) ABSL_LOCKS_EXCLUDED(mutex_);
  SwitchStatus Show() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<RebalanceReport> Rebalance(const ChangeOptions& options)
      ABSL_LOCKS_EXCLUDED(mutex_);
  Snapshot Look() ABSL_LOCKS_EXCLUDED(mutex_);
  History& history() { return history_; }
  bool WorkersAdvance() ABSL_LOCKS_EXCLUDED(mutex_);

  // FabricObserver; called in the middle of what holds the mutex.
  void Changed(const std::string& resource) override ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void Happened(Severity severity, const std::string& resource, std::string_view reason,
                const std::string& message) override ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  uint64_t NextRevision() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ++revision_; }
  void WriteBegin(StateChange begin) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Restore() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveUnwanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Null when the call is a new one; refuses the request_id of another.
  absl::StatusOr<const Reply*> EarlierReply(const ChangeOptions& options) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<UplinkStatus> AddNewUplink(const UplinkConfig& config,
                                            const ChangeOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<PortStatus> AddNewPort(const PortConfig& asked, const ChangeOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  UplinkStatus AnswerOfThen(const DesiredUplink& then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  PortStatus AnswerOfThen(const DesiredPort& then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Commit(StateChange change, const ChangeOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Resource>
  absl::Status CommitReply(const Resource& resource, const ChangeOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  UplinkStatus StatusOf(const Fabric::Uplink& uplink) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  PortStatus StatusOf(const Fabric::Port& port) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Told(const std::string& name, const char* what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SampleLoop() ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  const std::chrono::steady_clock::time_point started_;
  MemoryStore memory_;
  Mutex mutex_;
  std::condition_variable_any stop_;  // with stopping_
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  bool sweep_ ABSL_GUARDED_BY(mutex_) = false;  // something was deleted; see SampleLoop
  std::optional<StateChange> begin_ ABSL_GUARDED_BY(mutex_);  // still to be written down
  std::string begin_trouble_ ABSL_GUARDED_BY(mutex_);         // why; empty: nothing is
  StateStore& store_ ABSL_GUARDED_BY(mutex_);
  StateLedger ledger_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Fabric> fabric_ ABSL_GUARDED_BY(mutex_);
  History history_;
  std::unique_ptr<LinkMonitor> monitor_;
  std::thread sampler_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_SWITCH_IMPL_H_

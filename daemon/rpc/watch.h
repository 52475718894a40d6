// Watches: serves the readers of vmqd.v1.Vmqd.Watch. What a reader costs is bounded: a place among
// `watchers`, a thread of gRPC's, one batch of items. How far it has read is a revision; what it
// missed lies in History or is gone, and then it starts over. Called by gRPC's threads.
#ifndef VMQD_DAEMON_RPC_WATCH_H_
#define VMQD_DAEMON_RPC_WATCH_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "daemon/control/history.h"
#include "daemon/control/switch.h"
#include "daemon/net/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/sync_stream.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::rpc {

struct WatchLimits {
  uint32_t watchers = 0;  // at a time; 0: 32
  // A reader that takes nothing for so long loses its place.
  std::chrono::milliseconds write_patience{30000};
};

// What is watched, a Switch.
struct WatchSource {
  History& history;
  std::function<Switch::Snapshot()> look;
  std::function<uint64_t()> revision;  // the latest one given out
};

class Watches {
 public:
  Watches(WatchSource source, const WatchLimits& limits);
  // No Serve may be under way.
  ~Watches();

  Watches(const Watches&) = delete;
  Watches& operator=(const Watches&) = delete;

  // Serves one reader until it goes away, or is given up, which it sees as CANCELLED.
  // RESOURCE_EXHAUSTED: no place is free. UNAVAILABLE: the history was closed. See WatchRequest for
  // `revision`.
  absl::Status Serve(grpc::ServerContext& context, uint64_t revision,
                     grpc::ServerWriter<v1::WatchResponse>& writer) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Reader {
    grpc::ServerContext& context;
    std::optional<std::chrono::steady_clock::time_point> writing_since;
  };
  class Stream;

  std::optional<std::list<Reader>::iterator> TakePlace(grpc::ServerContext& context)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void GivePlace(std::list<Reader>::iterator reader) ABSL_LOCKS_EXCLUDED(mutex_);
  void Supervise() ABSL_LOCKS_EXCLUDED(mutex_);

  const WatchSource source_;
  const std::chrono::milliseconds write_patience_;
  const uint32_t most_;
  Mutex mutex_;
  std::condition_variable_any changed_;  // the first reader came, or stopping_
  std::list<Reader> readers_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // A Write to a reader that does not read blocks inside gRPC. This thread cancels such calls;
  // without readers it sleeps.
  std::thread supervisor_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_WATCH_H_

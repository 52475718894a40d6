// See watch.h.
#include "daemon/rpc/watch.h"

#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/rpc/convert.h"
#include "daemon/rpc/name.h"

namespace vmqd::rpc {
namespace {

constexpr uint32_t kDefaultWatchers = 32;
constexpr size_t kBatch = 64;                          // items held at a time
constexpr std::chrono::milliseconds kLookAround{200};  // how soon a reader that left is noticed
constexpr int kLooksPerPatience = 8;                   // of the supervisor

void PutInto(const UplinkStatus& status, v1::WatchResponse& response) {
  ToProto(status, response.mutable_uplink());
}
void PutInto(const PortStatus& status, v1::WatchResponse& response) {
  ToProto(status, response.mutable_port());
}
void PutInto(const Deleted& deleted, v1::WatchResponse& response) {
  response.set_deleted(deleted.name);
}
void PutInto(const Event& event, v1::WatchResponse& response) {
  ToProto(event, response.mutable_event());
}

}  // namespace

// One reader's way through the history. Lives on the stack of the call.
class Watches::Stream {
 public:
  Stream(Watches& watches, Reader& reader, grpc::ServerWriter<v1::WatchResponse>& writer)
      : watches_(watches), reader_(reader), writer_(writer) {}

  absl::Status Run(uint64_t revision) {
    const WatchSource& source = watches_.source_;
    if (revision == 0) {
      StartOver("the watch begins with all that is there");
    } else if (revision > source.revision()) {
      StartOver(absl::StrCat("this daemon has not given out revision ", revision));
    } else {
      position_ = revision;
    }
    while (reading_ && !reader_.context.IsCancelled()) {
      const History::Next next = source.history.After(position_, kBatch, kLookAround);
      switch (next.outcome) {
        case History::Outcome::kItems:
          for (const History::Item& item : next.items) Send(*item);
          break;
        case History::Outcome::kNothingYet:
          break;
        case History::Outcome::kForgotten:
          StartOver(
              absl::StrCat("what came after revision ", position_, " is no longer remembered"));
          break;
        case History::Outcome::kClosed:
          return Refuse(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "",
                        "vmqd is shutting down; watch again from the last revision");
      }
    }
    return absl::OkStatus();
  }

 private:
  // Until `synced` the responses bear the revision before, so that a reader that is cut off among
  // them and goes on from it is sent all of them again.
  void StartOver(const std::string& reason) {
    v1::WatchResponse reset;
    reset.mutable_reset()->set_reason(reason);
    Write(reset);
    const Switch::Snapshot snapshot = watches_.source_.look();
    for (const UplinkStatus& uplink : snapshot.uplinks) Put(uplink);
    for (const PortStatus& port : snapshot.ports) Put(port);
    position_ = snapshot.revision;
    v1::WatchResponse synced;
    synced.mutable_synced();
    Write(synced);
  }

  template <typename Status>
  void Put(const Status& status) {
    v1::WatchResponse response;
    PutInto(status, response);
    Write(response);
  }

  void Send(const HistoryItem& item) {
    v1::WatchResponse response;
    std::visit([&](const auto& what) { PutInto(what, response); }, item.what);
    position_ = item.revision;
    Write(response);
  }

  void Write(v1::WatchResponse& response) {
    if (!reading_) return;
    response.set_revision(position_);
    SetWriting(std::chrono::steady_clock::now());
    reading_ = writer_.Write(response);
    SetWriting(std::nullopt);
  }

  void SetWriting(std::optional<std::chrono::steady_clock::time_point> since) {
    MutexLock lock(watches_.mutex_);
    reader_.writing_since = since;
  }

  Watches& watches_;
  Reader& reader_;
  grpc::ServerWriter<v1::WatchResponse>& writer_;
  uint64_t position_ = 0;  // of the last response from which a reader can go on
  bool reading_ = true;
};

Watches::Watches(WatchSource source, const WatchLimits& limits)
    : source_(std::move(source)),
      write_patience_(limits.write_patience),
      most_(limits.watchers == 0 ? kDefaultWatchers : limits.watchers),
      supervisor_([this] { Supervise(); }) {}

Watches::~Watches() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  supervisor_.join();
}

absl::Status Watches::Serve(grpc::ServerContext& context, uint64_t revision,
                            grpc::ServerWriter<v1::WatchResponse>& writer) {
  const auto reader = TakePlace(context);
  if (!reader.has_value()) {
    return Refuse(absl::StatusCode::kResourceExhausted, "TOO_MANY_WATCHERS", "",
                  absl::StrCat(most_,
                               " watch already, which is the most; end one of "
                               "them, or raise limits.watchers"));
  }
  absl::Status status = Stream(*this, **reader, writer).Run(revision);
  GivePlace(*reader);
  return status;
}

std::optional<std::list<Watches::Reader>::iterator> Watches::TakePlace(
    grpc::ServerContext& context) {
  MutexLock lock(mutex_);
  if (readers_.size() >= most_) return std::nullopt;
  readers_.push_back({.context = context});
  changed_.notify_all();
  return std::prev(readers_.end());
}

void Watches::GivePlace(std::list<Reader>::iterator reader) {
  MutexLock lock(mutex_);
  readers_.erase(reader);
}

void Watches::Supervise() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (readers_.empty()) {
      changed_.wait(mutex_);
      continue;
    }
    changed_.wait_for(mutex_, write_patience_ / kLooksPerPatience);
    const auto now = std::chrono::steady_clock::now();
    for (Reader& reader : readers_) {
      if (reader.writing_since && now - *reader.writing_since >= write_patience_) {
        reader.context.TryCancel();  // its Write returns false
      }
    }
  }
}

}  // namespace vmqd::rpc

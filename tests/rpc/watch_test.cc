// Watch over real gRPC on a unix socket: how a stream begins, goes on, starts over and ends, and
// what a reader that does not read costs. The history is the real one; what is there to look at
// comes from the test. Nothing is decided by time: tests wait for what must come.
#include "daemon/rpc/watch.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/answer.h"
#include "daemon/rpc/error.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "grpcpp/grpcpp.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace vmqd::rpc {
namespace {

using testing::ElementsAre;

class Service final : public v1::Vmqd::Service {
 public:
  explicit Service(Watches& watches) : watches_(watches) {}
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override {
    return ToGrpcStatus(watches_.Serve(*context, request->revision(), *writer));
  }

 private:
  Watches& watches_;
};

// A history that is watched, with ports "a" and "b" to look at.
class World {
 public:
  explicit World(const WatchLimits& limits = {})
      : watches_({.history = history,
                  .look = [this] { return Look(); },
                  .revision = [this]() -> uint64_t { return revision; }},
                 limits),
        service_(watches_),
        address_(absl::StrCat("unix-abstract:vmqd-watch-test-", getpid())) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~World() {
    history.Close();
    server_->Shutdown();
  }

  void Delete(const std::string& name) {
    history.Add({.revision = ++revision, .what = Deleted{name}});
  }
  void Tell(const std::string& message) {
    history.Add({.revision = ++revision, .what = Event{.reason = "TOLD", .message = message}});
  }

  std::unique_ptr<v1::Vmqd::Stub> Stub() const {
    // A connection for each, as for readers in different processes.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // the window stays at 64 KiB
    return v1::Vmqd::NewStub(
        grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
  }

  History history;
  std::atomic<uint64_t> revision = 10;
  std::atomic<int> looks = 0;

 private:
  Switch::Snapshot Look() {
    ++looks;
    Switch::Snapshot snapshot{.revision = revision, .uplinks = {{}}, .ports = {{}, {}}};
    snapshot.uplinks[0].config.id = "up";
    snapshot.ports[0].config.id = "a";
    snapshot.ports[1].config.id = "b";
    return snapshot;
  }

  Watches watches_;
  Service service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

class Reader {
 public:
  explicit Reader(World& world, uint64_t revision = 0) : stub_(world.Stub()) {
    v1::WatchRequest request;
    request.set_revision(revision);
    reader_ = stub_->Watch(&context_, request);
  }
  ~Reader() {
    if (reader_ == nullptr) return;
    context_.TryCancel();
    v1::WatchResponse rest;
    while (reader_->Read(&rest)) continue;
    reader_->Finish();
  }

  // "12 deleted ports/a"; "" at the end.
  std::string Next() {
    v1::WatchResponse response;
    if (!reader_->Read(&response)) return "";
    return absl::StrCat(response.revision(), " ", What(response));
  }
  std::vector<std::string> Next(int count) {
    std::vector<std::string> all;
    for (int i = 0; i < count; ++i) all.push_back(Next());
    return all;
  }
  bool Read(v1::WatchResponse& response) { return reader_->Read(&response); }
  grpc::Status End() {
    v1::WatchResponse rest;
    while (reader_->Read(&rest)) continue;
    const grpc::Status status = reader_->Finish();
    reader_.reset();
    return status;
  }

 private:
  static std::string What(const v1::WatchResponse& response) {
    switch (response.what_case()) {
      case v1::WatchResponse::kReset:
        return response.reset().reason().empty() ? "reset without a reason" : "reset";
      case v1::WatchResponse::kSynced:
        return "synced";
      case v1::WatchResponse::kUplink:
        return response.uplink().name();
      case v1::WatchResponse::kPort:
        return response.port().name();
      case v1::WatchResponse::kDeleted:
        return absl::StrCat("deleted ", response.deleted());
      case v1::WatchResponse::kEvent:
        return absl::StrCat("event ", response.event().message());
      default:
        return "nothing";
    }
  }

  std::unique_ptr<v1::Vmqd::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
};

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details().empty()) return "";
  details.details(0).UnpackTo(&info);
  return info.reason();
}

TEST(Watch, BeginsWithAllThatIsThere) {
  World world;
  Reader reader(world);
  EXPECT_THAT(reader.Next(5),
              ElementsAre("0 reset", "0 uplinks/up", "0 ports/a", "0 ports/b", "10 synced"));
  world.Delete("ports/a");
  world.Tell("b is alone");
  EXPECT_THAT(reader.Next(2), ElementsAre("11 deleted ports/a", "12 event b is alone"));
}

TEST(Watch, GoesOnFromARevision) {
  World world;
  for (const char* name : {"11", "12", "13"}) world.Delete(name);
  Reader reader(world, 11);
  EXPECT_THAT(reader.Next(2), ElementsAre("12 deleted 12", "13 deleted 13"));
  Reader at_the_end(world, 13);
  world.Delete("14");
  EXPECT_EQ(at_the_end.Next(), "14 deleted 14");
  EXPECT_EQ(world.looks, 0);
}

TEST(Watch, StartsOverFromARevisionThatWasNeverGivenOut) {
  World world;
  Reader reader(world, 1000);
  EXPECT_THAT(reader.Next(5),
              ElementsAre("0 reset", "0 uplinks/up", "0 ports/a", "0 ports/b", "10 synced"));
}

TEST(Watch, StartsOverFromARevisionBeforeTheBeginning) {
  World world;
  world.history.BeginAt(10);
  Reader reader(world, 9);
  // 9 again until all was sent: whoever is cut off in between starts over once more.
  EXPECT_THAT(reader.Next(5),
              ElementsAre("9 reset", "9 uplinks/up", "9 ports/a", "9 ports/b", "10 synced"));
}

TEST(Watch, OnlySoManyAtATime) {
  World world({.watchers = 2});
  auto first = std::make_unique<Reader>(world);
  Reader second(world);
  EXPECT_EQ(first->Next(), "0 reset");
  EXPECT_EQ(second.Next(), "0 reset");
  const grpc::Status refused = Reader(world).End();
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED) << refused.error_message();
  EXPECT_EQ(ReasonOf(refused), "TOO_MANY_WATCHERS");
  first.reset();
  while (Reader(world).Next() != "0 reset") continue;  // its place is given back
}

TEST(Watch, EndsWithTheHistory) {
  World world;
  Reader reader(world);
  EXPECT_EQ(reader.Next(), "0 reset");
  world.history.Close();
  const grpc::Status status = reader.End();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "SHUTTING_DOWN");
}

// Far more than the history holds happens while a reader does not read; what it then gets is a
// piece without gaps, a reset, all that is there, and what comes after that.
TEST(Watch, ASlowReaderIsResetAndCostsNothing) {
  constexpr size_t kBytes = 4096;
  constexpr size_t kMost = 1 << 20;  // what lies in socket and window; all in all it is 48 MiB
  World world;
  Reader slow(world);
  EXPECT_THAT(slow.Next(5).back(), "10 synced");
  for (size_t i = 0; i < 3 * History::kItems; ++i) world.Tell(std::string(kBytes, 'x'));

  v1::WatchResponse response;
  uint64_t at = 10;
  while (slow.Read(response) && response.has_event()) {
    ASSERT_EQ(response.revision(), at + 1);
    at = response.revision();
  }
  ASSERT_TRUE(response.has_reset()) << response.ShortDebugString();
  EXPECT_LT((at - 10) * kBytes, kMost);
  EXPECT_EQ(response.revision(), at);
  EXPECT_THAT(slow.Next(4).back(), absl::StrCat(world.revision.load(), " synced"));
  world.Tell("more");
  EXPECT_EQ(slow.Next(), absl::StrCat(world.revision.load(), " event more"));
}

TEST(Watch, AStuckReaderLosesItsPlace) {
  World world({.watchers = 1, .write_patience = std::chrono::milliseconds(100)});
  Reader stuck(world);
  EXPECT_THAT(stuck.Next(5).back(), "10 synced");
  for (int i = 0; i < 1000; ++i) world.Tell(std::string(65536, 'x'));
  while (Reader(world).Next() != "0 reset") continue;  // the place becomes free
  EXPECT_EQ(stuck.End().error_code(), grpc::CANCELLED);
}

// Whether a reader that waits four times the patience for something to read gets it then.
bool KeepsItsPlace(std::chrono::milliseconds patience) {
  World world({.watchers = 1, .write_patience = patience});
  Reader patient(world);
  if (patient.Next(5).back() != "10 synced") return false;
  std::this_thread::sleep_for(4 * patience);
  world.Tell("at last");
  return patient.Next() == "11 event at last";
}

// On a busy machine a write itself may outlast a short patience, and the reader rightly loses its
// place; so it is tried with longer ones. If waiting counted as writing, none would do.
TEST(Watch, AReaderWithNothingToReadKeepsItsPlace) {
  std::chrono::milliseconds patience(10);
  while (!KeepsItsPlace(patience)) {
    patience *= 4;
    ASSERT_LT(patience, std::chrono::seconds(5));
  }
}

// An rpc whose caller no longer waits does nothing.
TEST(CheckWaitedFor, DeadlineAndCancellation) {
  // The real context of a real call, as the handler sees it.
  struct Probe final : v1::Vmqd::Service {
    grpc::Status GetSwitch(grpc::ServerContext* context, const v1::GetSwitchRequest*,
                           v1::Switch*) override {
      at_first = CheckWaitedFor(*context);
      while (CheckWaitedFor(*context).ok()) usleep(1000);
      at_last = CheckWaitedFor(*context);
      return grpc::Status::OK;
    }
    absl::Status at_first;
    absl::Status at_last;
  } probe;
  const std::string address = absl::StrCat("unix-abstract:vmqd-deadline-test-", getpid());
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&probe);
  auto server = builder.BuildAndStart();
  const auto stub =
      v1::Vmqd::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::Switch response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  // What the caller hears is a race that does not matter: the answer may be on its way already.
  stub->GetSwitch(&context, {}, &response);
  server->Shutdown();
  server->Wait();
  EXPECT_TRUE(probe.at_first.ok()) << probe.at_first;
  EXPECT_TRUE(absl::IsDeadlineExceeded(probe.at_last) || absl::IsCancelled(probe.at_last))
      << probe.at_last;
}

}  // namespace
}  // namespace vmqd::rpc

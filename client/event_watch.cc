// vmqd-cli event watch. A watch survives the daemon: it waits, says so, and goes on behind the last
// revision that it has seen.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/event.h"
#include "client/interrupt.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

constexpr std::chrono::milliseconds kBetweenTries{200};

class Watcher {
 public:
  Watcher(const Session& session, Connection& connection, bool all, uint64_t since)
      : session_(session), connection_(connection), all_(all), revision_(since), event_(since) {}

  int Run() {
    bool ever = false, lost = false;
    while (true) {
      v1::Switch sw;
      auto status = connection_.Call(&Stub::GetSwitch, v1::GetSwitchRequest(), &sw);
      if (status.ok()) {
        if (lost) std::cerr << "vmqd-cli: connected again\n";
        ever = true;
        lost = false;
        // From now on; revision 0 would begin with all there is.
        if (revision_ == 0 && !all_) revision_ = event_ = sw.revision();
        status = Follow();
      }
      if (interrupt_.came() || !std::cout) return kDone;
      if (!ever || !MayPass(status)) return Fail(connection_, status);
      if (!lost) {
        std::cerr << "vmqd-cli: lost the connection to vmqd behind revision " << revision_
                  << "; waiting for it to come back\n";
      }
      lost = true;
      std::this_thread::sleep_for(kBetweenTries);
    }
  }

 private:
  // One stream, until it ends.
  grpc::Status Follow() {
    grpc::ClientContext context;
    interrupt_.Set(&context);
    v1::WatchRequest request;
    request.set_revision(revision_);
    const auto reader = connection_.stub().Watch(&context, request);
    v1::WatchResponse response;
    while (reader->Read(&response)) {
      Take(response);
      std::cout.flush();
      if (!std::cout) context.TryCancel();
    }
    interrupt_.Set(nullptr);
    return reader->Finish();
  }

  void Take(const v1::WatchResponse& response) {
    // The first of a watch that asked for all there is needs no explanation.
    if (response.has_reset() && revision_ != 0) {
      std::cerr << "vmqd-cli: events may be missing here: " << response.reset().reason() << "\n";
      CatchUp();
    }
    revision_ = std::max(revision_, response.revision());
    if (response.has_event() && response.event().revision() <= event_) return;
    if (response.has_event()) event_ = response.event().revision();
    if (all_ || response.has_event()) Print(response);
  }

  // Events are remembered longer than a watch can go back.
  void CatchUp() {
    v1::ListEventsResponse all;
    if (!connection_.CallForAll(&Stub::ListEvents, v1::ListEventsRequest(), &all).ok()) return;
    for (const v1::Event& event : all.events()) {
      if (event.revision() <= event_) continue;
      event_ = event.revision();
      v1::WatchResponse response;
      response.set_revision(event.revision());
      *response.mutable_event() = event;
      Print(response);
    }
  }

  void Print(const v1::WatchResponse& response) {
    if (session_.output == "json") {
      if (all_) {
        std::cout << ToJsonLine(response) << "\n";
      } else {
        std::cout << ToJsonLine(response.event()) << "\n";
      }
    } else if (session_.output == "yaml") {
      std::cout << "---\n";
      PrintAs("yaml", all_ ? ToJson(response) : ToJson(response.event()), [] {});
    } else {
      std::cout << Line(response) << "\n";
    }
  }

  static std::string Line(const v1::WatchResponse& response) {
    switch (response.what_case()) {
      case v1::WatchResponse::kEvent: {
        const v1::Event& event = response.event();
        return absl::StrCat(TimeText(event.time()), "  ",
                            EnumText(v1::Severity_Name(event.severity())), "  ",
                            ResourceText(event), "  ", event.reason(), "  ", event.message());
      }
      case v1::WatchResponse::kUplink:
        return Put(response.uplink());
      case v1::WatchResponse::kPort:
        return Put(response.port());
      case v1::WatchResponse::kDeleted:
        return absl::StrCat(response.deleted(), "  deleted");
      case v1::WatchResponse::kReset:
        return absl::StrCat("reset  ", response.reset().reason());
      case v1::WatchResponse::kSynced:
        return "synced  this is all there is";
      case v1::WatchResponse::WHAT_NOT_SET:
        break;
    }
    return absl::StrCat("revision ", response.revision());
  }

  template <typename Resource>
  static std::string Put(const Resource& resource) {
    return absl::StrCat(resource.name(), "  ",
                        EnumText(v1::OperStatus_Name(resource.oper_status())),
                        resource.oper_reason().empty() ? "" : ": ", resource.oper_reason());
  }

  const Session& session_;
  Connection& connection_;
  const bool all_;
  uint64_t revision_;  // handled; where to go on
  uint64_t event_;     // the last one printed
  Interrupt interrupt_;
};

}  // namespace

int WatchEvents(const Session& session, Connection& connection, bool all, uint64_t since) {
  return Watcher(session, connection, all, since).Run();
}

}  // namespace vmqd::cli

// vmqd-cli top: CPUs, queues, the busiest ports and the latest moves, again and again; on a
// terminal in place.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/command.h"
#include "client/interrupt.h"
#include "client/look.h"
#include "client/output.h"
#include "client/repeat.h"
#include "client/screen.h"
#include "client/top_text.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;
using std::chrono::steady_clock;

constexpr int kMovesKept = 8;

// Looks at the switch: three calls, and a fourth when something has happened since the look before.
class Looker {
 public:
  explicit Looker(Connection& connection) : connection_(connection) {}

  grpc::Status LookAgain() {
    Sight look;
    look.time = Now();
    auto status = connection_.Call(&Stub::GetSwitch, v1::GetSwitchRequest(), &look.sw);
    v1::ListQueuesRequest of_all;
    of_all.set_parent("uplinks/-");
    if (status.ok()) status = connection_.CallForAll(&Stub::ListQueues, of_all, &look.queues);
    if (status.ok()) {
      status = connection_.CallForAll(&Stub::ListPorts, v1::ListPortsRequest(), &look.ports);
    }
    if (status.ok() && look.sw.revision() != look_.sw.revision()) {
      status = GetMoves(look.moves);
    } else {
      look.moves = look_.moves;
    }
    if (!status.ok()) return status;
    drop_rates_ = DropRates(look_, look);
    look_ = std::move(look);
    return status;
  }

  const Sight& look() const { return look_; }
  std::vector<ShownLine> Lines(const std::optional<TerminalSize>& size) const {
    return TopLines(look_, drop_rates_, size);
  }

  // From the next look on, moves that were seen are not shown again.
  void ForgetMoves() {
    for (const v1::Event& move : look_.moves.events()) seen_ = move.revision();
    look_.moves.Clear();
  }

 private:
  grpc::Status GetMoves(v1::ListEventsResponse& moves) {
    v1::ListEventsResponse all;
    const auto status = connection_.CallForAll(&Stub::ListEvents, v1::ListEventsRequest(), &all);
    for (const v1::Event& event : all.events()) {
      if (IsMove(event) && event.revision() > seen_) *moves.add_events() = event;
    }
    if (moves.events_size() > kMovesKept) {
      moves.mutable_events()->DeleteSubrange(0, moves.events_size() - kMovesKept);
    }
    return status;
  }

  Connection& connection_;
  Sight look_;  // empty before the first
  std::map<std::string, double> drop_rates_;
  uint64_t seen_ = 0;  // revision of the last move that is not to be shown again
};

void Print(const Session& session, const Looker& looker, bool first) {
  if (session.output != "table") {
    if (session.output == "yaml") std::cout << "---\n";
    PrintAs(session.output, LookJson(looker.look()), [] {});
    return;
  }
  if (!first) std::cout << "\n";
  for (const ShownLine& line : looker.Lines(std::nullopt)) std::cout << line.text << "\n";
}

int TopInLines(const Session& session, Connection& connection, const Repetition& repetition) {
  Looker looker(connection);
  bool first = true;
  return Repeat(connection, repetition, [&] {
    const auto status = looker.LookAgain();
    if (!status.ok()) return status;
    Print(session, looker, std::exchange(first, false));
    looker.ForgetMoves();
    return status;
  });
}

// Until Ctrl-C, q, or enough looks; the status of the daemon that there never was.
grpc::Status TopOnScreen(Screen& screen, Connection& connection, const Repetition& repetition) {
  Interrupt interrupt;
  connection.EndBy(interrupt);
  Looker looker(connection);
  auto next = steady_clock::now();
  bool ever = false;
  for (uint64_t looks = 0; repetition.count == 0 || looks < repetition.count; ++looks) {
    const auto status = looker.LookAgain();
    if (interrupt.came()) break;
    if (!status.ok() && (!ever || !MayPass(status))) return status;
    ever = true;
    next = std::max(next + repetition.interval(), steady_clock::now());
    while (true) {
      std::vector<ShownLine> lines = looker.Lines(screen.size());
      if (!status.ok()) {
        lines.front() = {"lost the connection to vmqd; waiting for it to come back", true};
      }
      screen.Show(lines);
      if (screen.QuitPressed() || interrupt.came()) return grpc::Status::OK;
      if (steady_clock::now() >= next) break;
      interrupt.Sleep(next, STDIN_FILENO);
    }
  }
  return grpc::Status::OK;
}

int Top(const Session& session, Connection& connection, const Repetition& repetition) {
  auto screen = session.output == "table" ? Screen::Open() : nullptr;
  if (screen == nullptr) return TopInLines(session, connection, repetition);
  const auto status = TopOnScreen(*screen, connection, repetition);
  screen.reset();  // what Fail says is to stay
  return status.ok() ? kDone : Fail(connection, status);
}

}  // namespace

void AddTopCommand(CLI::App& app, Session& session) {
  auto repetition = std::make_shared<Repetition>();
  CLI::App& verb =
      AddVerb(app, session, "top",
              "Show CPUs, queues, the busiest ports and the latest moves as they happen; q quits",
              "vmqd-cli top\n  vmqd-cli top --interval 5 --count 12 | tee load.txt",
              [&session, repetition](Connection& connection) {
                return Top(session, connection, *repetition);
              });
  AddRepetition(verb, *repetition);
}

}  // namespace vmqd::cli

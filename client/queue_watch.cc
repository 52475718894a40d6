// vmqd-cli queue watch: a line per queue, again and again, to be read from top to bottom or by a
// program.
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/output.h"
#include "client/queue_watch.h"
#include "client/repeat.h"

namespace vmqd::cli {
namespace {

using google::protobuf::Timestamp;

constexpr int kBarCells = 14;
// Not a Table, whose columns are as wide as what is in them: lines of different looks shall be
// aligned, and the next look is not known.
constexpr char kFormat[] = "%-8s  %-16s %3s  %s %5s  %6s  %7s  %6s\n";

void PrintLines(const Timestamp& time, const v1::ListQueuesResponse& queues) {
  for (const v1::Queue& queue : queues.queues()) {
    double lost = 0;
    for (const v1::Load& load : queue.loads()) {
      if (load.seconds() == 1) lost = load.lost_pps();
    }
    std::cout << absl::StrFormat(
        kFormat, ClockText(time), ShortQueueName(queue.name()), absl::StrCat(queue.cpu()),
        Bar(queue.busy_percent(), 0, kBarCells), absl::StrFormat("%.1f", queue.busy_percent()),
        Rate(queue.rates().in_pps()), Rate(queue.rates().out_pps()), Rate(lost));
  }
}

int Watch(const Session& session, Connection& connection, const std::string& uplink,
          const Repetition& repetition) {
  v1::ListQueuesRequest request;
  request.set_parent(FullName("uplinks/", uplink.empty() ? "-" : uplink));
  bool head = session.output == "table";
  return Repeat(connection, repetition, [&] {
    v1::ListQueuesResponse all;
    const auto status = connection.CallForAll(&Connection::Stub::ListQueues, request, &all);
    if (!status.ok()) return status;
    const Timestamp now = Now();
    if (head) {
      std::cout << absl::StrFormat(kFormat, "TIME", "QUEUE", "CPU",
                                   std::string(kBarCells + 2, ' ').replace(0, 4, "BUSY"), "BUSY%",
                                   "IN-PPS", "OUT-PPS", "LOST/S");
      head = false;
    }
    if (session.output == "table") {
      PrintLines(now, all);
      return status;
    }
    for (const v1::Queue& queue : all.queues()) {
      const std::string json =
          absl::StrCat("{\"time\":", ToJsonLine(now), ",\"queue\":", ToJsonLine(queue), "}");
      if (session.output == "yaml") std::cout << "---\n";
      PrintAs(session.output, json, [] {});
    }
    return status;
  });
}

}  // namespace

void AddQueueWatchVerb(CLI::App& resource, Session& session) {
  auto uplink = std::make_shared<std::string>();
  auto repetition = std::make_shared<Repetition>();
  CLI::App& verb =
      AddVerb(resource, session, "watch", "Print a line per queue, again and again, until Ctrl-C",
              "vmqd-cli queue watch --uplink eth1\n"
              "  vmqd-cli queue watch --interval 0.5 --count 20 -o json",
              [&session, uplink, repetition](Connection& connection) {
                return Watch(session, connection, *uplink, *repetition);
              });
  verb.add_option("--uplink", *uplink, "Only this uplink's");
  AddRepetition(verb, *repetition);
}

}  // namespace vmqd::cli

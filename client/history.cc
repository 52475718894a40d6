// vmqd-cli port history, queue history: what happened to one of them, as far as vmqd remembers.
// Where it was moved, the messages say what was expected of the move and what it gained.
#include "client/history.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/event.h"
#include "client/history_text.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

int Print(const Session& session, const v1::ListEventsResponse& history) {
  PrintAs(session.output, history, [&] {
    Table table({{"TIME"}, {"RESOURCE"}, {"REASON"}, {"MESSAGE"}});
    for (const v1::Event& event : history.events()) {
      table.AddRow({TimeText(event.time()), ResourceText(event), event.reason(), event.message()});
    }
    table.Print();
  });
  return kDone;
}

// `missing`: how asking for the resource failed; one that is gone may have a history yet.
int Show(const Session& session, Connection& connection, const std::string& resource,
         const std::string& home, const grpc::Status& missing) {
  if (!missing.ok() && missing.error_code() != grpc::StatusCode::NOT_FOUND) {
    return Fail(connection, missing);
  }
  v1::ListEventsResponse all;
  const auto status = connection.CallForAll(&Stub::ListEvents, v1::ListEventsRequest(), &all);
  if (!status.ok()) return Fail(connection, status);
  const v1::ListEventsResponse history = HistoryOf(all, resource, home);
  if (!missing.ok() && history.events().empty()) return Fail(connection, missing);
  return Print(session, history);
}

int OfPort(const Session& session, Connection& connection, const std::string& name) {
  v1::GetPortRequest request;
  request.set_name(FullName("ports/", name));
  v1::Port port;
  const auto status = connection.Call(&Stub::GetPort, request, &port);
  const std::string home =
      status.ok() ? absl::StrCat(port.uplink(), "/queues/", port.effective_queue()) : "";
  return Show(session, connection, request.name(), home, status);
}

int OfQueue(const Session& session, Connection& connection, const std::string& uplink,
            uint32_t number) {
  v1::GetQueueRequest request;
  request.set_name(absl::StrCat(FullName("uplinks/", uplink), "/queues/", number));
  v1::Queue queue;
  const auto status = connection.Call(&Stub::GetQueue, request, &queue);
  return Show(session, connection, request.name(), "", status);
}

}  // namespace

void AddPortHistoryVerb(CLI::App& resource, Session& session) {
  auto name = std::make_shared<std::string>();
  AddVerb(resource, session, "history",
          "Say what happened to a port, moves of its home queue included, oldest first",
          "vmqd-cli port history vm1",
          [&session, name](Connection& connection) { return OfPort(session, connection, *name); })
      .add_option("NAME", *name, "Name of the port")
      ->required();
}

void AddQueueHistoryVerb(CLI::App& resource, Session& session) {
  auto uplink = std::make_shared<std::string>();
  auto number = std::make_shared<uint32_t>(0);
  CLI::App& verb = AddVerb(
      resource, session, "history", "Say to which CPUs a queue was moved and why, oldest first",
      "vmqd-cli queue history eth1 2", [&session, uplink, number](Connection& connection) {
        return OfQueue(session, connection, *uplink, *number);
      });
  verb.add_option("UPLINK", *uplink, "Name of the uplink")->required();
  verb.add_option("QUEUE", *number, "Number of the queue")->required();
}

}  // namespace vmqd::cli

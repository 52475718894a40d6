// vmqd-cli event list|watch: what happened, and what happens. The watch itself is in
// event_watch.cc.
#include "client/event.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

int List(const Session& session, Connection& connection, uint64_t since) {
  v1::ListEventsResponse all;
  const auto status = connection.CallForAll(&Stub::ListEvents, v1::ListEventsRequest(), &all);
  if (!status.ok()) return Fail(connection, status);
  v1::ListEventsResponse wanted;
  for (const v1::Event& event : all.events()) {
    if (event.revision() > since) *wanted.add_events() = event;
  }
  PrintAs(session.output, wanted, [&] {
    Table table({{"REVISION", Table::Align::kRight},
                 {"TIME"},
                 {"SEVERITY"},
                 {"RESOURCE"},
                 {"REASON"},
                 {"MESSAGE"}});
    for (const v1::Event& event : wanted.events()) {
      table.AddRow({absl::StrCat(event.revision()), TimeText(event.time()),
                    EnumText(v1::Severity_Name(event.severity())), ResourceText(event),
                    event.reason(), event.message()});
    }
    table.Print();
  });
  return kDone;
}

}  // namespace

std::string ResourceText(const v1::Event& event) {
  return event.resource().empty() ? "switch" : event.resource();
}

void AddEventCommands(CLI::App& app, Session& session) {
  CLI::App& resource = AddResource(app, "event", "What happened to the switch, and what happens");
  auto since = std::make_shared<uint64_t>(0);
  auto all = std::make_shared<bool>(false);
  AddVerb(resource, session, "list", "List the latest events, oldest first", "vmqd-cli event list",
          [&session, since](Connection& connection) { return List(session, connection, *since); })
      .add_option("--since", *since, "Only events behind this revision")
      ->type_name("REVISION");
  CLI::App& watch = AddVerb(resource, session, "watch", "Print events as they happen, until Ctrl-C",
                            "vmqd-cli event watch\n  vmqd-cli event watch --all -o json",
                            [&session, since, all](Connection& connection) {
                              return WatchEvents(session, connection, *all, *since);
                            });
  watch.add_option("--since", *since, "Begin behind this revision instead of now")
      ->type_name("REVISION");
  watch.add_flag("--all", *all, "Also uplinks and ports: what they are, then each change");
}

}  // namespace vmqd::cli

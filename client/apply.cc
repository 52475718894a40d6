// vmqd-cli apply: makes the switch equal to a file. Looks, plans (plan.h), has the daemon check
// what it can check beforehand, and only then makes the calls, one by one. Each carries the etag of
// what was seen, so that a change by somebody else in between stops it, and a request id, so that a
// call whose answer was lost can be made again.
#include "client/apply.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command.h"
#include "client/name.h"
#include "client/output.h"
#include "client/plan.h"
#include "client/plan_text.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

struct ApplyOptions {
  std::string file;
  bool dry_run = false;
  bool prune = false;
};

void SetId(v1::CreateUplinkRequest& request, const std::string& id) { request.set_uplink_id(id); }
void SetId(v1::CreatePortRequest& request, const std::string& id) { request.set_port_id(id); }
v1::Uplink* ResourceIn(v1::CreateUplinkRequest& request) { return request.mutable_uplink(); }
v1::Uplink* ResourceIn(v1::UpdateUplinkRequest& request) { return request.mutable_uplink(); }
v1::Port* ResourceIn(v1::CreatePortRequest& request) { return request.mutable_port(); }
v1::Port* ResourceIn(v1::UpdatePortRequest& request) { return request.mutable_port(); }

// Makes the calls of one plan.
class Caller {
 public:
  Caller(Connection& connection, const Plan& plan)
      : connection_(connection), plan_(plan), run_(RandomId()) {}

  grpc::Status Make(size_t step, bool validate_only) {
    const Step& what = plan_.steps[step];
    const Change& change = plan_.changes[what.change];
    const std::string id = validate_only ? "" : absl::StrCat("apply-", run_, "-", step);
    if (what.call == Step::Call::kDelete) {
      return change.name.starts_with("uplinks/")
                 ? Delete<v1::DeleteUplinkRequest>(&Stub::DeleteUplink, change, id)
                 : Delete<v1::DeletePortRequest>(&Stub::DeletePort, change, id);
    }
    const bool create = what.call == Step::Call::kCreate;
    if (const auto* uplink = std::get_if<v1::Uplink>(&change.wanted)) {
      return create ? Create<v1::CreateUplinkRequest>(&Stub::CreateUplink, *uplink, id)
                    : Update<v1::UpdateUplinkRequest>(&Stub::UpdateUplink, *uplink, change, id);
    }
    const auto& port = std::get<v1::Port>(change.wanted);
    return create ? Create<v1::CreatePortRequest>(&Stub::CreatePort, port, id)
                  : Update<v1::UpdatePortRequest>(&Stub::UpdatePort, port, change, id);
  }

 private:
  static std::string RandomId() {
    std::string id;
    std::getline(std::ifstream("/proc/sys/kernel/random/uuid"), id);
    return id;
  }

  template <typename Request, typename Rpc>
  grpc::Status Delete(Rpc rpc, const Change& change, const std::string& id) {
    Request request;
    request.set_name(change.name);
    request.set_etag(change.etag);
    google::protobuf::Empty nothing;
    return Send(rpc, request, id, &nothing);
  }

  template <typename Request, typename Rpc, typename Wanted>
  grpc::Status Create(Rpc rpc, const Wanted& wanted, const std::string& id) {
    Request request;
    SetId(request, ShortName(wanted.name()));
    *ResourceIn(request) = wanted;
    Wanted answer;
    return Send(rpc, request, id, &answer);
  }

  template <typename Request, typename Rpc, typename Wanted>
  grpc::Status Update(Rpc rpc, const Wanted& wanted, const Change& change, const std::string& id) {
    Request request;
    *ResourceIn(request) = wanted;
    ResourceIn(request)->set_etag(change.etag);
    for (const FieldChange& field : change.fields) {
      request.mutable_update_mask()->add_paths(field.field);
    }
    Wanted answer;
    return Send(rpc, request, id, &answer);
  }

  // Without an id nothing is to be changed. Once more when there was no answer: the id keeps the
  // change from being made twice.
  template <typename Request, typename Rpc, typename Response>
  grpc::Status Send(Rpc rpc, Request& request, const std::string& id, Response* answer) {
    request.set_validate_only(id.empty());
    request.set_request_id(id);
    const grpc::Status status = connection_.Call(rpc, request, answer);
    const bool answered = status.error_code() != grpc::StatusCode::UNAVAILABLE &&
                          status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED;
    return answered || id.empty() ? status : connection_.Call(rpc, request, answer);
  }

  Connection& connection_;
  const Plan& plan_;
  const std::string run_;
};

// What the daemon would refuse, as far as it can say so before anything is changed. Sentences; an
// exit code other than kDone: it could not be asked.
struct Rehearsal {
  std::vector<std::string> refusals;
  int exit_code = kDone;
};
Rehearsal Rehearse(Connection& connection, const Plan& plan, Caller& caller) {
  Rehearsal rehearsal;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    if (!plan.steps[i].independent) continue;
    const grpc::Status status = caller.Make(i, /*validate_only=*/true);
    if (status.ok()) continue;
    std::cerr << "vmqd-cli: cannot " << StepText(plan, plan.steps[i]) << "\n";
    const int exit_code = Fail(connection, status);
    rehearsal.exit_code = std::max(rehearsal.exit_code, exit_code);
    if (exit_code != kRefused) return rehearsal;
    rehearsal.refusals.push_back(
        absl::StrCat(StepText(plan, plan.steps[i]), ": ", status.error_message()));
  }
  return rehearsal;
}

void SayWhatIsNotDone(const Plan& plan, size_t done, const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::ABORTED ||
      status.error_code() == grpc::StatusCode::ALREADY_EXISTS ||
      status.error_code() == grpc::StatusCode::NOT_FOUND) {
    std::cerr << "  somebody else changes the switch too: look, then run apply again\n";
  }
  std::cerr << "vmqd-cli: stopped after " << done << " of " << plan.steps.size()
            << " steps: " << CountText(plan, done) << "; not done:\n";
  for (size_t i = done; i < plan.steps.size(); ++i) {
    std::cerr << "  " << StepText(plan, plan.steps[i]) << "\n";
  }
}

void SayWhatIsKept(const Plan& plan) {
  if (plan.extra.empty()) return;
  std::cout << "not in the file and kept: " << absl::StrJoin(plan.extra, ", ")
            << " (--prune deletes what is not in the file)\n";
}

int Carry(const Session& session, Connection& connection, const Plan& plan, Caller& caller) {
  const bool table = session.output == "table";
  size_t done = 0;
  int exit_code = kDone;
  for (; done < plan.steps.size() && exit_code == kDone; ++done) {
    const grpc::Status status = caller.Make(done, /*validate_only=*/false);
    if (!status.ok()) {
      exit_code = Fail(connection, status);
      SayWhatIsNotDone(plan, done, status);
      break;
    }
    if (!table) continue;
    std::cout << absl::StrCat("[", done + 1, "/", plan.steps.size(), "] ",
                              DoneText(plan, plan.steps[done]))
              << std::endl;
  }
  PrintAs(session.output, table ? "" : PlanJson(plan, done, {}), [&] {
    SayWhatIsKept(plan);
    if (exit_code == kDone) std::cout << CountText(plan, done) << "\n";
  });
  return exit_code;
}

int Apply(const Session& session, Connection& connection, const ApplyOptions& options) {
  const auto refuse = [](const absl::Status& status) {
    std::cerr << "vmqd-cli: " << std::string(status.message()) << "\n  nothing was changed\n";
    return kUsage;
  };
  const auto file = ReadSwitchConfig(options.file);
  if (!file.ok()) return refuse(file.status());
  v1::SwitchConfig seen;
  if (const auto status = Look(connection, &seen); !status.ok()) return Fail(connection, status);
  const auto plan = MakePlan(*file, seen, options.prune);
  if (!plan.ok()) return refuse(plan.status());

  Caller caller(connection, *plan);
  const Rehearsal rehearsal = Rehearse(connection, *plan, caller);
  const auto show = [&](const char* last) {
    PrintAs(session.output, PlanJson(*plan, 0, rehearsal.refusals), [&] {
      std::cout << DiffText(*plan);
      SayWhatIsKept(*plan);
      std::cout << last << "\n";
    });
    return rehearsal.exit_code;
  };
  if (rehearsal.exit_code != kDone) {
    return show("nothing was changed");
  }
  if (plan->steps.empty()) return show("nothing to do");
  if (options.dry_run) return show(absl::StrCat(ToDoText(*plan), "; nothing was changed").c_str());
  return Carry(session, connection, *plan, caller);
}

}  // namespace

grpc::Status Look(Connection& connection, v1::SwitchConfig* seen) {
  v1::ListUplinksResponse uplinks;
  grpc::Status status =
      connection.CallForAll(&Stub::ListUplinks, v1::ListUplinksRequest(), &uplinks);
  if (!status.ok()) return status;
  v1::ListPortsResponse ports;
  status = connection.CallForAll(&Stub::ListPorts, v1::ListPortsRequest(), &ports);
  seen->mutable_uplinks()->Swap(uplinks.mutable_uplinks());
  seen->mutable_ports()->Swap(ports.mutable_ports());
  return status;
}

void AddApplyCommand(CLI::App& app, Session& session) {
  auto options = std::make_shared<ApplyOptions>();
  CLI::App& verb = AddVerb(
      app, session, "apply", "Make the switch equal to a file; doing it again does nothing",
      "vmqd-cli switch export -f switch.yaml\n"
      "  vmqd-cli apply -f switch.yaml --dry-run\n"
      "  vmqd-cli apply -f switch.yaml --prune\n\n"
      "What --dry-run and an apply that cannot be done show:\n"
      "  + created   ~ updated while traffic runs   -/+ deleted and created again   - deleted\n\n"
      "Exit codes: 0 the switch is as the file says, or with --dry-run, nothing stands in the\n"
      "way; 1 the daemon refused a step; 2 the file is wrong; 3 the daemon cannot be reached.",
      [&session, options](Connection& connection) { return Apply(session, connection, *options); });
  verb.add_option("-f,--file", options->file, "YAML of uplinks and ports; -: standard input")
      ->required()
      ->type_name("FILE");
  verb.add_flag("--dry-run", options->dry_run, "Show what would be done, and change nothing");
  verb.add_flag("--prune", options->prune, "Delete the uplinks and ports that are not in the file");
}

}  // namespace vmqd::cli

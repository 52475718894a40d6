// vmqd-cli queue set|rebalance: where queues and ports are to be.
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/output.h"
#include "client/queue.h"
#include "client/uplink.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

// "uplinks/eth1" and 3, of "uplinks/eth1/queues/3".
bool ParseQueueName(const std::string& name, std::string* uplink, uint32_t* queue) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(name, absl::MaxSplits("/queues/", 1));
  *uplink = parts.first;
  return uplink->starts_with("uplinks/") && absl::SimpleAtoi(parts.second, queue);
}

struct PinOptions {
  std::string name, cpu;
};

int PinQueue(const Session& session, Connection& connection, const PinOptions& options) {
  std::string name;
  uint32_t number = 0;
  ParseQueueName(options.name, &name, &number);
  v1::UpdateUplinkRequest change;
  v1::Uplink uplink;
  grpc::Status status = ReadUplink(connection, name, change.mutable_uplink());
  FillBalance({.pins = {absl::StrCat(number, "=", options.cpu)}}, change.mutable_uplink());
  change.mutable_update_mask()->add_paths("queue_cpus");
  if (status.ok()) status = connection.Call(&Stub::UpdateUplink, change, &uplink);
  v1::GetQueueRequest get;
  get.set_name(options.name);
  v1::Queue queue;
  if (status.ok()) status = connection.Call(&Stub::GetQueue, get, &queue);
  if (!status.ok()) return Fail(connection, status);
  PrintAs(session.output, queue, [&] {
    std::cout << "queue " << number << " of " << ShortName(name) << " set: CPU " << queue.cpu()
              << (queue.pinned() ? ", pinned" : ", chosen by vmqd") << "\n";
  });
  return kDone;
}

std::string ForecastText(const v1::CpuForecast& cpu) {
  return absl::StrFormat("CPU %d: %.0f -> %.0f %%", cpu.cpu(), cpu.percent_before(),
                         cpu.percent_after());
}

void PrintRebalance(const v1::RebalanceResponse& response, bool dry_run) {
  if (response.moves().empty()) {
    std::cout << (dry_run ? "nothing would be moved\n" : "nothing was moved\n");
  } else {
    Table moves({{dry_run ? "WOULD MOVE" : "MOVED"}, {"FROM"}, {"TO"}, {"LOAD THERE"}, {"HERE"}});
    for (const v1::Move& move : response.moves()) {
      const std::string to_queue =
          move.to_queue().empty() ? "" : absl::StrCat("queue ", ShortName(move.to_queue()), ", ");
      moves.AddRow({move.resource(), absl::StrCat("CPU ", move.from_cpu()),
                    absl::StrCat(to_queue, "CPU ", move.to_cpu()), ForecastText(move.from()),
                    ForecastText(move.to())});
    }
    moves.Print();
    for (const v1::Move& move : response.moves()) std::cout << move.reason() << "\n";
  }
  std::cout << "\n";
  constexpr auto kRight = Table::Align::kRight;
  Table forecast({{"CPU", kRight}, {"BEFORE%", kRight}, {"AFTER%", kRight}});
  for (const v1::CpuForecast& cpu : response.forecast()) {
    forecast.AddRow({absl::StrCat(cpu.cpu()), absl::StrFormat("%.0f", cpu.percent_before()),
                     absl::StrFormat("%.0f", cpu.percent_after())});
  }
  forecast.Print();
  for (const std::string& remark : response.remarks()) std::cout << remark << "\n";
}

int Rebalance(const Session& session, Connection& connection, bool dry_run) {
  v1::RebalanceRequest request;
  request.set_validate_only(dry_run);
  v1::RebalanceResponse response;
  const grpc::Status status = connection.Call(&Stub::Rebalance, request, &response);
  if (!status.ok()) return Fail(connection, status);
  PrintAs(session.output, response, [&] { PrintRebalance(response, dry_run); });
  return kDone;
}

}  // namespace

void AddQueueSetVerb(CLI::App& resource, Session& session) {
  auto options = std::make_shared<PinOptions>();
  CLI::App& verb =
      AddVerb(resource, session, "set", "Pin a queue's worker to a CPU, while traffic runs",
              "vmqd-cli queue set uplinks/eth1/queues/3 --cpu 1",
              [&session, options](Connection& connection) {
                return PinQueue(session, connection, *options);
              });
  verb.add_option("QUEUE-NAME", options->name, "Name of the queue")
      ->required()
      ->check([](const std::string& name) {
        std::string uplink;
        uint32_t queue = 0;
        return ParseQueueName(name, &uplink, &queue) ? "" : "wanted is uplinks/NAME/queues/NUMBER";
      })
      ->type_name("uplinks/NAME/queues/NUMBER");
  verb.add_option("--cpu", options->cpu, "CPU of the processor set; auto: vmqd chooses")
      ->required()
      ->check([](const std::string& text) {
        int cpu = 0;
        const bool good = text == "auto" || (absl::SimpleAtoi(text, &cpu) && cpu >= 0);
        return good ? "" : "wanted is the number of a CPU, or auto";
      })
      ->type_name("CPU|auto");
}

void AddRebalanceVerb(CLI::App& resource, Session& session) {
  auto dry_run = std::make_shared<bool>(false);
  AddVerb(resource, session, "rebalance",
          "Move queues to other CPUs, and ports to other queues, by the load of the last minute",
          "vmqd-cli queue rebalance --dry-run",
          [&session, dry_run](Connection& connection) {
            return Rebalance(session, connection, *dry_run);
          })
      .add_flag("--dry-run", *dry_run, "Only say what would be moved, and the loads expected");
}

}  // namespace vmqd::cli

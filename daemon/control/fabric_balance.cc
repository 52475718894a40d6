// Carrying out what the balancer plans, and what the operator pins.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/control/fabric.h"

namespace vmqd {
namespace {

MoveReport ReportOf(const Scene& scene, const Move& move) {
  MoveReport report{
      .resource = NameOf(scene, move), .reason = move.why, .from = move.from, .to = move.to};
  if (move.kind == Move::Kind::kQueueToCpu) {
    report.from_cpu = scene.queues[move.subject].cpu;
    report.to_cpu = move.to.cpu;
  } else {
    report.from_cpu = scene.queues[scene.ports[move.subject].queue].cpu;
    report.to_cpu = scene.queues[move.to_queue].cpu;
    report.to_queue = scene.queues[move.to_queue].name;
  }
  return report;
}

}  // namespace

// The rings stay with the worker, so nothing is lost or reordered.
absl::Status Fabric::MoveQueue(Uplink& uplink, uint32_t queue, int cpu) {
  CountThreadTime(uplink.runtime->queues()[queue]);
  if (absl::Status status = uplink.runtime->MoveQueue(queue, cpu); !status.ok()) return status;
  UpdateWakeModes();
  observer_.Changed(NameOf(uplink));
  for (const auto& [id, port] : ports_) {
    if (port.runtime == nullptr || &port.runtime->uplink() != uplink.runtime.get()) continue;
    if (port.runtime->place().placement.queue == queue) observer_.Changed(NameOf(port));
  }
  return absl::OkStatus();
}

// Puts queues where the operator wants them. On error nothing changed.
absl::Status Fabric::ObeyPins(Uplink& uplink, const UplinkConfig& config) {
  std::vector<std::pair<uint32_t, int>> before;
  for (uint32_t queue = 0; queue < uplink.runtime->queues().size(); ++queue) {
    const int cpu = uplink.runtime->queues()[queue].worker->cpu();
    const std::optional<int> pin = PinOf(config, queue);
    if (!pin || *pin == cpu) continue;
    absl::Status status = MoveQueue(uplink, queue, *pin);
    if (status.ok()) {
      before.emplace_back(queue, cpu);
      continue;
    }
    for (const auto& [moved, from] : before) MoveQueue(uplink, moved, from).IgnoreError();
    return Refuse(status.code(), "CPU", "uplink.queue_cpus", std::string(status.message()));
  }
  return absl::OkStatus();
}

absl::Status Fabric::CarryOut(const View& view, const Move& move) {
  absl::Status status;
  if (move.kind == Move::Kind::kQueueToCpu) {
    const auto& [uplink, number] = view.queues[move.subject];
    status = MoveQueue(*uplink, number, move.to.cpu);
  } else {
    status = MovePort(*view.ports[move.subject], {.queue = view.queues[move.to_queue].second,
                                                  .reason = "moved here by vmqd, for the load"});
  }
  const std::string& name = NameOf(view.scene, move);
  if (!status.ok()) {
    balance_.Failed(view.scene, move);
    observer_.Happened(
        Severity::kWarning, name, "MOVE_FAILED",
        absl::StrCat(name, " stays where it is, for ", Balance::kFailedRest.count() / 60,
                     " minutes: ", std::string(status.message()), " (", move.why, ")"));
    return status;
  }
  balance_.Moved(view.scene, move);
  const bool queue = move.kind == Move::Kind::kQueueToCpu;
  observer_.Happened(Severity::kInfo, name, queue ? "QUEUE_MOVED" : "PORT_MOVED", move.why);
  return status;
}

// Once a second.
void Fabric::KeepBalance(Time now) {
  View view = LookAround(now);
  view.scene = balance_.Complete(std::move(view.scene));
  for (const Balance::Told& gain : balance_.Gains(view.scene)) {
    observer_.Happened(Severity::kInfo, gain.resource, "MOVE_GAINED", gain.message);
  }
  const Plan plan = MakePlan(view.scene);
  for (const Balance::Told& remark : balance_.NewRemarks(plan, now)) {
    observer_.Happened(Severity::kWarning, remark.resource, "STAYS_BUSY", remark.message);
  }
  for (const Move& move : plan.moves) {
    if (!CarryOut(view, move).ok()) return;  // the moves behind it count on it
  }
}

RebalanceReport Fabric::Rebalance(bool dry_run) {
  View view = LookAround(std::chrono::steady_clock::now());
  view.scene = balance_.Complete(std::move(view.scene));
  view.scene.asked = true;
  const Plan plan = MakePlan(view.scene);
  RebalanceReport report{.forecast = plan.forecast};
  for (const Remark& remark : plan.remarks) report.remarks.push_back(remark.text);
  for (const Move& move : plan.moves) {
    if (absl::Status status = dry_run ? absl::OkStatus() : CarryOut(view, move); !status.ok()) {
      report.remarks.push_back(
          absl::StrCat(NameOf(view.scene, move), " could not be moved, and ",
                       "nothing was behind it: ", std::string(status.message())));
      break;
    }
    report.moves.push_back(ReportOf(view.scene, move));
    if (move.kind == Move::Kind::kQueueToCpu) view.scene.queues[move.subject].cpu = move.to.cpu;
  }
  return report;
}

}  // namespace vmqd

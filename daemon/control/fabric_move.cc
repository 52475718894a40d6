// Moving a port to another queue while frames flow. What the workers do about it is in
// datapath/rehome.h.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/control/fabric.h"

namespace vmqd {

// The order, and what each step makes sure of:
//
//   1. A socket on the new queue, which nothing comes to yet.
//   2. A topology with the port at home there. When it is picked up the new worker serves the port,
//      and nothing the old one has sent or was handed is left anywhere.
//   3. The filters: frames come to the new socket, or from the old queue's default socket.
//   4. The NIC's rules: frames come to the new queue.
//   5. No frame can come to the old socket any more, and none is left in it: a topology without.
//   6. It is closed.
absl::Status Fabric::MovePort(Port& port, const Placement& to) {
  PortRuntime& runtime = *port.runtime;
  UplinkRuntime& uplink = runtime.uplink();
  if (runtime.place().placement.queue == to.queue) {
    runtime.SetPlacementReason(to.reason);
    return absl::OkStatus();
  }
  if (runtime.place().pairs > 1) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "SEVERAL_QUEUES", "port.queue",
                  absl::StrCat(NameOf(port), " has ", runtime.place().pairs,
                               " queue pairs on as many queues, and cannot be moved"));
  }
  if (to.queue >= uplink.queues().size()) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "NO_SUCH_QUEUE", "port.queue",
                  absl::StrCat(NameOf(uplinks_.find(port.config.uplink)->second), " has ",
                               uplink.queues().size(), " queues, 0 to ", uplink.queues().size() - 1,
                               "; not ", to.queue));
  }
  const std::optional<uint32_t> slot = slots_.Take(1);
  if (!slot) {
    return Refuse(absl::StatusCode::kResourceExhausted, "TOO_MANY_PORTS", "port.queue",
                  "a move needs a free place for one more port; delete some");
  }
  if (absl::Status status = runtime.BeginMove(to, *slot); !status.ok()) {
    slots_.Give(*slot, 1);
    return status;
  }
  PublishMove(uplink, runtime.Move(), nullptr);
  const absl::Status moved = runtime.MoveFilters();
  if (!moved.ok()) {
    runtime.TurnBack();
    PublishMove(uplink, runtime.Move(), nullptr);
  }
  Steer(uplink);
  WaitForRunningPrograms();
  runtime.LeaveSocket();
  PublishMove(uplink, nullptr, &runtime);
  const uint32_t left = runtime.EndMove();
  if (left != runtime.place().slot) slots_.Give(left, 1);
  observer_.Changed(NameOf(port));
  return moved;
}

absl::Status Fabric::MovePort(std::string_view id, const Placement& to) {
  Port& port = ports_.find(id)->second;
  return port.runtime != nullptr ? MovePort(port, to) : absl::OkStatus();
}

}  // namespace vmqd

// A port goes to another queue: PortRuntime's part of Fabric::MovePort.
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/control/port_runtime.h"

namespace vmqd {
namespace {

// For what lies in a socket to be handed over. A VM that does not read for so long loses it.
constexpr std::chrono::milliseconds kPatience{300};
// For the default socket, which frames of other ports may never leave empty.
constexpr std::chrono::milliseconds kPatienceForDefault{10};

}  // namespace

void PortRuntime::GiveShare(Pair& pair) {
  QueueRuntime& queue = QueueOf(pair);
  queue.reserved -= std::exchange(pair.share, 0);
  --queue.ports;
}

// The port's pair on another queue: what it needs there, and which Port that worker serves.
absl::Status PortRuntime::OpenAt(uint32_t index, Pair& pair) {
  QueueRuntime& queue = uplink_.queues()[index];
  const bool returns = index == memory_queue_ && vhost_ == nullptr;  // to what is kept for it there
  auto buffers = returns ? memory_buffers_
                         : BuffersFor(queue.ports, 1, queue.area->buffers() - queue.reserved);
  if (!buffers.ok()) {
    return Refuse(absl::StatusCode::kResourceExhausted, "NO_BUFFERS", "port.queue",
                  absl::StrCat("queue ", index, " of ", config_.uplink, " serves ", queue.ports,
                               " ports and has no buffers left for another"));
  }
  auto socket = OpenVmSocket(index, buffers->vm_ring);
  if (!socket.ok()) return socket.status();
  pair.queue = index;
  pair.vm_socket = *std::move(socket);
  pair.state = std::make_unique<PortTurnState>();
  pair.state->closed = true;
  pair.buffers = {.vm_ring = buffers->vm_ring, .fill = 0, .quota = 0};
  if (vhost_ != nullptr) {
    pair.port = &vhost_->pair(0);
  } else if (returns) {
    pair.port = port_.get();
  } else {
    if (away_ == nullptr) {
      away_ = std::make_unique<AwayPort>(*port_, *memory().area, Owner(), pairs_[0].share);
    }
    pair.port = away_.get();
  }
  pair.share = returns ? 0 : pair.buffers.total();
  queue.reserved += pair.share;
  ++queue.ports;
  return absl::OkStatus();
}

absl::Status PortRuntime::WatchAt(const Pair& pair) {
  Worker& worker = *QueueOf(pair).worker;
  absl::Status status = worker.Watch(pair.vm_socket->fd());
  for (int fd : pair.port->WakeFds()) {
    if (status.ok()) status = worker.Watch(fd);
  }
  if (status.ok() && vhost_ != nullptr) status = vhost_->BeginMove(0, HostAt(pair.queue));
  return status;
}

void PortRuntime::UnwatchAt(const Pair& pair) {
  Worker& worker = *QueueOf(pair).worker;
  worker.Unwatch(pair.vm_socket->fd());
  for (int fd : pair.port->WakeFds()) worker.Unwatch(fd);
}

absl::Status PortRuntime::BeginMove(const Placement& to, uint32_t vm_slot) {
  Pair pair;
  if (absl::Status status = OpenAt(to.queue, pair); !status.ok()) return status;
  pair.lost_from_vm = pairs_[0].lost_from_vm;
  absl::Status status = uplink_.program().SetVmSocket(vm_slot, pair.vm_socket->fd());
  if (status.ok()) status = WatchAt(pair);
  if (!status.ok()) {
    UnwatchAt(pair);
    uplink_.program().ClearVmSocket(vm_slot);
    GiveShare(pair);
    return status;
  }
  left_ = std::exchange(pairs_[0], std::move(pair));
  left_vm_slot_ = std::exchange(place_.vm_slot, vm_slot);
  left_placement_ = std::exchange(place_.placement, to);
  socket_left_ = false;
  return absl::OkStatus();
}

std::unique_ptr<PortMove> PortRuntime::Move() const {
  auto move = std::make_unique<PortMove>();
  move->from = left_->queue;
  move->to = pairs_[0].queue;
  move->old_port = left_->port;
  move->new_port = pairs_[0].port;
  move->flows_move = uplink_.NicSteers();
  return move;
}

absl::Status PortRuntime::MoveFilters() {
  absl::Status status = absl::OkStatus();
  for (const MacAddress& mac : config_.macs) {
    if (status.ok()) {
      status = uplink_.program().SetFilter(mac, static_cast<uint16_t>(config_.vlan), Filter());
    }
  }
  return status;
}

void PortRuntime::TurnBack() {
  std::swap(*left_, pairs_[0]);
  pairs_[0].lost_from_vm = left_->lost_from_vm;
  // Some of its frames have come by the default socket meanwhile.
  pairs_[0].state->closed = true;
  pairs_[0].state->closed_until_ns = 0;
  std::swap(left_vm_slot_, place_.vm_slot);
  std::swap(left_placement_, place_.placement);
  MoveFilters().IgnoreError();  // those that had been changed can be changed again
  if (vhost_ != nullptr) {
    vhost_->EndMove(0);
    vhost_->BeginMove(0, HostAt(pairs_[0].queue)).IgnoreError();
  }
}

void PortRuntime::LeaveSocket() {
  const auto wait_for = [](const XskSocket& socket, std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!socket.RxEmpty() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  };
  wait_for(*left_->vm_socket, kPatience);
  wait_for(*QueueOf(*left_).socket, kPatienceForDefault);
  QueueOf(*left_).worker->WaitForTurn();  // what was taken out last has been handed over
  socket_left_ = true;
}

uint32_t PortRuntime::EndMove() {
  const bool went_home = pairs_[0].queue == memory_queue_ && vhost_ == nullptr;
  uplink_.program().ClearVmSocket(left_vm_slot_);
  if (vhost_ != nullptr) {
    QueueOf(*left_).worker->Unwatch(left_->vm_socket->fd());
    vhost_->EndMove(0);
    memory_queue_ = pairs_[0].queue;
  } else {
    UnwatchAt(*left_);
    if (went_home) {
      memory().worker->ReturnBuffers(away_->GiveBuffers());
      if (kept_share_ > 0) pairs_[0].buffers = memory_buffers_;
      pairs_[0].share += std::exchange(kept_share_, 0);
    } else if (left_->queue == memory_queue_ && left_->share > 0) {
      kept_share_ = std::exchange(left_->share, 0);
      memory_buffers_ = left_->buffers;
    }
  }
  DrainVmSocket(*left_);  // nothing, unless patience ended
  CountLost(*left_, gone_);
  GiveShare(*left_);
  left_.reset();
  if (went_home) away_.reset();
  return left_vm_slot_;
}

}  // namespace vmqd

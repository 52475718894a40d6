#include "daemon/control/uplink_runtime.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/control/error.h"
#include "daemon/net/ethernet.h"
#include "daemon/xdp/frame_chain.h"

namespace vmqd {
namespace {

// Measured: a round trip over a sleeping receiver costs 57 us, over a spinning one 9; spinning for
// about as long as the sleep costs is at most twice as expensive as the best choice in hindsight.
constexpr int64_t kAdaptiveSpinNs = 50'000;

constexpr uint32_t kSmallBuffer = 2048;
constexpr uint32_t kLargeBuffer = 4096;

// Devices whose other end is a network stack of this machine, which leaves checksums to them.
bool IsVirtual(const Link& link) { return link.kind == "veth" || link.kind == "tun"; }

uint32_t MtuOf(uint32_t buffer_size) {
  return buffer_size - FrameArea::kHeadroom - kEthHeaderLen - kVlanTagLen;
}

}  // namespace

uint32_t UplinkRuntime::BufferSizeFor(uint32_t mtu) {
  return mtu <= MtuOf(kSmallBuffer) ? kSmallBuffer : kLargeBuffer;
}

uint32_t UplinkRuntime::FrameLimitFor(uint32_t mtu, bool chains) {
  const uint32_t capacity = BufferSizeFor(mtu) - FrameArea::kHeadroom;
  const uint32_t longest = mtu + kEthHeaderLen + kVlanTagLen;
  return chains && longest > capacity ? std::min(longest, kMostBuffers * capacity) : capacity;
}

UplinkRuntime::UplinkRuntime(const UplinkConfig& config, const Link& link, const Site& site,
                             DeviceSettings settings)
    : config_(config),
      site_(site),
      link_(link),
      settings_(std::move(settings)),
      busy_polling_(link.name, settings_) {
  link_up_.store(link.up && link.carrier);
}

absl::StatusOr<std::unique_ptr<UplinkRuntime>> UplinkRuntime::Open(
    const UplinkConfig& config, const Link& link, const std::vector<int>& cpus, const Site& site,
    DeviceSettings settings, bool program_left) {
  std::unique_ptr<UplinkRuntime> uplink(new UplinkRuntime(config, link, site, std::move(settings)));
  uplink->program_left_ = program_left;
  if (absl::Status status = uplink->Prepare(cpus); !status.ok()) return status;
  for (QueueRuntime& queue : uplink->queues_) queue.worker->Start();
  return uplink;
}

absl::Status UplinkRuntime::Prepare(const std::vector<int>& cpus) {
  const std::string pin = site_.PinOf("uplink", config_.id);
  if (absl::Status status = CheckNoProgram(link_.ifindex, link_.name, pin); !status.ok()) {
    return Refuse(status.code(), "FOREIGN_XDP_PROGRAM", "uplink.device",
                  std::string(status.message()));
  }
  // What the XDP program does not see, it cannot classify: a tag the NIC took off, segments it
  // glued.
  for (const char* feature : {"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse", "rx-lro", "rx-gro-hw"}) {
    if (absl::Status status = settings_.TurnOff(link_.name, feature); !status.ok()) return status;
  }
  queues_.resize(cpus.size());
  for (uint32_t queue = 0; queue < cpus.size(); ++queue) {
    if (absl::Status status = OpenAnchor(queue); !status.ok()) return status;
    // A kernel that has them for one queue has them for all.
    if (queues_[queue].anchor->options().buffers_per_frame > 1) {
      chains_ = queues_[queue].anchor->chains();
    }
  }
  max_frame_len_ = FrameLimitFor(link_.mtu, chains_);
  auto program = UplinkProgram::Load(max_frame_len_);
  if (!program.ok()) return program.status();
  program_ = *std::move(program);
  auto flood = PacketSocket::Open(link_.ifindex, link_.name, PacketSocket::Role::kFlood,
                                  max_frame_len_ > queues_[0].area->max_frame_len());
  if (!flood.ok()) return flood.status();
  flood_ = *std::move(flood);

  topology_ = std::make_unique<Topology>();
  topology_->home.resize(cpus.size());
  topology_->leaving.resize(cpus.size());
  topology_->uplink_up = &link_up_;
  topology_->uplink_max_len = link_.mtu + kEthHeaderLen;
  published_.store(topology_.get(), std::memory_order_release);
  for (uint32_t queue = 0; queue < cpus.size(); ++queue) {
    if (absl::Status status = OpenQueue(queue, cpus[queue]); !status.ok()) return status;
  }
  ConnectWorkers();
  StartSteering();
  return absl::OkStatus();
}

absl::Status UplinkRuntime::OpenAnchor(uint32_t index) {
  QueueRuntime& queue = queues_[index];
  auto area = FrameArea::Create(config_.buffers_per_queue, BufferSizeFor(link_.mtu));
  if (!area.ok()) return area.status();
  queue.area = *std::move(area);
  auto umem = Umem::Register(*queue.area, {UplinkQueue::kFillRing, UplinkQueue::kTxRing});
  if (!umem.ok()) return umem.status();
  queue.umem = *std::move(umem);

  XskSocket::Options socket;
  socket.device = link_.name;
  socket.queue = index;
  socket.tx_size = UplinkQueue::kTxRing;
  socket.copy =
      config_.xdp_mode == XdpMode::kNative ? XskSocket::Copy::kAllowed : XskSocket::Copy::kForced;
  socket.buffers_per_frame = BuffersFor(*queue.area, FrameLimitFor(link_.mtu, chains_));
  auto anchor = XskSocket::Open(*queue.umem, socket);
  if (!anchor.ok()) return anchor.status();
  queue.anchor = *std::move(anchor);
  return absl::OkStatus();
}

absl::Status UplinkRuntime::OpenQueue(uint32_t index, int cpu) {
  QueueRuntime& queue = queues_[index];
  XskSocket::Options socket = queue.anchor->options();
  socket.tx_size = 0;
  socket.rx_size = UplinkQueue::kDefaultRxRing;
  socket.anchor = false;
  auto opened = XskSocket::Open(*queue.umem, socket);
  if (!opened.ok()) return opened.status();
  queue.socket = *std::move(opened);
  if (absl::Status status = program_->SetQueueSocket(index, queue.socket->fd()); !status.ok()) {
    return status;
  }
  queue.queue = std::make_unique<UplinkQueue>(*queue.anchor, *queue.socket,
                                              index == 0 ? flood_.get() : nullptr);
  auto worker = Worker::Create(
      {absl::StrCat("vmq-", link_.name.substr(0, 8), "-", index), index, cpu, IsVirtual(link_)},
      *queue.area, *queue.queue, published_);
  if (!worker.ok()) return worker.status();
  queue.worker = *std::move(worker);
  if (absl::Status status = queue.worker->Watch(queue.socket->fd()); !status.ok()) return status;
  if (index == 0) {
    if (absl::Status status = queue.worker->Watch(flood_->fd()); !status.ok()) return status;
  }
  const auto peers = static_cast<uint32_t>(queues_.size()) - 1;
  queue.reserved = UplinkQueue::kDefaultRxRing + UplinkQueue::kWorkingMargin +
                   UplinkQueue::QuotaFor(config_.buffers_per_queue) +
                   peers * Handover::GrantsFor(peers, config_.buffers_per_queue);
  return absl::OkStatus();
}

void UplinkRuntime::ConnectWorkers() {
  const size_t count = queues_.size();
  for (size_t i = 0; i < count * count; ++i) handovers_.push_back(std::make_unique<Handover>());
  for (size_t self = 0; self < count; ++self) {
    std::vector<Peer> peers(count);
    for (size_t other = 0; other < count; ++other) {
      if (other == self) continue;
      peers[other] = {handovers_[self * count + other].get(),
                      handovers_[other * count + self].get(), queues_[other].area.get(),
                      &queues_[other].worker->doorbell(),
                      &queues_[other].worker->lane().hands_over_by};
    }
    queues_[self].worker->SetPeers(std::move(peers));
  }
}

absl::Status UplinkRuntime::Attach() {
  const std::string pin = site_.PinOf("uplink", config_.id);
  const auto attach = [&](AttachMode mode) {
    xdp_mode_ = mode == AttachMode::kNative ? XdpMode::kNative : XdpMode::kGeneric;
    return program_->Attach(link_.ifindex, link_.name, mode, pin);
  };
  xdp_mode_reason_.clear();
  absl::Status status;
  const bool automatic = config_.xdp_mode == XdpMode::kAuto;
  const bool generic_runs =
      automatic && Attachment::PinnedMode(link_.ifindex, pin) == AttachMode::kGeneric;
  if (generic_runs) xdp_mode_reason_ = "taken over from an earlier vmqd without a gap";
  if (config_.xdp_mode == XdpMode::kGeneric || generic_runs) {
    status = attach(AttachMode::kGeneric);
  } else {
    status = attach(AttachMode::kNative);
    if (!status.ok() && automatic) {
      xdp_mode_reason_ = std::string(status.message());
      status = attach(AttachMode::kGeneric);
    }
  }
  if (!status.ok()) return status;
  program_left_ = false;
  for (QueueRuntime& queue : queues_) PinNapi(queue);
  return status;
}

// With sockets bound, as they are whenever a rule is set later.
void UplinkRuntime::StartSteering() {
  if (config_.steering != Steering::kHardware) return;
  auto steering =
      std::make_unique<NicSteering>(link_.name, static_cast<uint32_t>(queues_.size()), settings_);
  const absl::Status started = steering->Start();
  if (started.ok()) {
    nic_steering_ = std::move(steering);
  } else {
    no_nic_steering_ = std::string(started.message());
  }
}

void UplinkRuntime::Steer(NicRules wanted) {
  if (nic_steering_ != nullptr) nic_steering_->Apply(std::move(wanted));
}

std::string UplinkRuntime::CheckSteering(bool closely) {
  return nic_steering_ != nullptr ? nic_steering_->Check(closely) : "";
}

Steering UplinkRuntime::EffectiveSteering(std::string& reason) const {
  if (config_.steering != Steering::kHardware) return config_.steering;
  reason = nic_steering_ != nullptr ? nic_steering_->Reason() : no_nic_steering_;
  return nic_steering_ != nullptr ? Steering::kHardware : Steering::kSoftware;
}

Steering UplinkRuntime::SteeringOf(const std::vector<NicFilter>& filters,
                                   std::string& reason) const {
  if (nic_steering_ == nullptr) return EffectiveSteering(reason);
  for (const NicFilter& filter : filters) {
    reason = nic_steering_->ReasonFor(filter);
    if (!reason.empty()) return Steering::kSoftware;
  }
  return Steering::kHardware;
}

Attachment::State UplinkRuntime::LookAtProgram() const {
  const Attachment* attachment = program_->attachment();  // null: attaching again failed
  if (attachment == nullptr) return {.running = Attachment::Running::kDetached};
  return attachment->Look();
}

absl::Status UplinkRuntime::AttachAgain() {
  program_->Detach();
  return Attach();
}

// The kernel's side of a queue belongs on the CPU of its worker: what one leaves in the cache, the
// other finds there.
void UplinkRuntime::PinNapi(QueueRuntime& queue) {
  const uint32_t index = queue.socket->queue();
  const std::vector<Napi> napis = QueueNapis(link_.ifindex, static_cast<uint32_t>(queues_.size()));
  if (index >= napis.size() || napis[index].id == 0) return;
  queue.napi = napis[index];
  const int cpu = queue.worker->cpu();
  queue.napi_text = absl::StrCat("id ", queue.napi.id);
  queue.napi_thread_here = false;
  absl::Status pinned;
  if (queue.napi.thread > 0) {
    absl::StrAppend(&queue.napi_text, ", thread ", queue.napi.thread);
    pinned = settings_.PinThread(link_.name, queue.napi.thread, cpu);
    queue.napi_thread_here = pinned.ok();
  } else if (queue.napi.irq >= 0) {
    absl::StrAppend(&queue.napi_text, ", irq ", queue.napi.irq);
    pinned = settings_.PinIrq(link_.name, queue.napi.irq, cpu);
  } else {
    return;
  }
  absl::StrAppend(&queue.napi_text, pinned.ok() ? absl::StrCat(" on CPU ", cpu)
                                                : absl::StrCat(" not pinned: ", pinned.message()));
}

absl::Status UplinkRuntime::MoveQueue(uint32_t index, int cpu) {
  QueueRuntime& queue = queues_[index];
  if (absl::Status status = queue.worker->MoveTo(cpu); !status.ok()) return status;
  PinNapi(queue);
  return absl::OkStatus();
}

bool UplinkRuntime::LeaveProgram() {
  // One that is second choice is not kept: whatever stood in the way of the first may be gone.
  if (config_.xdp_mode == XdpMode::kAuto && xdp_mode_ == XdpMode::kGeneric) return false;
  for (uint32_t queue = 0; queue < queues_.size(); ++queue) program_->ClearQueueSocket(queue);
  return program_->Leave();
}

Counters UplinkRuntime::Close(ProgramThen then) {
  const bool runs_on = then == ProgramThen::kLeave && LeaveProgram();
  if (!runs_on) program_->Detach();
  flood_->Silence();
  WaitForRunningPrograms();
  for (QueueRuntime& queue : queues_) queue.worker->Stop();
  vmqd_uplink_counters kernel = program_->Counters();
  if (runs_on) {
    // It counts on while it is read: the sum is made to be that of the parts read.
    kernel.received = kernel.to_host + kernel.flooded + kernel.to_vm + kernel.misplaced;
    for (const uint64_t drops : kernel.drops) kernel.received += drops;
  }
  to_host_at_close_ = kernel.to_host;
  Counters last = CountersWith(kernel);
  // Floods that still lay in the packet socket: without ports nobody would have taken them.
  last.in_drops[VMQD_DROP_NO_DESTINATION] +=
      last.in_pkts - last.in_forwarded_pkts - last.InDiscards();
  if (runs_on) left_ = LeftProgram{std::move(program_), kernel};
  return last;
}

std::optional<LeftProgram> UplinkRuntime::TakeLeftProgram() {
  program_left_ = program_left_ || left_.has_value();
  return std::exchange(left_, std::nullopt);
}

UplinkRuntime::~UplinkRuntime() {
  if (program_ != nullptr) program_->Detach();
  for (QueueRuntime& queue : queues_) {
    if (queue.worker != nullptr) queue.worker->Stop();
  }
  queues_.clear();
  if (program_left_) settings_.LeaveForProgram();
}

void UplinkRuntime::Publish(std::unique_ptr<Topology> topology) {
  published_.store(topology.get(), std::memory_order_release);
  for (QueueRuntime& queue : queues_) queue.worker->doorbell().Ring();
  for (QueueRuntime& queue : queues_) {
    while (!queue.worker->WaitForTopology(topology->sequence)) {
      // It, or one that it waits for.
      for (QueueRuntime& any : queues_) any.worker->Interrupt();
    }
  }
  topology_ = std::move(topology);
}

void UplinkRuntime::SetWakeMode(uint32_t index, bool cpu_shared) {
  QueueRuntime& queue = queues_[index];
  queue.wake_mode = config_.wake_mode;
  queue.wake_mode_reason.clear();
  if (config_.wake_mode != WakeMode::kInterrupt && queue.napi_thread_here) {
    queue.wake_mode = WakeMode::kInterrupt;
    queue.wake_mode_reason =
        "the queue's NAPI thread is on the same CPU; a spinning worker would take turns with it "
        "by scheduler slices";
  } else if (config_.wake_mode == WakeMode::kAdaptive && cpu_shared) {
    queue.wake_mode = WakeMode::kInterrupt;
    queue.wake_mode_reason = absl::StrCat("CPU ", queue.worker->cpu(), " serves several queues");
  }
  queue.worker->SetSpin(queue.wake_mode == WakeMode::kPoll       ? Worker::kNeverSleep
                        : queue.wake_mode == WakeMode::kAdaptive ? kAdaptiveSpinNs
                                                                 : 0);
}

void UplinkRuntime::OnLink(bool up, bool carrier, uint32_t mtu) {
  link_.up = up;
  link_.carrier = carrier;
  if (mtu != 0) link_.mtu = mtu;
  link_up_.store(up && carrier);
}

bool UplinkRuntime::NeedsLargerBuffers() const {
  return FrameLimitFor(link_.mtu, chains_) > max_frame_len_;
}

uint32_t UplinkRuntime::MaxMtu() const { return max_frame_len_ - kEthHeaderLen - kVlanTagLen; }

}  // namespace vmqd

// Opening, connecting and closing a port. What it reports is in port_status.cc.
#include "daemon/control/port_runtime.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/net/ethernet.h"
#include "daemon/port/netdev_port.h"
#include "daemon/port/tap_port.h"

namespace vmqd {
namespace {

// Step by step what a further port gets, and for how many ports of a queue. With the default of
// 16384 buffers some 80 ports fit.
struct BufferStep {
  uint32_t until;  // ports
  PortBuffers buffers;
};
constexpr std::array<BufferStep, 5> kBufferSteps = {{
    {1, {1024, 1024, 512}},
    {2, {512, 512, 256}},
    {6, {256, 256, 128}},
    {18, {128, 32, 32}},
    {UINT32_MAX, {32, 16, 16}},
}};

absl::Status DeviceError(const absl::Status& status, std::string_view field) {
  if (RefusalOf(status).reason != "UNKNOWN") return status;
  return Refuse(status.code(), "DEVICE", field, std::string(status.message()));
}

}  // namespace

absl::StatusOr<PortBuffers> PortRuntime::BuffersFor(uint32_t ports, uint32_t device_queues,
                                                    uint32_t available) {
  for (BufferStep step : kBufferSteps) {
    step.buffers.fill = std::max(step.buffers.fill, device_queues * NetdevPort::kMinFill);
    const bool least = step.until == UINT32_MAX;
    // At most half of what is left, so that a small area is not used up by its first ports.
    if (ports < step.until && step.buffers.total() <= (least ? available : available / 2)) {
      return step.buffers;
    }
  }
  return absl::ResourceExhaustedError("no buffers left");
}

absl::StatusOr<std::unique_ptr<PortRuntime>> PortRuntime::Open(const PortConfig& config,
                                                               const PortPlace& place,
                                                               UplinkRuntime& uplink,
                                                               PortProgram& program,
                                                               const Site& site) {
  std::unique_ptr<PortRuntime> port(new PortRuntime(config, place, uplink, site));
  if (absl::Status status = port->OpenDevice(); !status.ok()) return status;
  if (absl::Status status = port->OpenPairs(); !status.ok()) return status;
  if (absl::Status status = port->OpenPort(program); !status.ok()) return status;
  if (absl::Status status = port->WatchSockets(); !status.ok()) return status;
  for (size_t i = 0; i < uplink.queues().size(); ++i) {
    port->counters_.push_back(std::make_unique<FrameCounters>());
  }
  port->delete_device_ = false;
  return port;
}

absl::Status PortRuntime::OpenDevice() {
  config_.uplink = uplink_.config().id;
  if (!HasDevice(config_.kind)) return absl::OkStatus();
  if (absl::Status status = MakeOrAdoptDevice(); !status.ok()) return status;
  auto link = FindLink(config_.device);
  if (!link.ok()) return DeviceError(link.status(), "port.device");
  link_ = *std::move(link);
  link_up_.store(link_.up && link_.carrier);
  if (link_.queues > place_.sockets && place_.sockets < VMQD_MAX_PORT_QUEUES) {
    return absl::UnavailableError(
        absl::StrCat("the queues of ", link_.name, " are just being changed; try again"));
  }
  if (link_.queues > VMQD_MAX_PORT_QUEUES) {
    return Refuse(absl::StatusCode::kFailedPrecondition, "TOO_MANY_QUEUES", "port.device",
                  absl::StrCat(link_.name, " has ", link_.queues, " receive queues, a port takes ",
                               static_cast<int>(VMQD_MAX_PORT_QUEUES), "; ethtool -L ", link_.name,
                               " rx ", static_cast<int>(VMQD_MAX_PORT_QUEUES)));
  }
  return absl::OkStatus();
}

// A device that an earlier daemon made for this port is taken as it is: a VM may have it open, a
// container its other end.
absl::Status PortRuntime::MakeOrAdoptDevice() {
  if (config_.kind == PortKind::kNetdev) return absl::OkStatus();
  const bool tap = config_.kind == PortKind::kTap;
  const std::string mark = site_.MarkOf(config_.id);
  const uint32_t mtu = EffectiveMtu();
  absl::Status adopted =
      tap ? AdoptTap(config_.device, mtu, mark) : AdoptVeth(config_.device, mtu, mark);
  if (absl::IsAlreadyExists(adopted)) {
    return Refuse(adopted.code(), "DEVICE_EXISTS", "port.device", std::string(adopted.message()));
  }
  device_made_ = adopted.ok();
  if (!absl::IsNotFound(adopted)) return DeviceError(adopted, "port.device");
  const absl::Status made = tap ? CreateTap(config_.device, mtu, mark)
                                : CreateVeth(config_.device, config_.peer_device, mtu, mark);
  if (absl::IsAlreadyExists(made)) {
    return Refuse(made.code(), "DEVICE_EXISTS", tap ? "port.device" : "port.peer_device",
                  std::string(made.message()));
  }
  if (!made.ok()) return DeviceError(made, "port.device");
  device_made_ = true;
  delete_device_ = true;  // until everything else has worked out
  return tap ? absl::OkStatus() : SetUpPeer();
}

// The far end of a pair vmqd made: it has the port's first address, or gives it its own.
absl::Status PortRuntime::SetUpPeer() {
  auto peer = FindLink(config_.peer_device);
  if (!peer.ok()) return DeviceError(peer.status(), "port.peer_device");
  if (config_.macs.empty()) {
    config_.macs.push_back(peer->mac);
    return absl::OkStatus();
  }
  return DeviceError(SetLinkMac(peer->ifindex, config_.macs[0]), "port.macs[0]");
}

void DeleteMadeDevice(const PortConfig& config, const Site& site) {
  if (!MakesDevice(config.kind)) return;
  auto link = FindLink(config.device);
  if (link.ok() && link->alias == site.MarkOf(config.id)) DeleteLink(link->ifindex).IgnoreError();
}

uint32_t PortRuntime::EffectiveMtu() const {
  const uint32_t wanted = config_.mtu != 0 ? config_.mtu : uplink_.link().mtu;
  return std::min(wanted, uplink_.MaxMtu());
}

absl::Status PortRuntime::OpenPairs() {
  memory_queue_ = place_.placement.queue;
  const auto queues = static_cast<uint32_t>(uplink_.queues().size());
  pairs_.reserve(place_.pairs);
  for (uint32_t i = 0; i < place_.pairs; ++i) {
    Pair& pair = pairs_.emplace_back();
    pair.queue = (place_.placement.queue + i) % queues;
    if (absl::Status status = OpenPair(pair); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The VM's socket on one queue, and what the pair may tie up there.
absl::Status PortRuntime::OpenPair(Pair& pair) {
  QueueRuntime& queue = QueueOf(pair);
  auto buffers = BuffersFor(queue.ports, link_.queues, queue.area->buffers() - queue.reserved);
  if (!buffers.ok()) {
    return Refuse(
        absl::StatusCode::kResourceExhausted, "NO_BUFFERS", "port.queue",
        absl::StrCat("queue ", pair.queue, " of ", config_.uplink, " serves ", queue.ports,
                     " ports and has no buffers left for another; ask for "
                     "another queue, or add the uplink with more buffers_per_queue"));
  }
  pair.state = std::make_unique<PortTurnState>();
  pair.buffers = *buffers;
  // What its guest sends and receives is copied: nothing of it waits in rings of the kernel.
  if (config_.kind == PortKind::kVhostUser) pair.buffers.fill = pair.buffers.quota = 0;
  pair.share = pair.buffers.total();
  queue.reserved += pair.share;
  ++queue.ports;

  auto vm_socket = OpenVmSocket(pair.queue, pair.buffers.vm_ring);
  if (!vm_socket.ok()) return DeviceError(vm_socket.status(), "port.uplink");
  pair.vm_socket = *std::move(vm_socket);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<XskSocket>> PortRuntime::OpenVmSocket(uint32_t index,
                                                                     uint32_t ring) const {
  const QueueRuntime& queue = uplink_.queues()[index];
  XskSocket::Options socket;
  socket.device = uplink_.link().name;
  socket.queue = index;
  socket.rx_size = ring;
  socket.anchor = false;
  socket.buffers_per_frame = queue.anchor->buffers_per_frame();
  return XskSocket::Open(*queue.umem, socket);
}

absl::Status PortRuntime::OpenPort(PortProgram& program) {
  if (config_.kind == PortKind::kVhostUser) return OpenVhost();
  absl::Status status = config_.kind == PortKind::kTap ? OpenTap(program) : OpenNetdev(program);
  if (!status.ok()) return DeviceError(status, "port.device");
  pairs_[0].port = port_.get();
  return status;
}

absl::Status PortRuntime::OpenTap(PortProgram& program) {
  auto port = TapPort::Open(
      *home().umem, home().anchor->zero_copy(), program,
      {link_.name, link_.ifindex, place_.slot, pairs_[0].buffers, uplink_.max_frame_len()});
  if (port.ok()) port_ = *std::move(port);
  return port.status();
}

absl::Status PortRuntime::OpenNetdev(PortProgram& program) {
  // Behind XDP, for the moments in which no program is attached: while the port is removed, or
  // after the daemon died.
  if (device_made_) {
    if (absl::Status status = program.Fence(link_.ifindex, link_.name); !status.ok()) return status;
  }
  auto port = NetdevPort::Open(
      *home().area, program,
      {link_.name, link_.ifindex, link_.queues, place_.slot, place_.first_socket, pairs_[0].buffers,
       site_.PinOf("port", config_.id), uplink_.max_frame_len()});
  if (port.ok()) port_ = *std::move(port);
  return port.status();
}

// Front ends may connect from here on; frames for the VM come with Connect.
absl::Status PortRuntime::OpenVhost() {
  VhostUserPort::Workers workers;
  for (QueueRuntime& queue : uplink_.queues()) {
    if (queue.scratch == nullptr) queue.scratch = std::make_unique<VhostScratch>();
    workers.scratch.push_back(queue.scratch.get());
  }
  workers.wait = [this] {
    for (QueueRuntime& queue : uplink_.queues()) queue.worker->WaitForTurn();
  };
  std::vector<VhostUserPort::Host> hosts;
  hosts.reserve(pairs_.size());
  for (const Pair& pair : pairs_) hosts.push_back(HostAt(pair.queue));
  const VhostOptions device{.queue_pairs = place_.pairs,
                            .features = SupportedVirtioFeatures(),
                            .mtu = static_cast<uint16_t>(EffectiveMtu()),
                            .mac = config_.macs[0]};
  vhost_ = std::make_unique<VhostUserPort>(
      *site_.vhost,
      VhostUserPort::Options{place_.serial, config_.socket, config_.vhost_role, device},
      std::move(hosts), std::move(workers), link_up_);
  for (uint32_t i = 0; i < place_.pairs; ++i) pairs_[i].port = &vhost_->pair(i);
  absl::Status status = vhost_->Listen();
  if (status.ok()) return status;
  return Refuse(status.code(), "SOCKET", "port.socket", std::string(status.message()));
}

VhostUserPort::Host PortRuntime::HostAt(uint32_t queue) const {
  Worker* worker = uplink_.queues()[queue].worker.get();
  return {.worker = queue,
          .watch = [worker](int fd) { return worker->Watch(fd, Worker::Wake::kEachWrite); },
          .unwatch = [worker](int fd) { worker->Unwatch(fd); },
          .wake = [worker] { worker->doorbell().Ring(); }};
}

absl::Status PortRuntime::WatchSockets() {
  for (const Pair& pair : pairs_) {
    Worker& worker = *QueueOf(pair).worker;
    std::vector<int> fds = pair.port->WakeFds();
    fds.push_back(pair.vm_socket->fd());
    for (int fd : fds) {
      if (absl::Status status = worker.Watch(fd); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

bool PortRuntime::Owns(const MacAddress& mac, uint32_t vlan) const {
  return connected_ && config_.vlan == vlan &&
         std::find(config_.macs.begin(), config_.macs.end(), mac) != config_.macs.end();
}

vmqd_filter PortRuntime::Filter() const {
  return {place_.vm_slot, place_.placement.queue, place_.pairs,
          static_cast<uint32_t>(uplink_.queues().size())};
}

absl::Status PortRuntime::Claim(const PortConfig& config) {
  const auto vlan = static_cast<uint16_t>(config.vlan);
  size_t claimed = 0;
  absl::Status status = absl::OkStatus();
  for (const MacAddress& mac : config.macs) {
    status = uplink_.flood().Claim(mac);
    if (!status.ok()) break;
    ++claimed;
    status = uplink_.program().SetFilter(mac, vlan, Filter());
    if (!status.ok()) break;
  }
  if (status.ok()) return status;
  for (size_t i = 0; i < claimed; ++i) {
    uplink_.flood().Release(config.macs[i]);
    if (!Owns(config.macs[i], vlan)) uplink_.program().ClearFilter(config.macs[i], vlan);
  }
  return status;
}

absl::Status PortRuntime::Connect() {
  absl::Status status = absl::OkStatus();
  for (uint32_t i = 0; i < place_.pairs && status.ok(); ++i) {
    status = uplink_.program().SetVmSocket(place_.vm_slot + i, pairs_[i].vm_socket->fd());
  }
  if (status.ok()) status = Claim(config_);
  connected_ = status.ok();
  return status;
}

void PortRuntime::Disconnect(bool hold) {
  if (!connected_) return;
  connected_ = false;
  if (hold) {
    uplink_.program().Hold(config_.macs,
                           config_.vlan);  // in place of its own: never a moment without
  } else {
    uplink_.program().LetGo(config_.macs, config_.vlan);
  }
  for (const MacAddress& mac : config_.macs) uplink_.flood().Release(mac);
}

absl::Status PortRuntime::ResizeDevice(uint32_t mtu) {
  if (!device_made_ || mtu == config_.mtu) return absl::OkStatus();
  const uint32_t before = std::exchange(config_.mtu, mtu);
  absl::Status status = SetLinkMtu(link_.ifindex, EffectiveMtu());
  if (!status.ok()) config_.mtu = before;
  return status;
}

absl::Status PortRuntime::FollowUplinkMtu() {
  if (!device_made_ || config_.mtu != 0) return absl::OkStatus();
  return SetLinkMtu(link_.ifindex, EffectiveMtu());
}

absl::Status PortRuntime::Reconfigure(const PortConfig& config) {
  const uint32_t mtu_before = config_.mtu;
  if (absl::Status status = ResizeDevice(config.mtu); !status.ok()) return status;
  if (config.macs != config_.macs || config.vlan != config_.vlan) {
    // New filters first, so that an address that stays is never without one.
    if (absl::Status status = Claim(config); !status.ok()) {
      ResizeDevice(mtu_before).IgnoreError();  // it had that MTU a moment ago
      return status;
    }
    const PortConfig before = std::exchange(config_, config);
    for (const MacAddress& mac : before.macs) {
      uplink_.flood().Release(mac);  // what stays was claimed twice, and keeps one
      if (!Owns(mac, before.vlan)) {
        uplink_.program().ClearFilter(mac, static_cast<uint16_t>(before.vlan));
      }
    }
  }
  config_ = config;
  return absl::OkStatus();
}

// Frames that came to the VM socket and that no worker will take out any more.
void PortRuntime::DrainVmSocket(Pair& pair) {
  std::array<Frame, kBurst> frames;
  std::vector<uint64_t> buffers;
  const auto tails = std::make_unique<TailRoom>();
  while (const uint32_t count = pair.vm_socket->Receive(*tails, frames.data(), kBurst)) {
    for (uint32_t i = 0; i < count; ++i) {
      buffers.push_back(frames[i].addr);
      for (uint32_t piece = 1; piece < BuffersOf(frames[i]); ++piece) {
        buffers.push_back(frames[i].tail->pieces[piece - 1].buffer);
      }
    }
    pair.drained += count;
    tails->Clear();
  }
  QueueOf(pair).worker->ReturnBuffers(buffers);
}

Counters PortRuntime::Close() {
  Disconnect();
  if (closed_ || pairs_.empty() || pairs_.back().port == nullptr) return {};
  closed_ = true;
  if (vhost_ != nullptr) vhost_->Close();
  if (port_ != nullptr) port_->StopArrivals();
  for (uint32_t i = 0; i < place_.pairs; ++i) uplink_.program().ClearVmSocket(place_.vm_slot + i);
  WaitForRunningPrograms();
  for (Pair& pair : pairs_) DrainVmSocket(pair);
  Counters last = CountersNow();
  const uint64_t undelivered = last.in_pkts - last.in_forwarded_pkts - last.InDiscards();
  last.in_drops[VMQD_DROP_PORT_GONE] += undelivered;
  return last;
}

PortRuntime::~PortRuntime() {
  Close();
  vhost_.reset();
  if (port_ != nullptr) {
    for (int fd : port_->WakeFds()) home().worker->Unwatch(fd);
    port_.reset();
    memory().worker->ReturnBuffers(memory().area->OwnedBy(Owner()));
    memory().reserved -= kept_share_;
  }
  for (Pair& pair : pairs_) {
    if (pair.vm_socket != nullptr) QueueOf(pair).worker->Unwatch(pair.vm_socket->fd());
    pair.vm_socket.reset();
    if (pair.state != nullptr) GiveShare(pair);
  }
  // An error means that somebody else deleted it first.
  if (!delete_device_) return;
  if (link_.ifindex == 0) {
    DeleteMadeDevice(config_, site_);
  } else {
    DeleteLink(link_.ifindex).IgnoreError();
  }
}

}  // namespace vmqd

#include "daemon/control/port_runtime.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "daemon/control/status.h"
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

// Bytes a VM socket hands over in a round, per point of weight: 64 frames of 1500 at weight 100.
constexpr uint32_t kQuantumPerWeight = 1024;
constexpr uint32_t kLeastQuantum = 2048;

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
  if (absl::Status status = port->OpenSockets(program); !status.ok()) return status;
  if (absl::Status status = port->WatchSockets(); !status.ok()) return status;
  for (size_t i = 0; i < uplink.queues().size(); ++i) {
    port->counters_.push_back(std::make_unique<FrameCounters>());
  }
  port->delete_device_ = false;
  return port;
}

absl::Status PortRuntime::OpenDevice() {
  config_.uplink = uplink_.config().id;
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
  const uint32_t most = home().area->max_frame_len() - kEthHeaderLen - kVlanTagLen;
  const uint32_t wanted = config_.mtu != 0 ? config_.mtu : uplink_.link().mtu;
  return std::min(wanted, most);
}

absl::Status PortRuntime::OpenSockets(PortProgram& program) {
  QueueRuntime& queue = home();
  auto buffers = BuffersFor(queue.ports, link_.queues, queue.area->buffers() - queue.reserved);
  if (!buffers.ok()) {
    return Refuse(absl::StatusCode::kResourceExhausted, "NO_BUFFERS", "port.queue",
                  absl::StrCat("queue ", place_.placement.queue, " of ", config_.uplink, " serves ",
                               queue.ports,
                               " ports and has no buffers left for another; ask for "
                               "another queue, or add the uplink with more buffers_per_queue"));
  }
  buffers_ = *buffers;
  queue.reserved += buffers_.total();
  ++queue.ports;
  reserved_ = true;

  XskSocket::Options socket;
  socket.device = uplink_.link().name;
  socket.queue = place_.placement.queue;
  socket.rx_size = buffers_.vm_ring;
  socket.anchor = false;
  auto vm_socket = XskSocket::Open(*queue.umem, socket);
  if (!vm_socket.ok()) return DeviceError(vm_socket.status(), "port.uplink");
  vm_socket_ = *std::move(vm_socket);

  absl::Status status = absl::OkStatus();
  if (config_.kind == PortKind::kTap) {
    auto port = TapPort::Open(*queue.umem, queue.anchor->zero_copy(), program,
                              {link_.name, link_.ifindex, place_.slot, buffers_});
    status = port.status();
    if (port.ok()) port_ = *std::move(port);
  } else {
    // Behind XDP, for the moments in which no program is attached: while the port is removed, or
    // after the daemon died.
    if (device_made_) {
      if (absl::Status fenced = program.Fence(link_.ifindex, link_.name); !fenced.ok()) {
        return DeviceError(fenced, "port.device");
      }
    }
    auto port = NetdevPort::Open(*queue.area, program,
                                 {link_.name, link_.ifindex, link_.queues, place_.slot,
                                  place_.first_socket, buffers_, site_.PinOf("port", config_.id)});
    status = port.status();
    if (port.ok()) port_ = *std::move(port);
  }
  return status.ok() ? status : DeviceError(status, "port.device");
}

absl::Status PortRuntime::WatchSockets() {
  Worker& worker = *home().worker;
  std::vector<int> fds = port_->WakeFds();
  fds.push_back(vm_socket_->fd());
  for (int fd : fds) {
    if (absl::Status status = worker.Watch(fd); !status.ok()) return status;
  }
  return absl::OkStatus();
}

bool PortRuntime::Owns(const MacAddress& mac, uint32_t vlan) const {
  return connected_ && config_.vlan == vlan &&
         std::find(config_.macs.begin(), config_.macs.end(), mac) != config_.macs.end();
}

absl::Status PortRuntime::Claim(const PortConfig& config) {
  const auto vlan = static_cast<uint16_t>(config.vlan);
  size_t claimed = 0;
  absl::Status status = absl::OkStatus();
  for (const MacAddress& mac : config.macs) {
    status = uplink_.flood().Claim(mac);
    if (!status.ok()) break;
    ++claimed;
    status = uplink_.program().SetFilter(mac, vlan, {place_.slot, place_.placement.queue});
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
  absl::Status status = uplink_.program().SetVmSocket(place_.slot, vm_socket_->fd());
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
void PortRuntime::DrainVmSocket() {
  std::array<Frame, kBurst> frames;
  std::vector<uint64_t> buffers;
  while (const uint32_t count = vm_socket_->Receive(frames.data(), kBurst)) {
    for (uint32_t i = 0; i < count; ++i) buffers.push_back(frames[i].addr);
  }
  drained_ += buffers.size();
  home().worker->ReturnBuffers(buffers);
}

Counters PortRuntime::Close() {
  Disconnect();
  if (closed_ || port_ == nullptr) return {};
  closed_ = true;
  port_->StopArrivals();
  uplink_.program().ClearVmSocket(place_.slot);
  WaitForRunningPrograms();
  DrainVmSocket();
  Counters last = CountersNow();
  const uint64_t undelivered = last.in_pkts - last.in_forwarded_pkts - last.InDiscards();
  last.in_drops[VMQD_DROP_PORT_GONE] += undelivered;
  return last;
}

PortRuntime::~PortRuntime() {
  Close();
  Worker& worker = *home().worker;
  if (port_ != nullptr) {
    for (int fd : port_->WakeFds()) worker.Unwatch(fd);
    port_.reset();
    worker.ReturnBuffers(
        home().area->OwnedBy(static_cast<FrameArea::Owner>(FrameArea::kFirstPort + place_.slot)));
  }
  if (vm_socket_ != nullptr) worker.Unwatch(vm_socket_->fd());
  vm_socket_.reset();
  if (reserved_) {
    home().reserved -= buffers_.total();
    --home().ports;
  }
  // An error means that somebody else deleted it first.
  if (!delete_device_) return;
  if (link_.ifindex == 0) {
    DeleteMadeDevice(config_, site_);
  } else {
    DeleteLink(link_.ifindex).IgnoreError();
  }
}

uint32_t PortRuntime::BuffersHeld() const {
  return home().area->CountOwnedBy(
      static_cast<FrameArea::Owner>(FrameArea::kFirstPort + place_.slot));
}

PortEntry PortRuntime::Entry() {
  PortEntry entry;
  entry.serial = place_.serial;
  entry.slot = place_.slot;
  entry.home = place_.placement.queue;
  entry.port = port_.get();
  entry.vm_socket = vm_socket_.get();
  entry.state = &state_;
  entry.vlan = static_cast<uint16_t>(config_.vlan);
  entry.max_len = EffectiveMtu() + kEthHeaderLen;
  entry.quantum = std::max(config_.weight * kQuantumPerWeight, kLeastQuantum);
  entry.batch = std::clamp(config_.weight * kBurst / kDefaultWeight, kBurst / 16, kBurst);
  entry.trusted = config_.trusted;
  entry.disabled = config_.disabled;
  for (const MacAddress& mac : config_.macs) entry.macs.push_back(mac.ToWord());
  for (const auto& counters : counters_) entry.counters.push_back(counters.get());
  entry.link_up = &link_up_;
  return entry;
}

Counters PortRuntime::CountersNow() const {
  Counters counters;
  for (const auto& by_worker : counters_) AddFrameCounters(*by_worker, counters);
  const PortArrivals arrivals = port_->Arrivals();
  counters.in_pkts = arrivals.pkts;
  for (size_t i = 0; i < kDropReasonCount; ++i) counters.in_drops[i] += arrivals.drops[i];
  // Offered by the XDP program, and lost before a worker saw it.
  const xdp_statistics socket = vm_socket_->Statistics();
  counters.offered_pkts += socket.rx_ring_full + socket.rx_dropped + drained_;
  counters.out_drops[VMQD_DROP_RX_RING_FULL] += socket.rx_ring_full;
  counters.out_drops[VMQD_DROP_RX_NO_BUFFER] += socket.rx_dropped;
  counters.out_drops[VMQD_DROP_PORT_GONE] += drained_;
  return counters;
}

PortStatus PortRuntime::Status() const {
  PortStatus status;
  status.config = config_;
  if (config_.disabled) {
    status.oper = OperStatus::kDown;
    status.oper_reason = "administratively down";
  } else if (!link_.up || !link_.carrier) {
    status.oper = OperStatus::kDown;
    status.oper_reason = !link_.up ? absl::StrCat(link_.name, " is down")
                         : config_.kind == PortKind::kTap
                             ? absl::StrCat("no VMM has opened ", link_.name)
                             : absl::StrCat("the other end of ", link_.name, " is down");
  }
  status.queue = place_.placement.queue;
  status.queue_reason = place_.placement.reason;
  status.mtu = EffectiveMtu();
  status.macs = config_.macs;
  status.cpu = home().worker->cpu();
  status.counters = CountersNow();
  status.rates = rates_;
  status.sockets.push_back(StatusOf(*vm_socket_, "vm"));
  for (const XskSocket* socket : port_->Sockets()) {
    status.sockets.push_back(StatusOf(*socket, "port"));
  }
  return status;
}

void PortRuntime::OnLink(bool up, bool carrier) {
  link_.up = up;
  link_.carrier = carrier;
  link_up_.store(up && carrier);
}

void PortRuntime::Sample(double seconds) {
  RateSample now;
  for (const auto& counters : counters_) {
    now.in_pkts += counters->in_received.Get();
    now.out_pkts += counters->out_pkts.Get();
    now.in_octets += counters->in_octets.Get();
    now.out_octets += counters->out_octets.Get();
  }
  rates_ = RatesBetween(sample_, now, seconds);
  sample_ = now;
}

}  // namespace vmqd

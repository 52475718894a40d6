#include "daemon/port/netdev_port.h"

#include <algorithm>
#include <bit>

#include "daemon/xdp/frame_chain.h"

namespace vmqd {

absl::StatusOr<std::unique_ptr<NetdevPort>> NetdevPort::Open(FrameArea& area, PortProgram& program,
                                                             const Options& options) {
  std::unique_ptr<NetdevPort> port(new NetdevPort(program, options));
  if (absl::Status status = port->OpenSockets(area); !status.ok()) return status;
  const auto owner = static_cast<FrameArea::Owner>(FrameArea::kFirstPort + options.slot);
  port->sender_ = std::make_unique<DeviceSender>(*port->anchor_, options.buffers.quota, owner);
  // Maps first, then the program: a frame never meets half a configuration.
  for (uint32_t queue = 0; queue < options.queues; ++queue) {
    if (absl::Status status =
            program.SetSocket(options.first_socket + queue, port->receivers_[queue].socket->fd());
        !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = program.SetDevice(
          options.ifindex,
          {options.slot, options.first_socket, options.queues,
           port->anchor_->chains() ? options.max_frame_len : area.max_frame_len()});
      !status.ok()) {
    return status;
  }
  if (absl::Status status = port->AttachAgain(); !status.ok()) return status;
  return port;
}

absl::Status NetdevPort::AttachAgain() {
  if (attachment_ != nullptr) attachment_->Detach();  // the pin with it
  auto attachment = program_.Attach(options_.ifindex, options_.device, options_.pin);
  if (attachment.ok()) attachment_ = *std::move(attachment);
  return attachment.status();
}

absl::Status NetdevPort::OpenSockets(FrameArea& area) {
  fill_target_ = std::max(std::bit_floor(options_.buffers.fill / options_.queues), kMinFill);
  auto umem = Umem::Register(area, {fill_target_, options_.buffers.quota});
  if (!umem.ok()) return umem.status();
  umem_ = *std::move(umem);
  XskSocket::Options socket;
  socket.device = options_.device;
  socket.tx_size = options_.buffers.quota;
  socket.buffers_per_frame = BuffersFor(area, options_.max_frame_len);
  auto anchor = XskSocket::Open(*umem_, socket);
  if (!anchor.ok()) return anchor.status();
  anchor_ = *std::move(anchor);
  socket.tx_size = 0;
  socket.rx_size = fill_target_;
  for (uint32_t queue = 0; queue < options_.queues; ++queue) {
    socket.queue = queue;
    socket.anchor = queue != 0;
    auto opened = XskSocket::Open(*umem_, socket);
    if (!opened.ok()) return opened.status();
    XskSocket* filler = queue == 0 ? anchor_.get() : opened->get();
    receivers_.push_back({*std::move(opened), filler, 0});
  }
  return absl::OkStatus();
}

NetdevPort::~NetdevPort() {
  attachment_.reset();
  program_.ClearDevice(options_.ifindex);
  for (uint32_t queue = 0; queue < receivers_.size(); ++queue) {
    program_.ClearSocket(options_.first_socket + queue);
  }
  receivers_.clear();
}

uint32_t NetdevPort::Receive(FramePool& pool, Frame* out, uint32_t max) {
  FrameArea& area = pool.area();
  pool.tails().Clear();
  uint32_t count = 0;
  for (Receiver& receiver : receivers_) {
    const uint32_t fresh = receiver.socket->Receive(pool.tails(), out + count, max - count);
    for (uint32_t i = count; i < count + fresh; ++i) receiver.filled -= BuffersOf(out[i]);
    count += fresh;
  }
  for (uint32_t i = 0; i < count; ++i) {
    // A veth hands over checksums its sender left to the device, and says nothing about it.
    if (i + 1 < count) __builtin_prefetch(area.Data(out[i + 1].addr));
    area.SetOwner(out[i].addr, FrameArea::kInHand);
    FinishChecksum(area, out[i]);
  }
  return count;
}

void NetdevPort::Recycle(FramePool& pool) {
  sender_->Recycle(pool);
  const auto owner = static_cast<FrameArea::Owner>(FrameArea::kFirstPort + options_.slot);
  for (Receiver& receiver : receivers_) {
    // In halves, so that the ring's indices are not written for every frame.
    if (receiver.filled > fill_target_ / 2) continue;
    uint64_t buffers[64];
    const uint32_t wanted =
        std::min({fill_target_ - receiver.filled, pool.available(), receiver.filler->FillRoom(),
                  static_cast<uint32_t>(std::size(buffers))});
    for (uint32_t i = 0; i < wanted; ++i) {
      buffers[i] = pool.Take();
      pool.area().SetOwner(buffers[i], owner);
    }
    receiver.filler->Fill(buffers, wanted);
    receiver.filled += wanted;
  }
}

std::vector<int> NetdevPort::WakeFds() const {
  std::vector<int> fds;
  for (const Receiver& receiver : receivers_) fds.push_back(receiver.socket->fd());
  return fds;
}

PortArrivals NetdevPort::Arrivals() {
  const vmqd_port_counters kernel = program_.Counters(options_.slot);
  PortArrivals arrivals;
  arrivals.pkts = kernel.received;
  std::copy(std::begin(kernel.drops), std::end(kernel.drops), arrivals.drops.begin());
  for (const Receiver& receiver : receivers_) {
    const xdp_statistics socket = receiver.socket->Statistics();
    arrivals.drops[VMQD_DROP_RX_RING_FULL] += socket.rx_ring_full;
    arrivals.drops[VMQD_DROP_RX_NO_BUFFER] += socket.rx_dropped;
  }
  return arrivals;
}

std::vector<const XskSocket*> NetdevPort::Sockets() const {
  std::vector<const XskSocket*> sockets = {anchor_.get()};
  for (const Receiver& receiver : receivers_) sockets.push_back(receiver.socket.get());
  return sockets;
}

}  // namespace vmqd

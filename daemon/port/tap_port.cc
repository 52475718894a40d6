#include "daemon/port/tap_port.h"

#include <algorithm>
#include <cstring>

#include "daemon/net/checksum.h"
#include "daemon/net/ethernet.h"
#include "daemon/xdp/frame_tag.h"

namespace vmqd {
namespace {

constexpr uint64_t kNone = UINT64_MAX;
constexpr uint32_t kUnusedFillRing = 16;  // every anchor has one; a tap never fills it

}  // namespace

absl::StatusOr<std::unique_ptr<TapPort>> TapPort::Open(Umem& home, bool zero_copy,
                                                       PortProgram& program,
                                                       const Options& options) {
  std::unique_ptr<TapPort> port(new TapPort(options));
  port->buffers_.fill(kNone);
  if (zero_copy) {
    auto own = Umem::Register(home.area(), {kUnusedFillRing, options.buffers.quota});
    if (!own.ok()) return own.status();
    port->own_umem_ = *std::move(own);
  }
  XskSocket::Options socket;
  socket.device = options.device;
  socket.tx_size = options.buffers.quota;
  socket.buffers_per_frame = BuffersFor(home.area(), options.max_frame_len);
  auto opened = XskSocket::Open(zero_copy ? *port->own_umem_ : home, socket);
  if (!opened.ok()) return opened.status();
  port->socket_ = *std::move(opened);
  port->max_frame_len_ =
      port->socket_->chains() ? options.max_frame_len : home.area().max_frame_len();
  port->sender_ = std::make_unique<DeviceSender>(
      *port->socket_, options.buffers.quota,
      static_cast<FrameArea::Owner>(FrameArea::kFirstPort + options.slot));
  // The fence first: no frame slips through to the host stack while the socket is being opened.
  if (absl::Status status = program.Fence(options.ifindex, options.device); !status.ok()) {
    return status;
  }
  auto receiver = PacketSocket::Open(options.ifindex, options.device, PacketSocket::Role::kDevice);
  if (!receiver.ok()) return receiver.status();
  port->receiver_ = *std::move(receiver);
  return port;
}

uint32_t TapPort::Receive(FramePool& pool, Frame* out, uint32_t max) {
  pool.tails().Clear();
  if (next_ == received_) ReceiveBatch(pool);
  uint32_t count = 0;
  while (next_ < received_ && count < max) {
    const uint32_t before = next_;
    const uint32_t made = Expand(pool, out + count, max - count);
    count += made;
    if (made == 0 && next_ == before) break;  // no buffer left; the rest waits
  }
  return count;
}

// Brings the receive buffers in hand to the front and adds fresh ones; returns how many there are.
uint32_t TapPort::TopUpBuffers(FramePool& pool) {
  const auto owner = static_cast<FrameArea::Owner>(FrameArea::kFirstPort + options_.slot);
  const uint32_t wanted = std::min(PacketSocket::kBatch, options_.buffers.fill);
  auto end = std::remove(buffers_.begin(), buffers_.end(), kNone);
  auto held = static_cast<uint32_t>(end - buffers_.begin());
  while (held < wanted && pool.available() > 0) {
    buffers_[held] = pool.Take();
    pool.area().SetOwner(buffers_[held++], owner);
  }
  std::fill(buffers_.begin() + held, buffers_.end(), kNone);
  return held;
}

void TapPort::ReceiveBatch(FramePool& pool) {
  const uint32_t held = TopUpBuffers(pool);
  std::array<uint8_t*, PacketSocket::kBatch> data;
  for (uint32_t i = 0; i < held; ++i) {
    data[i] = pool.area().Data(buffers_[i] + FrameArea::kHeadroom);
  }
  next_ = 0;
  received_ =
      held == 0 ? 0
                : receiver_->Receive(data.data(), pool.area().max_frame_len(), held, batch_.data());
}

uint32_t TapPort::Expand(FramePool& pool, Frame* out, uint32_t max) {
  PacketSocket::Received& frame = batch_[next_];
  if (!plan_ && frame.header.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
    plan_ = Segmentation::Plan({frame.data, frame.length}, frame.header);
    segment_ = 0;
    if (!plan_ || plan_->count() > Segmentation::kMaxCount ||
        plan_->max_length() > max_frame_len_) {
      plan_.reset();
      Drop(DropReason::kBAD_OFFLOAD);
      return 0;
    }
    segments_added_.Add(plan_->count() - 1);
  }
  return plan_ ? ExpandSegments(pool, out, max) : ExpandPlain(pool, out);
}

// The buffer the frame was received into goes on as it is, unless it was too small.
uint32_t TapPort::ExpandPlain(FramePool& pool, Frame* out) {
  PacketSocket::Received& frame = batch_[next_];
  if (frame.length > max_frame_len_) {
    Drop(DropReason::kFRAME_TOO_LARGE);
    return 0;
  }
  if ((frame.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
      !CompleteChecksumAt(frame.data, frame.length, frame.header.csum_start,
                          frame.header.csum_offset)) {
    Drop(DropReason::kBAD_OFFLOAD);
    return 0;
  }
  frame.header.flags = 0;  // a long one may have to wait for buffers, and comes here again
  if (frame.length > pool.area().max_frame_len()) return ExpandLong(pool, out);
  *out = {buffers_[next_] + FrameArea::kHeadroom, frame.length};
  if (frame.tagged) {
    // The kernel moved the tag out of the frame; put it back, so that the police sees what was
    // sent.
    PushVlanTag(frame.data, *out, frame.tci, frame.tpid);
  }
  socket_->area().SetOwner(out->addr, FrameArea::kInHand);
  buffers_[next_++] = kNone;
  return 1;
}

// It lies in the packet socket's own memory.
uint32_t TapPort::ExpandLong(FramePool& pool, Frame* out) {
  const PacketSocket::Received& frame = batch_[next_];
  if (!CopyToBuffers(pool, frame.data, frame.length, out)) return 0;
  if (frame.tagged) PushVlanTag(pool.area().Data(out->addr), *out, frame.tci, frame.tpid);
  ++next_;
  return 1;
}

uint32_t TapPort::ExpandSegments(FramePool& pool, Frame* out, uint32_t max) {
  uint32_t count = 0;
  for (; count < max && segment_ < plan_->count(); ++count, ++segment_) {
    Frame& frame = out[count];
    const auto write = [this](uint8_t* to) { return plan_->Write(segment_, to); };
    if (!WriteToBuffers(pool, plan_->max_length(), write, &frame)) break;
    if (!batch_[next_].tagged) continue;
    PushVlanTag(pool.area().Data(frame.addr), frame, batch_[next_].tci, batch_[next_].tpid);
  }
  if (segment_ == plan_->count()) {
    plan_.reset();
    ++next_;
  }
  return count;
}

void TapPort::Drop(DropReason reason) {
  drops_[static_cast<size_t>(reason)].Add(1);
  ++next_;
}

PortArrivals TapPort::Arrivals() {
  const PacketSocket::Statistics socket = receiver_->ReadStatistics();
  PortArrivals arrivals;
  arrivals.pkts = socket.received + segments_added_.Get();
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    arrivals.drops[i] = drops_[i].Get();
  }
  arrivals.drops[VMQD_DROP_RX_BACKLOG] += socket.dropped;
  arrivals.drops[VMQD_DROP_BAD_OFFLOAD] += receiver_->unspeakable();
  return arrivals;
}

}  // namespace vmqd

// A port on a tap device that a VMM holds open. Towards the VM: AF_XDP transmit, like every port.
// From the VM: a packet socket, because only there the virtio_net_hdr survives; with it checksums
// are completed where the guest says they are missing, and large segments are cut at the size the
// guest says (see xdp/packet_socket.h). A tc program behind the socket keeps the frames from the
// host stack.
#ifndef VMQD_DAEMON_PORT_TAP_PORT_H_
#define VMQD_DAEMON_PORT_TAP_PORT_H_

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/net/counter.h"
#include "daemon/net/segmentation.h"
#include "daemon/port/port.h"
#include "daemon/xdp/packet_socket.h"
#include "daemon/xdp/program.h"

namespace vmqd {

class TapPort final : public Port {
 public:
  struct Options {
    std::string device;
    int ifindex = 0;
    uint32_t slot = 0;
    PortBuffers buffers{};
    uint32_t max_frame_len = 0;  // as NetdevPort::Options
  };
  // `home`: the registration of the home queue, which the port shares, unless its sockets are
  // zero-copy ones. It and `program` must outlive the port.
  static absl::StatusOr<std::unique_ptr<TapPort>> Open(Umem& home, bool zero_copy,
                                                       PortProgram& program,
                                                       const Options& options);

  uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) override;
  uint32_t Room() override { return sender_->Room(); }
  uint32_t Transmit(FramePool&, const Frame* frames, uint32_t count) override {
    return sender_->Transmit(frames, count);
  }
  PortOffloads Offloads() const override { return {.chains = sender_->chains()}; }
  Refused Flush() override { return {.frames = sender_->Flush()}; }
  void Recycle(FramePool& pool) override { sender_->Recycle(pool); }
  bool Pending() const override { return sender_->Pending() || next_ < received_; }

  std::vector<int> WakeFds() const override { return {receiver_->fd()}; }
  PortArrivals Arrivals() override;
  void StopArrivals() override { receiver_->Silence(); }
  std::vector<const XskSocket*> Sockets() const override { return {socket_.get()}; }

 private:
  explicit TapPort(const Options& options) : options_(options) {}
  void ReceiveBatch(FramePool& pool);
  uint32_t TopUpBuffers(FramePool& pool);
  // Turns the frame at `next_` into at most `max` frames at `out`; moves on when it is done with
  // it.
  uint32_t Expand(FramePool& pool, Frame* out, uint32_t max);
  uint32_t ExpandPlain(FramePool& pool, Frame* out);
  uint32_t ExpandLong(FramePool& pool, Frame* out);
  uint32_t ExpandSegments(FramePool& pool, Frame* out, uint32_t max);
  void Drop(DropReason reason);

  const Options options_;
  std::unique_ptr<Umem> own_umem_;  // null where the home queue's is shared
  std::unique_ptr<XskSocket> socket_;
  std::unique_ptr<DeviceSender> sender_;
  std::unique_ptr<PacketSocket> receiver_;

  // The batch in hand: frames [next_, received_) of `batch_` are still to be handed out.
  std::array<PacketSocket::Received, PacketSocket::kBatch> batch_{};
  std::array<uint64_t, PacketSocket::kBatch> buffers_{};  // of batch_; kNone: none, or handed out
  uint32_t received_ = 0;
  uint32_t next_ = 0;
  std::optional<Segmentation> plan_;  // of the frame at next_
  uint32_t segment_ = 0;              // its next segment

  uint32_t max_frame_len_ = 0;  // that the VM may send

  Counter segments_added_;  // frames made beyond the first of a large segment
  std::array<Counter, kDropReasonCount> drops_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_TAP_PORT_H_

// A port on a network device, e.g. one end of a veth pair: AF_XDP both ways, one receiving socket
// for each receive queue of the device, all on the home worker's memory. The kinds NETDEV, VETH and
// HOST are this; they differ only in who made the device.
#ifndef VMQD_DAEMON_PORT_NETDEV_PORT_H_
#define VMQD_DAEMON_PORT_NETDEV_PORT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/port/port.h"
#include "daemon/xdp/program.h"

namespace vmqd {

class NetdevPort final : public Port {
 public:
  static constexpr uint32_t kMinFill = 16;  // buffers waiting at each receive queue, at least

  struct Options {
    std::string device;
    int ifindex = 0;
    uint32_t queues = 1;        // receive queues of the device, at most VMQD_MAX_PORT_QUEUES
    uint32_t slot = 0;          // the port's, for maps and owner tags
    uint32_t first_socket = 0;  // first of `queues` entries of port_sockets that are its own
    PortBuffers buffers{};
    std::string pin;  // of the program, see attachment.h; empty: none
    uint32_t max_frame_len =
        0;  // longest frame, tag included; more than a buffer: frames of several
  };
  // Opens the sockets, then attaches the program. `area` and `program` must outlive the port.
  static absl::StatusOr<std::unique_ptr<NetdevPort>> Open(FrameArea& area, PortProgram& program,
                                                          const Options& options);
  // Detaches the program, then closes the sockets.
  ~NetdevPort() override;

  uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) override;
  uint32_t Room() override { return sender_->Room(); }
  uint32_t Transmit(FramePool&, const Frame* frames, uint32_t count) override {
    return sender_->Transmit(frames, count);
  }
  PortOffloads Offloads() const override { return {.chains = sender_->chains()}; }
  Refused Flush() override { return {.frames = sender_->Flush()}; }
  void Recycle(FramePool& pool) override;
  bool Pending() const override { return sender_->Pending(); }

  std::vector<int> WakeFds() const override;
  PortArrivals Arrivals() override;
  void StopArrivals() override { attachment_.reset(); }
  std::vector<const XskSocket*> Sockets() const override;
  Attachment::State LookAtProgram() const override { return attachment_->Look(); }
  absl::Status AttachAgain() override;

 private:
  struct Receiver {
    std::unique_ptr<XskSocket> socket;
    XskSocket* filler = nullptr;  // anchor of its queue
    uint32_t filled = 0;          // buffers the kernel has for receiving
  };
  NetdevPort(PortProgram& program, const Options& options) : program_(program), options_(options) {}
  absl::Status OpenSockets(FrameArea& area);

  PortProgram& program_;
  const Options options_;
  uint32_t fill_target_ = 0;  // per receiver
  std::unique_ptr<Umem> umem_;
  // Transmits, and owns the rings of queue 0. Apart from the receivers, because the worker sleeps
  // on those; see UplinkQueue.
  std::unique_ptr<XskSocket> anchor_;
  std::vector<Receiver> receivers_;
  std::unique_ptr<DeviceSender> sender_;
  std::unique_ptr<Attachment> attachment_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_NETDEV_PORT_H_

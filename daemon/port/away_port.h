// A port that is at home on another queue than the one its device's sockets have their memory of:
// it was moved. Its sockets stay open, and keep their buffers, a pool of their own, so that nothing
// is lost; a frame is copied once on its way between them and the home worker's memory.
//
// The alternative, to open the sockets anew on the memory of the new home queue, stops the device
// for the 15 to 20 ms in which the kernel refuses another memory on its queue (Linux 6.18).
//
// Its worker calls it, as any port; the other methods are control's, while no worker uses it.
#ifndef VMQD_DAEMON_PORT_AWAY_PORT_H_
#define VMQD_DAEMON_PORT_AWAY_PORT_H_

#include <array>
#include <vector>

#include "daemon/port/port.h"

namespace vmqd {

class AwayPort final : public Port {
 public:
  // `port` has its sockets in `area`, where `keeps` buffers are set aside for it, tagged `owner`
  // when they are in its rings or its pool. Both outlive this.
  AwayPort(Port& port, FrameArea& area, FrameArea::Owner owner, uint32_t keeps)
      : port_(port), pool_(area, owner), owner_(owner), keeps_(keeps) {}

  // Those set aside for it, out of `pool`, if that is of its own memory.
  void TakeBuffers(FramePool& pool) override;
  // Control. Its free buffers, which are the memory's worker's again.
  std::vector<uint64_t> GiveBuffers();

  uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) override;
  PortOffloads Offloads() const override;
  uint32_t Room() override;
  uint32_t Transmit(FramePool& pool, const Frame* frames, uint32_t count) override;
  Refused Flush() override { return port_.Flush(); }
  void Recycle(FramePool&) override { port_.Recycle(pool_); }
  bool Pending() const override { return port_.Pending(); }
  Rest PrepareSleep() override { return port_.PrepareSleep(); }

  std::vector<int> WakeFds() const override { return port_.WakeFds(); }
  PortArrivals Arrivals() override { return port_.Arrivals(); }
  void StopArrivals() override { port_.StopArrivals(); }
  std::vector<const XskSocket*> Sockets() const override { return port_.Sockets(); }
  Attachment::State LookAtProgram() const override { return port_.LookAtProgram(); }
  absl::Status AttachAgain() override { return port_.AttachAgain(); }

 private:
  static constexpr uint32_t kBurst = 64;
  uint32_t BuffersPerFrame() const { return port_.Offloads().chains ? kMostBuffers : 1; }

  Port& port_;
  FramePool pool_;
  const FrameArea::Owner owner_;
  const uint32_t keeps_;
  std::array<Frame, kBurst> frames_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_AWAY_PORT_H_

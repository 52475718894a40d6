// One queue pair of a vhost-user port: the worker's side. Frames are copied between guest memory
// and the worker's buffers, or straight from one guest to the other; nothing is ever looked at in
// guest memory (net/guest_span.h), and what is checked is what is delivered.
//
// Port's first group of methods, and PrepareSleep: the home worker. TransmitShared: any other
// worker of the uplink; whoever fills the guest's buffers holds `filling_` for as long as a few
// frames take. Start and Stop: the vhost thread, which after Stop waits for the turns of all
// workers to end (VhostUserPort).
#ifndef VMQD_DAEMON_PORT_VHOST_PAIR_H_
#define VMQD_DAEMON_PORT_VHOST_PAIR_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/net/counter.h"
#include "daemon/net/frame_tail.h"
#include "daemon/net/mac_address.h"
#include "daemon/port/port.h"
#include "daemon/virtio/vhost_device.h"

namespace vmqd {

// Room for a burst each way. Every worker has one, for all vhost-user ports of the uplink.
struct VhostScratch {
  static constexpr uint32_t kFrames = 64;
  ChainBatch sent;      // by the guest, from Receive to Settle
  ChainBatch receives;  // the guest's buffers, within Transmit
  std::array<FrameTail, kFrames> tails;
  std::array<FramePiece, ChainBatch::kSpans> pieces;
  uint32_t piece_count = 0;
};

class VhostPair final : public Port {
 public:
  // `scratch`: the workers', by number; `home` is the pair's own at first. They outlive it.
  VhostPair(std::vector<VhostScratch*> scratch, uint32_t home)
      : scratches_(std::move(scratch)), scratch_(scratches_[home]) {}
  ~VhostPair() override;

  // The ring by which the guest transmits, or receives, may be used from now on.
  void Start(RingUse use, VhostQueue& queue);
  // No new use is begun; one under way ends with the worker's turn. Then Forget.
  void Stop(RingUse use);
  void Forget(RingUse use);
  // Sends a reverse ARP on the guest's behalf, with the worker's next turn.
  void Announce(const MacAddress& mac) { announce_.store(mac.ToWord()); }
  // Why the worker stopped using the rings; nothing when it did not, or was given new ones.
  struct Fault {
    RingUse ring;
    RingFault what;
  };
  std::optional<Fault> TakeFault();

  uint32_t Receive(FramePool& pool, Frame* out, uint32_t max) override;
  void Settle() override;
  PortOffloads Offloads() const override;
  bool Takes() const override {
    const Running* ring = to_guest_.live.load(std::memory_order_acquire);
    return ring != nullptr && ring->queue->enabled;
  }
  uint32_t Room() override;
  uint32_t Transmit(FramePool& pool, const Frame* frames, uint32_t count) override;
  bool CanShare() const override { return true; }
  Shared TransmitShared(uint32_t worker, FramePool& pool, const Frame* frames,
                        uint32_t count) override;
  Refused Flush() override;
  void Recycle(FramePool&) override {}
  bool Pending() const override { return false; }
  Rest PrepareSleep() override;
  void Leave(uint32_t worker) override { scratch_ = scratches_[worker]; }

  std::vector<int> WakeFds() const override { return {}; }  // kicks come and go: VhostUserPort
  PortArrivals Arrivals() override;
  void StopArrivals() override {}
  std::vector<const XskSocket*> Sockets() const override { return {}; }

 private:
  // A ring in use, with what follows from the features that were negotiated.
  struct Running {
    VhostQueue* queue;
    uint32_t header;  // bytes of the virtio_net_hdr in front of each frame
    bool mergeable;
    uint64_t features;
    PortOffloads takes;  // what the guest does itself with frames it receives
  };
  struct Direction {
    std::atomic<const Running*> live{nullptr};
    std::unique_ptr<const Running> owned;  // the vhost thread's
    bool kicks_wanted = true;              // whoever uses the ring, like all below
    bool starved = false;                  // there was no buffer for a frame
    std::atomic<RingFault> fault{RingFault::kNone};
  };
  Direction& Of(RingUse use) { return use == RingUse::kReads ? from_guest_ : to_guest_; }

  // From the guest: vhost_receive.cc.
  bool MakeFrame(const Running& ring, FramePool& pool, const Chain& chain, Frame* out);
  bool CheckOffload(const Running& ring, const uint8_t* head, FrameTail& tail, uint32_t length);
  bool Drop(DropReason reason);
  bool MakeAnnouncement(FramePool& pool, Frame* out);
  // To the guest: vhost_transmit.cc.
  enum class Fit { kPlaced, kNever, kNotNow };
  uint32_t Fill(const Running& ring, ChainBatch& batch, FramePool& pool, const Frame* frames,
                uint32_t count, uint32_t* refused);
  static Fit Place(const Running& ring, ChainBatch& batch, FramePool& pool, const Frame& frame,
                   uint32_t* next);
  static void Write(const Running& ring, ChainBatch& batch, FramePool& pool, const Frame& frame,
                    uint32_t first, uint32_t chains);

  static void WriteAtOnce(GuestSpan to, const virtio_net_hdr_mrg_rxbuf& header, const uint8_t* data,
                          const Frame& frame);
  Rest PrepareToFill();

  void Look(RingUse use, const Running& ring);
  void Notify(RingUse use, VhostQueue& queue);

  const std::vector<VhostScratch*> scratches_;
  VhostScratch* scratch_;             // the home worker's
  std::atomic<bool> filling_{false};  // somebody uses to_guest_ and what belongs to it
  Direction from_guest_;
  Direction to_guest_;
  const Running* receiving_ = nullptr;  // from Receive to Settle
  bool stalled_ = false;                // no buffer was free for what the guest sends
  // Whose buffers were filled since the last Flush, which is in the same turn: a ring that is
  // stopped meanwhile lives until then, and its guest is told of what it got.
  const Running* filled_ = nullptr;
  uint32_t refused_ = 0;
  std::atomic<uint64_t> announce_{0};  // MacAddress::ToWord(); 0: none

  Counter received_;
  std::array<Counter, kDropReasonCount> drops_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_PORT_VHOST_PAIR_H_

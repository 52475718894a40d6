// A whole front end for tests: the VMM's side of vhost-user (vhost_client.h) and its guest's
// network driver (test_driver.h) on memory of their own, for ports of a running switch. It behaves;
// a test that wants a hostile one takes client(), memory() and the drivers and does what it likes.
// One thread at a time.
#ifndef VMQD_TESTS_SUPPORT_FRONT_END_H_
#define VMQD_TESTS_SUPPORT_FRONT_END_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/net/virtio_net_header.h"
#include "tests/support/frame_builder.h"
#include "tests/support/test_driver.h"
#include "tests/support/vhost_client.h"

namespace vmqd::testing {

// Feature bits, in groups (VIRTIO 1.3, 5.1.3 and 6).
inline constexpr uint64_t kMergeable = uint64_t{1} << 15;
inline constexpr uint64_t kIndirect = uint64_t{1} << 28;
inline constexpr uint64_t kEventIdx = uint64_t{1} << 29;
inline constexpr uint64_t kPacked = uint64_t{1} << 34;
inline constexpr uint64_t kSendsPartial = uint64_t{1} << 0;  // CSUM
inline constexpr uint64_t kTakesPartial = uint64_t{1} << 1;  // GUEST_CSUM
inline constexpr uint64_t kSendsLarge = kSendsPartial | uint64_t{7} << 11 | uint64_t{1} << 56;
inline constexpr uint64_t kTakesLarge = kTakesPartial | uint64_t{7} << 7 | uint64_t{3} << 54;

struct ReceivedFrame {
  Bytes bytes;
  virtio_net_hdr offload{};
  uint16_t buffers = 0;  // as the header has it
  uint32_t pair = 0;
};

class FrontEnd {
 public:
  struct Options {
    uint32_t pairs = 1;
    uint32_t ring_size = 256;
    uint64_t features = 0;         // VERSION_1 and PROTOCOL_FEATURES apart
    uint32_t buffer_bytes = 1536;  // of one receive chain, in
    uint32_t buffer_pieces = 1;    // so many descriptors
    bool sealed = true;
    bool posts = true;  // makes all receive buffers available at once
  };
  // Bytes of the virtio_net_hdr with num_buffers.
  static constexpr uint32_t kHeader = 12;
  // What receive buffers are filled with before the device has them.
  static constexpr uint8_t kCanary = 0xc5;
  // Where a pair's transmit buffers lie, one for each entry, and how long each is.
  static constexpr uint64_t kTransmitBase = 0x40000000;
  static constexpr uint64_t kSlotBytes = 68 << 10;
  static constexpr uint64_t kRingBase = 0x10000000;
  static constexpr uint64_t kReceiveBase = 0x80000000;

  FrontEnd() : FrontEnd(Options{}) {}
  explicit FrontEnd(const Options& options);

  // Connects and starts everything, as the steps below do. False: the back end refused.
  bool Connect(const std::string& path);
  bool Negotiate();
  bool GiveMemory();
  bool StartRing(uint32_t ring);
  bool Enable(uint32_t ring, bool enabled = true);
  bool StartRings();
  // GET_VRING_BASE; the next StartRing goes on from there.
  bool StopRing(uint32_t ring);
  void Disconnect() { client_.Close(); }
  // A guest that boots again: empty rings, all receive buffers posted.
  void Reset();

  // `cuts`: lengths of the first descriptors of header and frame; the last one has the rest. Waits
  // for room for two seconds; false: there was none, the device does not give back.
  bool Send(const Bytes& frame, const virtio_net_hdr& offload = {},
            const std::vector<uint32_t>& cuts = {}, uint32_t pair = 0);
  // Whatever bytes, header included.
  bool SendRaw(const Bytes& bytes, const std::vector<uint32_t>& cuts = {}, uint32_t pair = 0);
  // The next frame on any pair; waits to be interrupted.
  std::optional<ReceivedFrame> Receive(int patience_ms = 2000);
  // Takes back what was sent, until nothing is outstanding. False: not within two seconds.
  bool AllSent();
  void Kick(uint32_t ring);

  // What the device did that it must not: bytes written beyond what it said, a frame without the
  // interrupt that was asked for. Empty: nothing.
  const std::string& problems() const { return problems_; }

  VhostClient& client() { return client_; }
  TestMemory& memory() { return memory_; }
  TestDriver& receive(uint32_t pair = 0) { return *drivers_[2 * pair]; }
  TestDriver& transmit(uint32_t pair = 0) { return *drivers_[2 * pair + 1]; }
  uint64_t slot(uint32_t number, uint32_t pair = 0) const;
  // The next transmit chain goes into an indirect table, if it fits one.
  void UseIndirect(bool use) { indirect_ = use; }
  const Options& options() const { return options_; }

 private:
  struct Pair {
    std::vector<uint32_t> free_slots;
    std::vector<uint32_t> slot_of;    // by chain id
    std::vector<uint64_t> buffer_of;  // likewise: the receive buffer
  };
  DriverConfig ConfigOf(uint32_t ring) const;
  uint64_t RingAt(uint32_t ring) const;
  void Post(uint32_t pair, uint64_t buffer);
  void ReapSent(uint32_t pair);
  std::optional<ReceivedFrame> TakeFrame(uint32_t pair);
  Bytes TakeBuffer(uint32_t pair, const TestDriver::Used& used);
  bool AwaitInterrupt(int patience_ms);

  const Options options_;
  const uint64_t ring_bytes_;
  TestMemory memory_;
  VhostClient client_;
  std::vector<std::unique_ptr<TestDriver>> drivers_;  // by ring
  std::vector<TestFd> kicks_, calls_;
  std::vector<uint32_t> bases_;
  std::vector<Pair> pairs_;
  bool indirect_ = false;
  std::string problems_;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_FRONT_END_H_

// A packet socket (AF_PACKET) in the two places where AF_XDP cannot serve:
//   - on an uplink, for broadcast and multicast: the XDP program passes them to the host stack,
//     which keeps them, and this socket takes the switch's copy. It also claims the VMs' addresses
//     of the NIC (PACKET_MR_UNICAST) and all multicast; the kernel drops the claims with the
//     socket, even after kill -9.
//   - on a tap port, for everything a VM sends: only here does the virtio_net_hdr survive, which
//     says where a checksum is missing and where a large segment wants to be cut. AF_XDP on a tap
//     loses it (Linux 6.18), and stock VMMs use it.
// Receiving is for one worker; the rest for control threads.
#ifndef VMQD_DAEMON_XDP_PACKET_SOCKET_H_
#define VMQD_DAEMON_XDP_PACKET_SOCKET_H_

#include <sys/socket.h>
#include "daemon/net/virtio_net_header.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/net/counter.h"
#include "daemon/net/mac_address.h"

namespace vmqd {

class PacketSocket {
 public:
  enum class Role {
    kFlood,   // received broadcast and multicast only
    kDevice,  // everything received, each frame with its virtio_net_hdr
  };
  static constexpr uint32_t kBatch = 32;
  // Longest frame that is received whole: 64 KiB, the longest segment a guest can leave to its
  // device, plus headers.
  static constexpr uint32_t kMaxLarge = 65536 + 256;

  // kFlood, `large`: frames that outgrow a buffer are received whole. kDevice: they always are.
  static absl::StatusOr<std::unique_ptr<PacketSocket>> Open(int ifindex, const std::string& device,
                                                            Role role, bool large = false);
  ~PacketSocket();
  PacketSocket(const PacketSocket&) = delete;
  PacketSocket& operator=(const PacketSocket&) = delete;

  int fd() const { return fd_; }

  struct Received {
    // The whole frame: in the buffer given, or, when it is longer than that, in memory of the
    // socket's own that is valid until the next call. Without such it is cut off.
    uint8_t* data = nullptr;
    uint32_t length = 0;
    bool tagged = false;  // the kernel took a tag off: its type (0x8100 or 0x88a8) and control
    uint16_t tpid = 0;
    uint16_t tci = 0;
    virtio_net_hdr header{};  // kDevice only
  };
  // Receives up to `count` <= kBatch frames with one system call, frame i into buffers[i] of
  // `capacity` <= 4096 bytes.
  uint32_t Receive(uint8_t* const* buffers, uint32_t capacity, uint32_t count, Received* out);

  // kFlood: has the NIC accept frames for `mac`, or no longer.
  absl::Status Claim(const MacAddress& mac);
  void Release(const MacAddress& mac);

  // Accepts nothing from now on.
  void Silence();

  // kDevice: frames the kernel took from the socket and threw away because it could not put their
  // offloads into a virtio_net_hdr (UFO). They count as received.
  uint64_t unspeakable() const { return unspeakable_.Get(); }

  struct Statistics {
    uint64_t received = 0;  // frames meant for this socket, dropped ones included
    uint64_t dropped = 0;   // its buffer was full
  };
  Statistics ReadStatistics();  // one control thread at a time

 private:
  PacketSocket(int fd, int ifindex, Role role, bool large);
  int fd_;
  int ifindex_;
  Role role_;
  Counter unspeakable_;
  Statistics statistics_;             // the kernel's are reset by each read
  std::unique_ptr<uint8_t[]> large_;  // kBatch places for frames that outgrow a buffer
  struct Slot;
  std::unique_ptr<std::array<Slot, kBatch>> slots_;
  std::array<mmsghdr, kBatch> messages_{};
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_PACKET_SOCKET_H_

// Receive coalescing in software (GRO): finds the frames of a burst that follow one another in a
// TCP stream, so that a guest which takes large segments (VIRTIO 1.3, 5.1.3.1: GUEST_TSO4,
// GUEST_TSO6) gets them as one. Values only; nothing here allocates. One worker's.
//
// The rules are those of Linux' GRO (tcp_gro_receive, inet_gro_receive of 6.18; differences are
// noted in coalesce.cc): what is put together would be cut into the same frames again. Only the
// IPv4 ids of a sender that repeats one id with DF set would then count up, which no receiver may
// care about (RFC 6864, 4.1).
#ifndef VMQD_DAEMON_NET_COALESCE_H_
#define VMQD_DAEMON_NET_COALESCE_H_

#include <array>
#include <cstdint>
#include <span>

#include "daemon/net/virtio_net_header.h"

namespace vmqd {

class Coalescing {
 public:
  static constexpr uint32_t kMaxBurst = 64;  // frames
  static constexpr uint32_t kNone = UINT32_MAX;

  // What the guest negotiated. Without any of these there is no use in a call.
  struct Accepts {
    bool tso4 = false;
    bool tso6 = false;
  };

  struct Arrival {
    uint8_t* data = nullptr;  // Ethernet header first; nobody else reads or writes it now
    uint32_t length = 0;
    // False: goes as it is, and nothing goes past it. For a frame with a tail.
    bool whole = true;
  };

  // Delivered as one: the frame `first` of the burst, all of it, then the payloads of the further
  // ones in the order of the chain.
  struct Group {
    uint32_t first = 0;  // index into the burst
    uint32_t last = 0;   // end of the chain
    uint32_t frames = 1;
    uint32_t length = 0;  // bytes of all
    // All zero for one frame. Otherwise the headers of the first frame were rewritten to go with
    // it: lengths, IPv4 header checksum, FIN and PSH, a partial TCP checksum. Little endian.
    virtio_net_hdr offload{};
    bool fixed_id = false;  // IPv4 ids were all the same
  };
  struct Further {
    uint32_t next = kNone;  // index into the burst
    uint32_t offset = 0;    // of the payload in this frame
    uint32_t length = 0;    // of the payload
  };

  // Groups at most kMaxBurst frames. Every frame is in one group. Groups are in the order in which
  // their first frames arrived, so frames of one flow keep their order. A frame is merged only
  // after its checksums, and those of the first one, were found right.
  void Run(std::span<const Arrival> burst, const Accepts& accepts);

  // Of the last Run.
  std::span<const Group> groups() const { return {groups_.data(), group_count_}; }
  const Further& further(uint32_t frame) const { return further_[frame]; }

 private:
  // A plain TCP segment; everything is an offset or a length in bytes.
  struct Segment {
    const uint8_t* data = nullptr;
    uint32_t transport = 0;
    uint32_t headers = 0;
    uint32_t payload = 0;
    bool ipv6 = false;
  };
  enum class Kind {
    kSegment,  // of a flow that can be told
    kUnclear,  // perhaps of a flow that is being put together
    kForeign,  // surely of none
  };
  // A group that may still grow.
  struct Open {
    Segment head;
    uint32_t group = 0;
    uint32_t next_sequence = 0;
    uint8_t ends = 0;       // FIN and PSH of the last frame
    bool verified = false;  // the first frame's checksums
  };

  static Kind Classify(const Arrival& frame, Segment& out);
  static bool SameFlow(const Segment& a, const Segment& b);
  static bool IsConsecutiveId(const Group& group, const Segment& head, const Segment& next);
  static bool IsRight(const Segment& segment);
  bool MayOpen(const Segment& segment) const;
  bool Follows(const Open& open, const Segment& next) const;

  void TakeSegment(uint32_t frame, const Segment& segment);
  bool Merge(Open& open, uint32_t frame, const Segment& segment);
  void Begin(uint32_t frame, uint32_t length);
  void Hold(const Segment& segment);
  void Close(uint32_t at);
  void Finish(const Open& open);
  void FinishAll();

  static constexpr uint32_t kOpen = 8;  // as many as a list of Linux' GRO
  Accepts accepts_;
  std::span<const Arrival> burst_;  // during Run
  uint32_t group_count_ = 0;
  uint32_t open_count_ = 0;
  std::array<Open, kOpen> open_;  // the oldest first
  std::array<Group, kMaxBurst> groups_;
  std::array<Further, kMaxBurst> further_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_COALESCE_H_

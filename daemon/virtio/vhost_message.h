// The messages of vhost-user as bytes: header, requests, payloads, and how large each request is
// and how many file descriptors it carries. Values, no I/O; the vhost thread's. Follows the
// vhost-user specification (QEMU 10, docs/interop/vhost-user.rst); everything is in the host's byte
// order.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_MESSAGE_H_
#define VMQD_DAEMON_VIRTIO_VHOST_MESSAGE_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "daemon/virtio/unique_fd.h"

namespace vmqd {

enum class VhostRequest : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogFd = 7,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kSendRarp = 19,
  kNetSetMtu = 20,
  kGetConfig = 24,
  kSetConfig = 25,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
  kSetStatus = 39,
  kGetStatus = 40,
};

struct VhostHeader {
  static constexpr uint32_t kVersionMask = 3;
  static constexpr uint32_t kVersion = 1;
  static constexpr uint32_t kReply = 1 << 2;
  static constexpr uint32_t kNeedReply = 1 << 3;

  uint32_t request = 0;
  uint32_t flags = 0;
  uint32_t size = 0;  // of the payload, bytes
};

struct VhostRegionPayload {
  uint64_t guest_address;
  uint64_t size;
  uint64_t user_address;
  uint64_t mmap_offset;
};

struct VhostMemoryPayload {
  static constexpr uint32_t kMaxRegions = 8;
  uint32_t count;
  uint32_t padding;
  std::array<VhostRegionPayload, kMaxRegions> regions;
};

struct VhostOneRegionPayload {
  uint64_t padding;
  VhostRegionPayload region;
};

struct VhostVringState {
  uint32_t index;
  uint32_t value;
};

struct VhostVringAddress {
  static constexpr uint32_t kLog = 1;  // the only flag there is
  uint32_t index;
  uint32_t flags;
  uint64_t descriptors;  // user addresses
  uint64_t used;
  uint64_t available;
  uint64_t log;  // guest physical address of the used ring
};

struct VhostLogPayload {
  uint64_t size;
  uint64_t offset;
};

struct VhostConfigPayload {
  static constexpr uint32_t kMaxBytes = 256;
  uint32_t offset;
  uint32_t size;
  uint32_t flags;
  std::array<uint8_t, kMaxBytes> bytes;
};

// SET_VRING_KICK, _CALL and _ERR: an index, and whether a descriptor comes with it.
inline constexpr uint64_t kVringIndexMask = 0xff;
inline constexpr uint64_t kVringNoFd = 1 << 8;

// One whole message. Bytes the sender did not send are zero.
struct VhostMessage {
  static constexpr uint32_t kMaxFds = 8;
  static constexpr uint32_t kMaxPayload = sizeof(VhostConfigPayload);  // the largest

  VhostHeader header;
  std::array<uint8_t, kMaxPayload> payload{};
  std::array<UniqueFd, kMaxFds> fds;
  uint32_t fd_count = 0;

  VhostRequest request() const { return static_cast<VhostRequest>(header.request); }
  bool needs_reply() const { return (header.flags & VhostHeader::kNeedReply) != 0; }
  template <typename T>
  T As() const {
    static_assert(sizeof(T) <= kMaxPayload);
    T value;
    std::memcpy(&value, payload.data(), sizeof(T));
    return value;
  }
  // Makes `value` the whole payload.
  template <typename T>
  void Put(const T& value) {
    static_assert(sizeof(T) <= kMaxPayload);
    std::memcpy(payload.data(), &value, sizeof(T));
    header.size = sizeof(T);
  }
};

// "SET_VRING_NUM"; "request 99" for one that is not in the table.
std::string VhostRequestName(uint32_t request);

// kInvalidArgument, in words, for a header no front end may send: an unknown request, another
// version, a reply, unknown flags, a size the request cannot have. Nothing of the payload need be
// there yet: what passes fits into VhostMessage.
absl::Status CheckVhostHeader(const VhostHeader& header);

// The rest of the shape, when payload and descriptors are there: the size agrees with the count
// inside the payload, and exactly the descriptors came that this request carries.
absl::Status CheckVhostMessage(const VhostMessage& message);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_MESSAGE_H_

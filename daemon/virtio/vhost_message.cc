// The table of requests, and what is checked of a message before anyone looks at what it says. See
// vhost_message.h.
#include "daemon/virtio/vhost_message.h"

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

constexpr uint32_t kRegion = sizeof(VhostRegionPayload);
constexpr uint32_t kMemoryHead = 8;
constexpr uint32_t kConfigHead = 12;

// What a request looks like. Sizes are exact when least and most agree; the two requests of a
// variable size are compared with the count in their payload by CheckVhostMessage.
struct Shape {
  VhostRequest request;
  const char* name;
  uint32_t least_bytes;
  uint32_t most_bytes;
  uint32_t least_fds;
  uint32_t most_fds;
};

// REM_MEM_REG: the specification has the back end put up with a descriptor, which is closed.
constexpr std::array<Shape, 27> kShapes = {{
    {VhostRequest::kGetFeatures, "GET_FEATURES", 0, 0, 0, 0},
    {VhostRequest::kSetFeatures, "SET_FEATURES", 8, 8, 0, 0},
    {VhostRequest::kSetOwner, "SET_OWNER", 0, 0, 0, 0},
    {VhostRequest::kResetOwner, "RESET_OWNER", 0, 0, 0, 0},
    {VhostRequest::kSetMemTable, "SET_MEM_TABLE", kMemoryHead + kRegion,
     kMemoryHead + VhostMemoryPayload::kMaxRegions* kRegion, 1, VhostMemoryPayload::kMaxRegions},
    {VhostRequest::kSetLogBase, "SET_LOG_BASE", 16, 16, 1, 1},
    {VhostRequest::kSetLogFd, "SET_LOG_FD", 0, 0, 1, 1},
    {VhostRequest::kSetVringNum, "SET_VRING_NUM", 8, 8, 0, 0},
    {VhostRequest::kSetVringAddr, "SET_VRING_ADDR", 40, 40, 0, 0},
    {VhostRequest::kSetVringBase, "SET_VRING_BASE", 8, 8, 0, 0},
    {VhostRequest::kGetVringBase, "GET_VRING_BASE", 8, 8, 0, 0},
    {VhostRequest::kSetVringKick, "SET_VRING_KICK", 8, 8, 0, 1},
    {VhostRequest::kSetVringCall, "SET_VRING_CALL", 8, 8, 0, 1},
    {VhostRequest::kSetVringErr, "SET_VRING_ERR", 8, 8, 0, 1},
    {VhostRequest::kGetProtocolFeatures, "GET_PROTOCOL_FEATURES", 0, 0, 0, 0},
    {VhostRequest::kSetProtocolFeatures, "SET_PROTOCOL_FEATURES", 8, 8, 0, 0},
    {VhostRequest::kGetQueueNum, "GET_QUEUE_NUM", 0, 0, 0, 0},
    {VhostRequest::kSetVringEnable, "SET_VRING_ENABLE", 8, 8, 0, 0},
    {VhostRequest::kSendRarp, "SEND_RARP", 8, 8, 0, 0},
    {VhostRequest::kNetSetMtu, "NET_SET_MTU", 8, 8, 0, 0},
    {VhostRequest::kGetConfig, "GET_CONFIG", kConfigHead, sizeof(VhostConfigPayload), 0, 0},
    {VhostRequest::kSetConfig, "SET_CONFIG", kConfigHead, sizeof(VhostConfigPayload), 0, 0},
    {VhostRequest::kGetMaxMemSlots, "GET_MAX_MEM_SLOTS", 0, 0, 0, 0},
    {VhostRequest::kAddMemReg, "ADD_MEM_REG", 40, 40, 1, 1},
    {VhostRequest::kRemMemReg, "REM_MEM_REG", 40, 40, 0, 1},
    {VhostRequest::kSetStatus, "SET_STATUS", 8, 8, 0, 0},
    {VhostRequest::kGetStatus, "GET_STATUS", 0, 0, 0, 0},
}};

const Shape* FindShape(uint32_t request) {
  for (const Shape& shape : kShapes) {
    if (static_cast<uint32_t>(shape.request) == request) return &shape;
  }
  return nullptr;
}

absl::Status Malformed(const VhostHeader& header, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(VhostRequestName(header.request), ": ", what));
}

std::string Range(uint32_t least, uint32_t most) {
  return least == most ? absl::StrCat(least) : absl::StrCat(least, " to ", most);
}

absl::Status CheckCount(const VhostMessage& message) {
  const VhostHeader& header = message.header;
  if (message.request() == VhostRequest::kSetMemTable) {
    const auto count = message.As<uint32_t>();
    if (count == 0 || count > VhostMemoryPayload::kMaxRegions ||
        header.size != kMemoryHead + count * kRegion || message.fd_count != count) {
      return Malformed(header, absl::StrCat("it speaks of ", count, " regions in ", header.size,
                                            " bytes with ", message.fd_count, " file descriptors"));
    }
  }
  if (message.request() == VhostRequest::kGetConfig ||
      message.request() == VhostRequest::kSetConfig) {
    const auto config = message.As<VhostConfigPayload>();
    if (config.size > VhostConfigPayload::kMaxBytes || header.size != kConfigHead + config.size) {
      return Malformed(header, absl::StrCat("it speaks of ", config.size,
                                            " bytes of configuration in ", header.size));
    }
  }
  return absl::OkStatus();
}

// One descriptor, or none and the bit that says so.
absl::Status CheckVringFd(const VhostMessage& message) {
  if (message.request() != VhostRequest::kSetVringKick &&
      message.request() != VhostRequest::kSetVringCall &&
      message.request() != VhostRequest::kSetVringErr) {
    return absl::OkStatus();
  }
  const auto value = message.As<uint64_t>();
  const uint32_t expected = (value & kVringNoFd) != 0 ? 0 : 1;
  if (message.fd_count == expected) return absl::OkStatus();
  return Malformed(message.header,
                   absl::StrCat("the value ", value, " announces ", expected,
                                " file descriptors, but ", message.fd_count, " came"));
}

}  // namespace

std::string VhostRequestName(uint32_t request) {
  const Shape* shape = FindShape(request);
  return shape != nullptr ? shape->name : absl::StrCat("request ", request);
}

absl::Status CheckVhostHeader(const VhostHeader& header) {
  const Shape* shape = FindShape(header.request);
  if (shape == nullptr) {
    return Malformed(header, "it is unknown, or belongs to a protocol feature that is not offered");
  }
  if ((header.flags & VhostHeader::kVersionMask) != VhostHeader::kVersion) {
    return Malformed(header,
                     absl::StrCat("flags ", header.flags, " have version ",
                                  header.flags & VhostHeader::kVersionMask, ", not version 1"));
  }
  if ((header.flags & ~(VhostHeader::kVersionMask | VhostHeader::kNeedReply)) != 0) {
    return Malformed(
        header, absl::StrCat("flags ", header.flags, " have bits that a request does not have"));
  }
  if (header.size < shape->least_bytes || header.size > shape->most_bytes) {
    return Malformed(header, absl::StrCat("a size of ", header.size, " bytes, where it has ",
                                          Range(shape->least_bytes, shape->most_bytes)));
  }
  return absl::OkStatus();
}

absl::Status CheckVhostMessage(const VhostMessage& message) {
  if (auto status = CheckVhostHeader(message.header); !status.ok()) return status;
  const Shape& shape = *FindShape(message.header.request);
  if (message.fd_count < shape.least_fds || message.fd_count > shape.most_fds) {
    return Malformed(message.header,
                     absl::StrCat(message.fd_count, " file descriptors, where it ", "carries ",
                                  Range(shape.least_fds, shape.most_fds)));
  }
  if (auto status = CheckCount(message); !status.ok()) return status;
  return CheckVringFd(message);
}

}  // namespace vmqd

// See frame_guard.h. Frame layout: RFC 9113, section 4.1.
#include "daemon/rpc/frame_guard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vmqd::rpc {
namespace {

enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kContinuation = 9,
};
constexpr uint8_t kAck = 0x1;         // of SETTINGS and PING
constexpr uint8_t kEndHeaders = 0x4;  // of HEADERS and CONTINUATION

// A unary call is HEADERS, DATA and now and then WINDOW_UPDATE and PING: some 250 tokens with its
// bytes, so that one connection may make 8000 calls a second. It may cancel 500 of them, and send
// 64 pings or settings: gRPC means to close at the third ping, but while it is writing it chains
// one error to the next, and each copies all before it: hundreds of megabytes for 100,000 pings.
constexpr size_t kFrameCost = 16;
size_t CostOf(uint8_t type, uint8_t flags) {
  switch (type) {
    case kHeaders:
      return 64;
    case kRstStream:
      return 4 << 10;
    case kSettings:
    case kPing:
      return (flags & kAck) != 0 ? kFrameCost : 32 << 10;
    default:
      return kFrameCost;
  }
}

}  // namespace

bool FrameGuard::Feed(std::string_view bytes) {
  if (!error_.empty()) return false;
  if (!Preface(bytes)) return false;
  while (!bytes.empty()) {
    if (payload_left_ > 0) {
      const size_t skipped = std::min(payload_left_, bytes.size());
      payload_left_ -= skipped;
      bytes.remove_prefix(skipped);
      continue;
    }
    header_[header_seen_++] = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    if (header_seen_ < kHeader) continue;
    header_seen_ = 0;
    if (!FrameBegins()) return false;
  }
  return true;
}

size_t FrameGuard::TakeCost() {
  const size_t cost = cost_;
  cost_ = 0;
  return cost;
}

bool FrameGuard::Preface(std::string_view& bytes) {
  const size_t length = std::min(kPreface.size() - preface_seen_, bytes.size());
  if (bytes.substr(0, length) != kPreface.substr(preface_seen_, length)) {
    error_ = "it does not speak HTTP/2";
    return false;
  }
  preface_seen_ += length;
  bytes.remove_prefix(length);
  return true;
}

bool FrameGuard::FrameBegins() {
  const size_t length = size_t{header_[0]} << 16 | size_t{header_[1]} << 8 | header_[2];
  const uint8_t type = header_[3];
  const uint8_t flags = header_[4];
  payload_left_ = length;
  cost_ += CostOf(type, flags);
  if (in_block_ != (type == kContinuation)) {
    error_ = absl::StrCat("a frame of type ", type, in_block_ ? " within" : " without",
                          " a header block");
    return false;
  }
  switch (type) {
    case kData:
      return true;
    case kHeaders:
      if (!acknowledged_ && ++early_streams_ > kMaxEarlyStreams) {
        error_ = absl::StrCat(early_streams_, " streams before it has acknowledged the limit");
        return false;
      }
      block_bytes_ = 0;
      continuations_ = 0;
      return HeaderBlock(length, (flags & kEndHeaders) != 0);
    case kContinuation:
      ++continuations_;
      return HeaderBlock(length, (flags & kEndHeaders) != 0);
    case kPushPromise:
      error_ = "a client that pushes";
      return false;
    default:
      acknowledged_ |= type == kSettings && (flags & kAck) != 0;
      if (length <= kMaxHeaderBlock) return true;
      error_ = absl::StrCat("a frame of type ", type, " with ", length, " bytes");
      return false;
  }
}

bool FrameGuard::HeaderBlock(size_t length, bool ends) {
  block_bytes_ += length;
  in_block_ = !ends;
  if (block_bytes_ <= kMaxHeaderBlock && continuations_ <= kMaxContinuations) return true;
  error_ = absl::StrCat("headers of ", block_bytes_, " bytes in ", continuations_ + 1, " frames; ",
                        kMaxHeaderBlock, " and ", kMaxContinuations + 1, " will do");
  return false;
}

}  // namespace vmqd::rpc

// FrameGuard: reads the frame headers of one client's HTTP/2 stream on its way to gRPC, and says
// what each piece costs and whether the client still plays by the rules.
//
// Debian's gRPC is 1.51.1, without what later versions do against these:
//   rapid reset (CVE-2023-44487)   open a stream and reset it, again and again: far more work at
//                                  the server than at the client. Here a reset costs 4 KiB of the
//                                  client's rate.
//   header bombs (CVE-2023-33953)  a header block without an end, in one frame or in ever more
//                                  CONTINUATION frames, which gRPC buffers before it looks at the
//                                  limit. Here a block ends within 16 KiB and 16 frames, or the
//                                  connection does.
//   streams without limit          gRPC holds a client to 64 streams at a time only once the client
//   has
//                                  acknowledged that. Here 128 may be opened before.
//   floods of small frames         each costs more than its bytes, PING and SETTINGS 32 KiB.
// A cost is waited for, never punished; only what no client sends closes the connection. Everything
// else that is wrong with a frame is for gRPC to find.
//
// No I/O, no allocation but of the sentence. The front's thread.
#ifndef VMQD_DAEMON_RPC_FRAME_GUARD_H_
#define VMQD_DAEMON_RPC_FRAME_GUARD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vmqd::rpc {

class FrameGuard {
 public:
  static constexpr size_t kMaxHeaderBlock = 16 << 10;  // gRPC takes 8 KiB of metadata
  static constexpr size_t kMaxContinuations = 15;

  static constexpr size_t kMaxEarlyStreams = 128;  // clients wait for SETTINGS before the first

  // The next bytes, however they were cut. False: the connection must be closed, error() says why.
  bool Feed(std::string_view bytes);

  // What was fed costs beyond its bytes since the last call.
  size_t TakeCost();

  // The client has sent the whole preface.
  bool speaks_http2() const { return preface_seen_ == kPreface.size(); }
  const std::string& error() const { return error_; }

 private:
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  static constexpr size_t kHeader = 9;

  bool Preface(std::string_view& bytes);
  bool FrameBegins();
  bool HeaderBlock(size_t length, bool ends);

  size_t preface_seen_ = 0;
  std::array<uint8_t, kHeader> header_{};
  size_t header_seen_ = 0;
  size_t payload_left_ = 0;
  bool in_block_ = false;  // a header block has begun and not ended
  size_t block_bytes_ = 0;
  size_t continuations_ = 0;
  bool acknowledged_ = false;  // the server's settings
  size_t early_streams_ = 0;
  size_t cost_ = 0;
  std::string error_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_FRAME_GUARD_H_

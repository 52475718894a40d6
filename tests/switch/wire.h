// A packet socket on the far end of a veth: whoever sits there, the wire or a VM. Sends and
// receives whole frames, which carry a sequence number.
#ifndef VMQD_TESTS_SWITCH_WIRE_H_
#define VMQD_TESTS_SWITCH_WIRE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "daemon/net/mac_address.h"
#include "tests/support/frame_builder.h"

namespace vmqd::testing {

class Wire {
 public:
  explicit Wire(const std::string& device);
  ~Wire();
  Wire(const Wire&) = delete;

  // A 64-byte frame of an experimental EtherType with `sequence`. Retries while the queue is full.
  void Send(const MacAddress& destination, const MacAddress& source, uint32_t sequence);
  // Sequence numbers of the frames for `destination` that have arrived, until `count` are there or
  // none came for `patience_ms`.
  std::multiset<uint32_t> Collect(const MacAddress& destination, size_t count,
                                  int patience_ms = 2000);

 private:
  int fd_;
};

// The same for frames of any kind and length, byte by byte; tags are where they were on the wire.
class FrameWire {
 public:
  explicit FrameWire(const std::string& device);
  ~FrameWire();
  FrameWire(const FrameWire&) = delete;

  void Send(const Bytes& frame);
  // The next frame that arrives; nothing after `patience_ms`.
  std::optional<Bytes> Receive(int patience_ms = 2000);

 private:
  int fd_;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SWITCH_WIRE_H_

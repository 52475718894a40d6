// A packet socket on the far end of a veth: whoever sits there, the wire or a VM. Sends and
// receives whole frames, which carry a sequence number.
#ifndef VMQD_TESTS_SWITCH_WIRE_H_
#define VMQD_TESTS_SWITCH_WIRE_H_

#include <cstdint>
#include <set>
#include <string>

#include "daemon/net/mac_address.h"

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

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SWITCH_WIRE_H_

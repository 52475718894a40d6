// Which XDP programs a device carries. One request about one device; libbpf's bpf_xdp_query dumps
// every device of the namespace each time. Control threads; blocking.
#ifndef VMQD_DAEMON_XDP_XDP_QUERY_H_
#define VMQD_DAEMON_XDP_XDP_QUERY_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace vmqd {

// Program ids; 0: none.
struct XdpPrograms {
  uint32_t native = 0;
  uint32_t generic = 0;
  uint32_t offloaded = 0;

  // The one that runs first; 0: the device carries none.
  uint32_t any() const { return offloaded != 0 ? offloaded : native != 0 ? native : generic; }
};

// kNotFound when this namespace has no such device.
absl::StatusOr<XdpPrograms> QueryXdp(int ifindex);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_XDP_QUERY_H_

// What the kernel says about one device, beyond link.h: asked once, judged by the checks. Values;
// read over netlink and ethtool in the network namespace of the calling thread. An absent value was
// not said.
#ifndef VMQD_DAEMON_DOCTOR_DEVICE_FACTS_H_
#define VMQD_DAEMON_DOCTOR_DEVICE_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/xdp/link.h"

namespace vmqd::doctor {

// Bits of the netdev family's xdp-features (Linux 6.3), which Debian 12's headers lack.
enum XdpFeature : uint64_t {
  kXdpBasic = 1,
  kXdpRedirect = 2,
  kXdpTransmit = 4,  // ndo-xmit: frames can be redirected into it
  kXdpZeroCopy = 8,
  kXdpFrags = 32,
};

struct AttachedXdp {
  std::string mode;  // "native", "generic", "offloaded"
  uint32_t id = 0;
  std::string name;  // empty: only CAP_SYS_ADMIN may ask
};

struct Channels {
  uint32_t now = 0;  // receive channels, combined ones included
  uint32_t most = 0;
};

struct DeviceFacts {
  Link link;
  bool loopback = false;
  bool ethernet = true;
  bool wireless = false;
  std::string driver;  // empty: not said
  std::string bus;     // "0000:01:00.0"; empty for virtual devices
  std::string master;  // bridge, bond, ...; empty: none
  std::string master_kind;
  std::optional<uint64_t> xdp_features;
  std::vector<AttachedXdp> programs;
  std::optional<Channels> channels;
  std::optional<uint32_t> rss_queues;  // distinct queues in the hash's indirection table
  std::optional<uint32_t> rules;       // receive classification rules present
  std::vector<Napi> napis;             // one for each receive queue, id 0: not known
};

absl::StatusOr<DeviceFacts> LearnDevice(const std::string& device);

}  // namespace vmqd::doctor

#endif  // VMQD_DAEMON_DOCTOR_DEVICE_FACTS_H_

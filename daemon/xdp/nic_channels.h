// How many queues of each kind a device has in use and can have: its channels, through ethtool.
// Control threads, in the device's network namespace; blocking.
#ifndef VMQD_DAEMON_XDP_NIC_CHANNELS_H_
#define VMQD_DAEMON_XDP_NIC_CHANNELS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

// A device has queues that receive and transmit, or queues that do one of the two, or both kinds.
struct ChannelCounts {
  uint32_t combined = 0;
  uint32_t receive = 0;
  uint32_t transmit = 0;
  friend bool operator==(const ChannelCounts&, const ChannelCounts&) = default;
};

struct NicChannels {
  ChannelCounts now;
  ChannelCounts most;

  // What makes `queues` queues that both receive and transmit.
  ChannelCounts ForQueues(uint32_t queues) const;
  uint32_t MostQueues() const;  // of that kind
};

// Queues that receive.
inline uint32_t QueuesOf(const ChannelCounts& counts) { return counts.combined + counts.receive; }

// "combined 4"; "rx 4 tx 2".
std::string FormatChannels(const ChannelCounts& counts);
absl::StatusOr<ChannelCounts> ParseChannels(const std::string& text);

// kUnimplemented when the driver does not say.
absl::StatusOr<NicChannels> ReadChannels(const std::string& device);

// Refused by the kernel while an AF_XDP socket is bound to a queue that would go. Sockets that have
// just been closed are waited for: the kernel lets go of a queue some time later.
absl::Status WriteChannels(const std::string& device, const ChannelCounts& counts);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NIC_CHANNELS_H_

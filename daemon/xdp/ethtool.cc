// The ethtool ioctl; the contract is in the header. Ioctl rather than ethtool netlink: it has every
// command needed here on every kernel vmqd runs on, and one round trip is one call.
#include "daemon/xdp/ethtool.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vmqd {

int EthtoolCall(std::string_view device, void* command) {
  ifreq request{};
  if (device.empty() || device.size() >= sizeof(request.ifr_name)) return ENODEV;
  std::memcpy(request.ifr_name, device.data(), device.size());
  request.ifr_data = static_cast<char*>(command);
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int error = ioctl(fd, SIOCETHTOOL, &request) < 0 ? errno : 0;
  close(fd);
  return error;
}

uint32_t EthtoolReceiveChannels(std::string_view device) {
  ethtool_channels channels{.cmd = ETHTOOL_GCHANNELS};
  if (EthtoolCall(device, &channels) != 0) return 0;
  return channels.rx_count + channels.combined_count;
}

}  // namespace vmqd

// The ethtool ioctl (SIOCETHTOOL) for one device of the calling thread's network namespace. Used by
// link*.cc and nic_*.cc; control threads.
#ifndef VMQD_DAEMON_XDP_ETHTOOL_H_
#define VMQD_DAEMON_XDP_ETHTOOL_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace vmqd {

// `command` is one of the ethtool_* structures, its cmd set. A name no device can have is ENODEV.
// 0 or the errno.
int EthtoolCall(std::string_view device, void* command);

// Receive channels in use, combined ones included; 0 where the driver does not say.
uint32_t EthtoolReceiveChannels(std::string_view device);

// Room for an ethtool structure with a flexible array of `count` elements behind it, zeroed and
// aligned; the structure lives as long as this.
template <typename Command, typename Element>
class CommandBuffer {
 public:
  CommandBuffer(uint32_t cmd, size_t count)
      : words_((sizeof(Command) + count * sizeof(Element) + 7) / 8) {
    get()->cmd = cmd;
  }
  Command* get() { return reinterpret_cast<Command*>(words_.data()); }
  Element* elements() { return reinterpret_cast<Element*>(get() + 1); }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_ETHTOOL_H_

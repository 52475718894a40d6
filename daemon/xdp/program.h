// The XDP programs of bpf/, loaded and attached. One UplinkProgram per uplink with maps of its own;
// one PortProgram for all netdev ports. How long they stay on a device is told in attachment.h.
//
// Control threads only, under the Switch's mutex.
#ifndef VMQD_DAEMON_XDP_PROGRAM_H_
#define VMQD_DAEMON_XDP_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi.h"
#include "daemon/net/mac_address.h"
#include "daemon/xdp/attachment.h"

struct uplink_bpf;
struct port_bpf;

namespace vmqd {

class UplinkProgram {
 public:
  static absl::StatusOr<std::unique_ptr<UplinkProgram>> Load(uint32_t max_frame_len);
  ~UplinkProgram();

  absl::Status SetQueueSocket(uint32_t queue, int socket_fd);
  void ClearQueueSocket(uint32_t queue);
  absl::Status SetVmSocket(uint32_t slot, int socket_fd);
  void ClearVmSocket(uint32_t slot);
  // Replaces what was there.
  absl::Status SetFilter(const MacAddress& mac, uint16_t vlan, vmqd_filter place);
  void ClearFilter(const MacAddress& mac, uint16_t vlan);
  // Filters of a port that does not run: its frames are dropped and not left to the host.
  void Hold(const std::vector<MacAddress>& macs, uint16_t vlan);
  void LetGo(const std::vector<MacAddress>& macs, uint16_t vlan);

  // As Attachment::Attach. With a pin every filter has to be set before: until a filter is there,
  // its VM's frames are nobody's, and those the host stack gets. (A filter without a socket drops.)
  // What this program was attached to is detached first.
  absl::Status Attach(int ifindex, const std::string& device, AttachMode mode,
                      std::string_view pin = "");
  void Detach();
  bool Leave();  // as Attachment::Leave; the program goes on with this object's maps
  // Null when not attached.
  const Attachment* attachment() const { return attachment_.get(); }

  // What the program counted that Attach took over: all it had seen. Of its drops, `no_socket` are
  // the VM frames that came while nobody served them, give or take the few that meet a socket being
  // opened or closed. Nothing when none was taken over.
  const std::optional<vmqd_uplink_counters>& InheritedCounters() const { return inherited_; }

  // Summed over CPUs. While frames come, the sum of its parts may miss a few.
  vmqd_uplink_counters Counters() const;

 private:
  UplinkProgram() = default;
  uplink_bpf* skeleton_ = nullptr;
  std::unique_ptr<Attachment> attachment_;
  std::optional<vmqd_uplink_counters> inherited_;
};

class PortProgram {
 public:
  static absl::StatusOr<std::unique_ptr<PortProgram>> Load();
  ~PortProgram();

  // Zeroes the slot's counters.
  absl::Status SetDevice(int ifindex, const vmqd_port_device& device);
  void ClearDevice(int ifindex);
  absl::Status SetSocket(uint32_t index, int socket_fd);
  void ClearSocket(uint32_t index);
  // As Attachment::Attach, native. With a pin the device and its sockets have to be set before.
  absl::StatusOr<std::unique_ptr<Attachment>> Attach(int ifindex, const std::string& device,
                                                     std::string_view pin = "") const;
  // Drops, on tc ingress, whatever `ifindex` would hand to the host stack. Goes with the device,
  // not with the daemon; the fence of an earlier daemon is replaced. For devices vmqd made.
  absl::Status Fence(int ifindex, const std::string& device) const;

  vmqd_port_counters Counters(uint32_t slot) const;

 private:
  PortProgram() = default;
  port_bpf* skeleton_ = nullptr;
};

// Waits until no XDP program that was running when it was called is still running, so that nothing
// can follow what a map said before (an RCU grace period; some 15 ms).
void WaitForRunningPrograms();

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_PROGRAM_H_

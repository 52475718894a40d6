// The XDP programs of bpf/, loaded and attached. One UplinkProgram per uplink with maps of its own;
// one PortProgram for all netdev ports. A program is attached by bpf_link, which ends with the
// object: when the daemon dies, host traffic flows as if it had never been there.
//
// Control threads only, under the Switch's mutex.
#ifndef VMQD_DAEMON_XDP_PROGRAM_H_
#define VMQD_DAEMON_XDP_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi.h"
#include "daemon/net/mac_address.h"

struct uplink_bpf;
struct port_bpf;
struct bpf_link;

namespace vmqd {

enum class AttachMode { kNative, kGeneric };

// An attached program; detaches when it goes.
class Attachment {
 public:
  // FailedPrecondition when the device already carries a program, which is left alone, or when the
  // driver cannot; the message says which.
  static absl::StatusOr<std::unique_ptr<Attachment>> Attach(int program_fd, int ifindex,
                                                            const std::string& device,
                                                            AttachMode mode);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

 private:
  explicit Attachment(int link_fd) : link_fd_(link_fd) {}
  int link_fd_;
};

// FailedPrecondition, naming the program, when `device` carries an XDP program.
absl::Status CheckNoProgram(int ifindex, const std::string& device);

class UplinkProgram {
 public:
  static absl::StatusOr<std::unique_ptr<UplinkProgram>> Load(uint32_t max_frame_len);
  ~UplinkProgram();

  absl::Status SetQueueSocket(uint32_t queue, int socket_fd);
  absl::Status SetVmSocket(uint32_t slot, int socket_fd);
  void ClearVmSocket(uint32_t slot);
  // Replaces what was there.
  absl::Status SetFilter(const MacAddress& mac, uint16_t vlan, vmqd_filter place);
  void ClearFilter(const MacAddress& mac, uint16_t vlan);

  absl::Status Attach(int ifindex, const std::string& device, AttachMode mode);
  void Detach() { attachment_.reset(); }

  // Summed over CPUs.
  vmqd_uplink_counters Counters() const;

 private:
  UplinkProgram() = default;
  uplink_bpf* skeleton_ = nullptr;
  std::unique_ptr<Attachment> attachment_;
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
  absl::StatusOr<std::unique_ptr<Attachment>> Attach(int ifindex, const std::string& device) const;
  // Drops, on tc ingress, whatever `ifindex` would hand to the host stack. Goes with the device.
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

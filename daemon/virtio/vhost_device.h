// VhostDevice: one port as a vhost-user front end sees it: the protocol's state machine, without
// the socket. Messages come in whole and checked for size; what they ask for is checked against the
// state here, and rings are started and stopped through the owner.
//
// Called by the vhost thread under the server's mutex; Status by any thread under the same mutex.
// Follows the vhost-user specification (QEMU 10, docs/interop/vhost-user.rst).
#ifndef VMQD_DAEMON_VIRTIO_VHOST_DEVICE_H_
#define VMQD_DAEMON_VIRTIO_VHOST_DEVICE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/net/mac_address.h"
#include "daemon/virtio/dirty_log.h"
#include "daemon/virtio/guest_memory.h"
#include "daemon/virtio/unique_fd.h"
#include "daemon/virtio/vhost_message.h"
#include "daemon/virtio/virtqueue.h"

namespace vmqd {

// A ring that runs, lent to the owner from StartQueue to StopQueue.
struct VhostQueue {
  std::unique_ptr<Virtqueue> ring;
  int kick_fd = -1;       // an eventfd the guest writes; -1: the front end wants it polled
  int call_fd = -1;       // an eventfd that interrupts the guest; -1: none
  uint64_t features = 0;  // negotiated
  bool enabled = true;    // false: of the guest's frames none is delivered, and it gets none
};

// Who moves the frames. Called with the server's mutex held; must not block but for a worker's
// turn.
class VhostDeviceOwner {
 public:
  virtual ~VhostDeviceOwner() = default;
  // Ring 2i is what the guest receives by, 2i + 1 what it transmits by, of queue pair i.
  virtual void StartQueue(uint32_t index, VhostQueue& queue) = 0;
  // Returns when nobody uses the queue any more.
  virtual void StopQueue(uint32_t index) = 0;
  // Whether a front end is connected and its guest's driver ready: at least one enabled ring each
  // way runs.
  virtual void SetLink(bool up) = 0;
  // VHOST_USER_SEND_RARP: tell the network that this guest lives here now.
  virtual void Announce(const MacAddress& mac) = 0;
};

struct VhostOptions {
  uint32_t queue_pairs = 1;  // at most 16
  uint64_t features = 0;     // virtio feature bits offered, VHOST_USER_F_PROTOCOL_FEATURES apart
  uint16_t mtu = 1500;       // told to the guest
  MacAddress mac;            // likewise
};

struct VhostRingStatus {
  uint32_t index = 0;
  uint32_t size = 0;
  bool running = false;
  bool enabled = false;
};

struct VhostStatus {
  bool connected = false;
  std::chrono::system_clock::time_point since;  // of the present state, connected or not
  uint64_t features = 0;                        // negotiated; 0 while not
  uint64_t protocol_features = 0;
  uint32_t memory_regions = 0;
  uint64_t memory_bytes = 0;
  bool memory_sealed = false;
  bool logging = false;  // dirty pages, for a migration
  uint32_t mtu = 0;      // that the front end set; 0: none
  std::vector<VhostRingStatus> rings;
  std::string fault;       // why it was stopped, until it runs again; empty: it was not
  std::string last_fault;  // the last one there was
  std::chrono::system_clock::time_point last_fault_time;
  uint64_t connections = 0;  // since the port was added
  uint64_t refused = 0;      // connections closed at once, as another one was alive
  uint64_t faults = 0;
};

// What a request led to. The reply, if there is one, is sent in any case; then, when the status is
// not OK, the front end has broken the protocol and the connection is closed.
struct VhostAnswer {
  absl::Status status;
  std::optional<VhostMessage> reply;
};

// One ring as the front end has described it so far, in whatever order.
struct VhostRing {
  uint32_t size = 0;  // 0: not set yet
  std::optional<VhostVringAddress> address;
  std::optional<uint32_t> base;
  std::optional<bool> enable;  // by SET_VRING_ENABLE
  bool kicked = false;         // SET_VRING_KICK came: it may start
  UniqueFd kick;
  UniqueFd call;
  VhostQueue queue;  // lent to the owner while it runs
  bool running() const { return queue.ring != nullptr; }
};

// A ring runs as soon as features, memory, size, address, base and kick are there, in whatever
// order they came, and until GET_VRING_BASE, a reset, a fault or the end of the connection; then it
// takes a new SET_VRING_KICK. Whatever changes under a running ring (memory, log, address, call)
// changes between StopQueue and StartQueue, and the ring is opened anew at the index it had come
// to, so that no pointer into the old memory is left.
class VhostDevice {
 public:
  // `owner` outlives it.
  VhostDevice(const VhostOptions& options, VhostDeviceOwner& owner);
  ~VhostDevice();
  VhostDevice(const VhostDevice&) = delete;
  VhostDevice& operator=(const VhostDevice&) = delete;

  void Connect();
  // Stops the rings and forgets everything the front end said, its memory last. `fault`, if not
  // empty, is why we did it.
  void Disconnect(const std::string& fault);
  // A message that passed CheckVhostMessage.
  VhostAnswer Handle(VhostMessage& message);
  // Stops the rings; a new kick starts them. The connection lives on.
  void Fault(const std::string& reason);
  void CountRefused() { ++status_.refused; }
  VhostStatus Status() const;

 private:
  absl::Status Dispatch(VhostMessage& message, std::optional<VhostMessage>& reply);
  absl::Status DispatchRing(VhostMessage& message, std::optional<VhostMessage>& reply);
  absl::Status DispatchMemory(VhostMessage& message, std::optional<VhostMessage>& reply);
  bool Negotiated(const VhostMessage& message) const;
  bool WantsAck(const VhostMessage& message) const;
  void RecordFault(const std::string& reason);
  void UpdateLink();

  absl::Status SetFeatures(const VhostMessage& message);
  absl::Status SetProtocolFeatures(const VhostMessage& message);
  absl::Status SetStatus(const VhostMessage& message);
  absl::Status SendRarp(const VhostMessage& message);
  absl::Status SetMtu(const VhostMessage& message);
  void GetConfig(const VhostMessage& message, VhostMessage& reply) const;

  // Memory and log.
  absl::Status SetMemTable(VhostMessage& message);
  // A region that came by itself, from which file, and how often.
  struct GivenRegion {
    MemoryRegion region;
    uint64_t device = 0;
    uint64_t inode = 0;
    uint32_t times = 0;
  };
  bool GivenAgain(const GivenRegion& region);
  absl::Status AddMemoryRegion(VhostMessage& message);
  absl::Status RemoveMemoryRegion(VhostMessage& message);
  absl::Status SetLogBase(VhostMessage& message, std::optional<VhostMessage>& reply);
  absl::Status UseMemory(std::shared_ptr<const GuestMemory> memory);

  // Rings; kInvalidArgument unless the index, all bits of it, is one of ours.
  absl::StatusOr<uint32_t> RingIndex(uint64_t index) const;
  absl::Status SetVringNum(const VhostMessage& message);
  absl::Status SetVringAddress(const VhostMessage& message);
  absl::Status SetVringBase(const VhostMessage& message);
  absl::Status GetVringBase(const VhostMessage& message, std::optional<VhostMessage>& reply);
  absl::Status SetVringEnable(const VhostMessage& message);
  absl::Status SetVringFd(VhostMessage& message);

  bool Enabled(const VhostRing& ring) const;
  bool Ready(const VhostRing& ring) const;
  bool Running() const;
  absl::Status Start(uint32_t index);  // if it is ready
  void Pause(uint32_t index);          // it stays ready
  void Stop(uint32_t index);           // until it is kicked again
  void StopAll();
  std::vector<uint32_t> PauseAll();  // those that ran
  absl::Status Start(const std::vector<uint32_t>& rings);
  absl::Status StartAll();

  const VhostOptions options_;
  const uint64_t offered_;
  VhostDeviceOwner& owner_;
  VhostStatus status_;  // what does not follow from the rest
  bool link_ = false;
  // What the front end said since it connected.
  bool features_set_ = false;
  uint64_t features_ = 0;
  uint64_t protocol_features_ = 0;
  uint8_t device_status_ = 0;
  uint32_t mtu_ = 0;
  std::shared_ptr<const GuestMemory> memory_;
  std::vector<GivenRegion> given_;
  std::unique_ptr<DirtyLog> log_;  // outlives the rings that write it
  std::vector<VhostRing> rings_;
};

// For a request that breaks a rule: kInvalidArgument, which ends the connection. Handle puts the
// request's name in front.
absl::Status VhostViolation(const std::string& what);

// The features this back end can do; what a port offers is a subset.
uint64_t SupportedVirtioFeatures();
// "MRG_RXBUF": the name of a virtio-net or ring feature bit; "bit 99" for one without.
std::string VirtioFeatureName(uint32_t bit);
std::string VhostProtocolFeatureName(uint32_t bit);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_DEVICE_H_

// A machine for daemons that die: a network and a mount namespace of its own, a bpf file system to
// pin to, and a wire. "Daemons" are processes forked off the test. Root only.
//
//   wire <== veth ==> uplink   frames for kVm are a VM's, frames for kHost the host's
#ifndef VMQD_TESTS_BPF_PIN_LAB_H_
#define VMQD_TESTS_BPF_PIN_LAB_H_

#include <gtest/gtest.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "daemon/xdp/program.h"
#include "tests/support/own_namespace.h"

namespace vmqd::testing {

inline constexpr MacAddress kVm{{0x52, 0x54, 0, 0, 0, 1}};
inline constexpr MacAddress kHost{{0x52, 0x54, 0, 0, 0, 0xfe}};

class PinLab : public OwnNamespace {
 protected:
  void SetUp() override;
  void TearDown() override;

  int uplink() const { return ifindex_; }
  const std::string& dir() const { return dir_; }  // on the bpf file system
  std::string Pin(const std::string& id) const { return dir_ + "/" + id; }

  // What ends a daemon.
  enum class End { kCrash, kExit };
  // Runs `life` in a process of its own and waits for its end. What it returns is what it has to
  // complain about: "" when nothing. kCrash: it kills itself with SIGKILL, nothing is destroyed.
  // `user`: as this user, with the service's three capabilities only.
  std::string Live(End end, const std::function<std::string()>& life, uid_t user = 0) const;

  // An UplinkProgram that knows kVm, attached in native mode with this pin. Its first complaint is
  // in `status`.
  struct Uplink {
    std::unique_ptr<UplinkProgram> program;
    absl::Status status;
  };
  Uplink Attach(const std::string& pin, AttachMode mode = AttachMode::kNative) const;

  // Attaches XDP_PASS to `device` like any other tool would; `flags` of if_link.h. Returns its id.
  uint32_t AttachForeign(const std::string& device, uint32_t flags);

  int ifindex_ = 0;
  std::string dir_;
};

// Ids that live on in the kernel.
bool ProgramExists(uint32_t id);
// Waits for the kernel to free it, which it does some time after the last reference is gone.
bool ProgramGoes(uint32_t id);
// What runs on the device; 0: nothing.
uint32_t ProgramOn(int ifindex);

// Sends bursts of VM frames and one host frame behind each, which has to arrive at the host stack
// before the next burst: so whatever was sent has been seen by the program, and a host frame that
// is lost or a VM frame that gets through is noticed. Sockets are opened in the constructor.
class Traffic {
 public:
  Traffic();
  ~Traffic();
  // 32 VM frames and a host frame.
  void Send();
  // The same, and waits for the host frame. False when it got lost.
  bool Burst();
  // Bursts on a thread of its own until Stop.
  void Start();
  void Stop();

  uint64_t vm_frames() const { return vm_frames_; }  // sent
  uint64_t heard() const { return heard_; }          // all frames that the host stack got
  uint64_t leaked() const { return leaked_; }        // VM frames among them
  uint64_t host_lost() const { return host_lost_; }

 private:
  bool AwaitHostFrame(uint32_t number);

  int wire_ = -1;
  int host_ = -1;
  std::atomic<uint64_t> vm_frames_{0};
  std::atomic<uint64_t> heard_{0};
  std::atomic<uint64_t> leaked_{0};
  std::atomic<uint64_t> host_lost_{0};
  uint32_t number_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_BPF_PIN_LAB_H_

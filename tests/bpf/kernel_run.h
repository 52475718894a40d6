// What the verdict tables stand on: a network namespace with a four-queue veth, AF_XDP sockets, and
// the kernel's test-run, which hands a frame to a loaded program and returns its verdict.
//
// A test-run program redirects nowhere: XDP_REDIRECT says that the map holds a socket at the place
// the program named. Tables therefore fill only the places that are right.
#ifndef VMQD_TESTS_BPF_KERNEL_RUN_H_
#define VMQD_TESTS_BPF_KERNEL_RUN_H_

#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bpf/abi.h"
#include "tests/support/frame_builder.h"

namespace vmqd::testing {

inline constexpr uint32_t kLabQueues = 4;

// Counters by the names of bpf/abi.h; only those that are not 0.
using Counters = std::map<std::string, uint64_t>;

// Enters a new network namespace and makes the veth pair "uplink" - "wire" there. Tests are
// skipped when not run by root.
class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Opens an AF_XDP socket, puts it into `map` and returns it; it is closed after the test.
  int PutSocket(const bpf_map* map, uint32_t index);

  static uint32_t Ifindex(const char* device);

 private:
  std::vector<int> sockets_;
};

struct Verdict {
  int error = 0;  // of the test-run itself: 0 or a negative errno
  uint32_t action = 0;
};

struct Arrival {
  uint32_t ifindex = 0;
  uint32_t queue = 0;
  // How much of the frame lies in its first buffer, which is all a program reads headers from; the
  // rest lies in a second one. All of it by default. Older kernels refuse anything else.
  std::optional<uint32_t> first_buffer = std::nullopt;
};

Verdict RunXdp(const bpf_program* program, const Bytes& frame, const Arrival& arrival);

// Whether this kernel takes Arrival::first_buffer.
bool SplitFramesCanRun(const bpf_program* program);
inline constexpr char kNoSplitFrames[] =
    "this kernel test-runs no frame whose first buffer is shorter than the frame";

Verdict RunTc(const bpf_program* program, const Bytes& frame);

// One entry of a per-CPU counter array, summed over the CPUs.
Counters ReadUplinkCounters(const bpf_map* map);
Counters ReadPortCounters(const bpf_map* map, uint32_t slot);

Counters Difference(const Counters& after, const Counters& before);

// A tag shape and the VLAN id that a program must read from it.
struct TagShape {
  const char* name;
  std::vector<VlanTag> tags;
  uint16_t vlan;
};
const std::vector<TagShape>& TagShapes();
const std::vector<uint16_t>& EtherTypes();

// 01:80:c2:00:00:<last>
MacAddress LinkLocalGroup(uint8_t last);
inline constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_BPF_KERNEL_RUN_H_

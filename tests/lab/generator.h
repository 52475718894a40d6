// The traffic generator of vmqd_lab_nic: UDP frames at a given rate into the descriptors of the tap
// that stands in for a NIC. Used by the one thread that `send` starts; no state of its own.
#ifndef VMQD_TESTS_LAB_GENERATOR_H_
#define VMQD_TESTS_LAB_GENERATOR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vmqd::lab {

using Mac = std::array<uint8_t, 6>;
using Frame = std::vector<uint8_t>;

inline constexpr size_t kMinSize = 60;  // bytes, without FCS

// A UDP frame between addresses of 198.18.0.0/15 (RFC 2544, benchmarks): valid, and whoever
// receives it has no route back, so that it causes no further traffic. UDP checksum 0 means none.
// `size` is at least kMinSize.
Frame UdpFrame(const Mac& destination, int flow, size_t size);

struct Flow {
  Frame frame;
  int descriptor;  // of the queue the frame arrives on
};

struct Load {
  double seconds = 0;
  double rate = 0;          // frames a second, all flows together; 0: as fast as it goes
  std::vector<Flow> flows;  // sent in turn
};

// Sends for load.seconds. Frames that are due go out in bursts; between bursts it sleeps, so that a
// worker on the same CPU gets what the generator leaves. Returns the answer to `send`.
std::string Send(const Load& load);

}  // namespace vmqd::lab

#endif  // VMQD_TESTS_LAB_GENERATOR_H_

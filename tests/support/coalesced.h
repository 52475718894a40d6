// What Coalescing made of a burst, as whole frames, and those cut again: what tests and a fuzz
// target compare with the burst that went in.
#ifndef VMQD_TESTS_SUPPORT_COALESCED_H_
#define VMQD_TESTS_SUPPORT_COALESCED_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/net/coalesce.h"
#include "daemon/net/segmentation.h"

namespace vmqd::testing {

struct Delivered {
  std::vector<uint32_t> frames;  // indices into the burst
  std::vector<uint8_t> bytes;
  virtio_net_hdr offload{};
  bool fixed_id = false;
};

// Runs `coalescing` over copies of `burst`, each in a block of exactly its size.
inline std::vector<Delivered> Coalesce(std::vector<std::vector<uint8_t>> burst,
                                       const Coalescing::Accepts& accepts, Coalescing& coalescing) {
  std::vector<Coalescing::Arrival> arrivals;
  for (std::vector<uint8_t>& frame : burst) {
    frame.shrink_to_fit();
    arrivals.push_back({.data = frame.data(), .length = static_cast<uint32_t>(frame.size())});
  }
  coalescing.Run(arrivals, accepts);
  std::vector<Delivered> out;
  for (const Coalescing::Group& group : coalescing.groups()) {
    Delivered delivered{.bytes = burst[group.first], .offload = group.offload};
    delivered.fixed_id = group.fixed_id;
    delivered.frames.push_back(group.first);
    for (uint32_t i = coalescing.further(group.first).next; i != Coalescing::kNone;
         i = coalescing.further(i).next) {
      const Coalescing::Further& more = coalescing.further(i);
      const uint8_t* payload = burst[i].data() + more.offset;
      delivered.bytes.insert(delivered.bytes.end(), payload, payload + more.length);
      delivered.frames.push_back(i);
    }
    out.push_back(std::move(delivered));
  }
  return out;
}

// The frames that a device would send for it; none when it is refused.
inline std::vector<std::vector<uint8_t>> CutAgain(const Delivered& delivered) {
  if (delivered.offload.gso_type == VIRTIO_NET_HDR_GSO_NONE) return {delivered.bytes};
  const auto plan = Segmentation::Plan(delivered.bytes, delivered.offload);
  if (!plan) return {};
  std::vector<std::vector<uint8_t>> frames;
  for (uint32_t i = 0; i < plan->count(); ++i) {
    std::vector<uint8_t> frame(plan->max_length());
    frame.resize(plan->Write(i, frame.data()));
    frames.push_back(std::move(frame));
  }
  return frames;
}

// An IPv4 frame without its id and header checksum, which a sender that repeats its ids does not
// get back.
inline std::vector<uint8_t> WithoutId(std::vector<uint8_t> frame) {
  for (size_t at : {18, 19, 24, 25}) frame[at] = 0;
  return frame;
}

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SUPPORT_COALESCED_H_

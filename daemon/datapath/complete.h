// Complete: makes final frames of those with a tail, for whoever takes nothing else: the wire, a
// network device, another worker. Checksums are computed, large segments are cut, bytes that lie in
// a guest's memory are copied, once.
//
// A final frame lies in one buffer, and has no tail; or, for who takes that, in several of the
// worker's own, which its tail names, and asks for nothing.
#ifndef VMQD_DAEMON_DATAPATH_COMPLETE_H_
#define VMQD_DAEMON_DATAPATH_COMPLETE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "daemon/datapath/lane.h"
#include "daemon/net/frame_tail.h"
#include "daemon/net/segmentation.h"

namespace vmqd {

inline bool AnyTail(const Frame* frames, uint32_t count) {
  return std::any_of(frames, frames + count, [](const Frame& f) { return f.tail != nullptr; });
}

// Whether a port that takes `offloads` takes every one of these frames as it is.
bool TakesAll(const PortOffloads& offloads, const Frame* frames, uint32_t count);

// One frame with a tail on its way to being final. It takes the frame over.
class Completion {
 public:
  // What cannot be completed is counted as offered to `target` and dropped. `chains`: `target`
  // takes frames of several buffers.
  Completion(Lane& lane, FrameCounters& target, const Frame& frame, bool chains);
  ~Completion();
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // The next final frames, at most `max` (not 0); 0 when there are no more.
  uint32_t Next(Frame* out, uint32_t max);

 private:
  uint32_t NextWhole(Frame* out);
  bool MakeChain(Frame* out);
  bool CopyChain(Frame* out);
  uint32_t NextSegments(Frame* out, uint32_t max);
  bool WriteSegment(Frame* out);
  bool Fits(uint32_t length) const;
  void Drop(DropReason reason, uint32_t count);

  Lane& lane_;
  FrameCounters& target_;
  Frame frame_;
  const bool chains_;
  FrameReader reader_;
  std::optional<Segmentation> plan_;
  uint32_t segment_ = 0;
  bool owned_ = true;  // the frame's buffers are to be given back here
  bool done_ = false;
};

// Calls use(finals, n) with final frames, in order, n at most kBurst. The frames are taken over,
// and so are those handed to `use`. Without tails it is use(frames, count). `chains`: see
// Completion.
template <typename Use>
void ForEachFinal(Lane& lane, FrameCounters& target, bool chains, Frame* frames, uint32_t count,
                  Use use) {
  if (!AnyTail(frames, count)) return use(frames, count);
  std::array<Frame, kBurst> out;
  uint32_t filled = 0;
  const TailRoom::Mark mark = lane.pool.tails().mark();
  const auto pass_on = [&] {
    if (filled > 0) use(out.data(), filled);
    filled = 0;
    lane.pool.tails().Release(mark);
  };
  for (uint32_t i = 0; i < count; ++i) {
    if (frames[i].tail == nullptr) {
      out[filled++] = frames[i];
      if (filled == kBurst) pass_on();
      continue;
    }
    Completion completion(lane, target, frames[i], chains);
    while (const uint32_t made = completion.Next(out.data() + filled, kBurst - filled)) {
      filled += made;
      if (filled == kBurst) pass_on();
    }
  }
  pass_on();
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_DATAPATH_COMPLETE_H_

// To the guest: frames are written into the buffers it has made available, one copy each, from
// wherever their bytes are. All of a burst is handed over by one update of the used ring, and the
// guest is told at most once, in Flush.
#include <endian.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "daemon/port/vhost_pair.h"

namespace vmqd {

namespace {

// How often the home worker asks for a ring that another one fills: as long as kShare frames take.
// Longer than that, the other one was put off its CPU, perhaps by this very worker: it gives way,
// for as long as that one may wait for its turn on a busy machine. Then the frames are dropped.
constexpr int kPatience = 2000;
constexpr std::chrono::milliseconds kGiveWay{100};
// Frames and bytes another worker puts into a ring before it lets go of it.
constexpr uint32_t kShare = 16;
constexpr uint32_t kShareBytes = 128 << 10;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// The right to fill a guest's buffers, if it could be had.
class Filling {
 public:
  Filling(std::atomic<bool>& flag, int patience) : flag_(flag) {
    for (mine_ = !flag_.exchange(true, std::memory_order_acquire); !mine_ && patience > 0;
         --patience) {
      Pause();
      if (!flag_.load(std::memory_order_relaxed)) {
        mine_ = !flag_.exchange(true, std::memory_order_acquire);
      }
    }
  }
  void Insist() {
    if (mine_) return;
    const auto until = std::chrono::steady_clock::now() + kGiveWay;
    do {
      sched_yield();
      mine_ = !flag_.exchange(true, std::memory_order_acquire);
    } while (!mine_ && std::chrono::steady_clock::now() < until);
  }
  ~Filling() {
    if (mine_) flag_.store(false, std::memory_order_release);
  }
  Filling(const Filling&) = delete;
  Filling& operator=(const Filling&) = delete;
  explicit operator bool() const { return mine_; }

 private:
  std::atomic<bool>& flag_;
  bool mine_ = false;
};

}  // namespace

uint32_t VhostPair::Room() {
  const Running* ring = to_guest_.live.load(std::memory_order_acquire);
  if (ring == nullptr || !ring->queue->enabled) return 0;
  Filling filling(filling_, kPatience);
  filling.Insist();
  if (!filling) return 0;
  const uint32_t available = ring->queue->ring->Available();
  if (available == 0) to_guest_.starved = true;
  return available;
}

uint32_t VhostPair::Transmit(FramePool& pool, const Frame* frames, uint32_t count) {
  const Running* ring = to_guest_.live.load(std::memory_order_acquire);
  if (ring == nullptr || !ring->queue->enabled) return 0;
  Filling filling(filling_, kPatience);
  filling.Insist();
  if (!filling) return 0;
  const uint32_t done = Fill(*ring, scratch_->receives, pool, frames, count, &refused_);
  if (done > 0) filled_ = ring;
  return done;
}

Port::Shared VhostPair::TransmitShared(uint32_t worker, FramePool& pool, const Frame* frames,
                                       uint32_t count) {
  Shared shared;
  const Running* ring = to_guest_.live.load(std::memory_order_acquire);
  if (ring == nullptr || !ring->queue->enabled) return shared;
  ChainBatch& batch = scratches_[worker]->receives;
  bool notify = false;
  for (bool progress = true; shared.taken < count && progress;) {
    uint32_t some = 0;
    for (uint32_t bytes = 0; shared.taken + some < count && some < kShare && bytes < kShareBytes;
         ++some) {
      bytes += frames[shared.taken + some].len;
    }
    const Filling filling(filling_, 0);
    shared.busy = !filling;
    if (shared.busy) break;
    const uint32_t done = Fill(*ring, batch, pool, frames + shared.taken, some, &shared.refused);
    shared.taken += done;
    progress = done > 0;
    notify = (done > 0 && ring->queue->ring->ShouldNotify()) || notify;
  }
  if (notify) Notify(RingUse::kWrites, *ring->queue);
  return shared;
}

// Whoever calls it holds `filling_`. Returns how many frames were taken.
uint32_t VhostPair::Fill(const Running& ring, ChainBatch& batch, FramePool& pool,
                         const Frame* frames, uint32_t count, uint32_t* refused) {
  Virtqueue& queue = *ring.queue->ring;
  if (to_guest_.kicks_wanted) {
    queue.WantKicks(false);
    to_guest_.kicks_wanted = false;
  }
  uint32_t done = 0;
  // A burst of large segments takes more buffers than a batch has room for: round by round then.
  for (bool progress = true; done < count && progress;) {
    batch.count = batch.span_count = 0;
    queue.Take(batch, std::min(count - done, ChainBatch::kChains));
    uint32_t next = 0;  // chains filled
    progress = false;
    while (done < count) {
      const Fit fit = Place(ring, batch, pool, frames[done], &next);
      if (fit == Fit::kNotNow) break;
      if (fit == Fit::kNever) {
        *refused += frames[done].tail == nullptr ? 1 : frames[done].tail->frames;
      }
      GiveFrame(pool, frames[done++]);
      progress = true;
    }
    if (next < batch.count) queue.PutBack(batch.chains[next]);
    if (next > 0) queue.Use(batch.chains.data(), next);
  }
  if (done < count) to_guest_.starved = true;
  Look(RingUse::kWrites, ring);
  return done;
}

// Finds buffers for the frame behind the first `*next` chains of the batch, and fills them.
VhostPair::Fit VhostPair::Place(const Running& ring, ChainBatch& batch, FramePool& pool,
                                const Frame& frame, uint32_t* next) {
  Virtqueue& queue = *ring.queue->ring;
  const uint32_t needed = ring.header + frame.len;
  uint32_t end = *next;
  for (uint32_t room = 0; room < needed;) {
    if (end > *next && !ring.mergeable) return Fit::kNever;
    if (end == batch.count) {
      const uint32_t before = batch.count;
      const uint32_t more = std::min((needed - room) / 1024 + 1, ChainBatch::kChains - before);
      if (more == 0 || queue.Take(batch, more) == 0) {
        // Not even with the whole ring, or a whole batch: no waiting will make it fit.
        return *next == 0 && (before >= queue.size() || more == 0) ? Fit::kNever : Fit::kNotNow;
      }
    }
    room += batch.chains[end++].bytes;
    // A header that does not fit the first buffer is nothing a driver may ask for.
    if (end == *next + 1 && room < ring.header) return Fit::kNever;
  }
  Write(ring, batch, pool, frame, *next, end - *next);
  *next = end;
  return Fit::kPlaced;
}

// What most frames are: in one place or two, for one buffer, whose beginning `to` is.
void VhostPair::WriteAtOnce(GuestSpan to, const virtio_net_hdr_mrg_rxbuf& header,
                            const uint8_t* data, const Frame& frame) {
  to.SetFirst(header);
  const uint32_t head = frame.tail == nullptr ? frame.len : frame.tail->head;
  to.Part(sizeof(header), head).ShortCopyFrom(data);
  if (head == frame.len) return;
  to.Part(sizeof(header) + head, frame.len - head).CopyFrom(frame.tail->pieces[0].bytes);
}

void VhostPair::Write(const Running& ring, ChainBatch& batch, FramePool& pool, const Frame& frame,
                      uint32_t first, uint32_t chains) {
  Virtqueue& queue = *ring.queue->ring;
  virtio_net_hdr_mrg_rxbuf header{};
  if (frame.tail != nullptr) header.hdr = frame.tail->offload;
  header.num_buffers = htole16(static_cast<uint16_t>(chains));
  const uint8_t* header_bytes = reinterpret_cast<const uint8_t*>(&header);
  const uint8_t* data = pool.area().Data(frame.addr);

  // The spans of chains that follow one another follow one another, too.
  const GuestSpan* span = &batch.spans[batch.chains[first].first];
  if (span->size() >= ring.header + frame.len && ring.header == sizeof(header) &&
      (frame.tail == nullptr || frame.tail->piece_count <= 1)) {
    batch.chains[first].written = ring.header + frame.len;
    WriteAtOnce(*span, header, data, frame);
    queue.LogWritten(span->Part(0, ring.header + frame.len));
    return;
  }
  FrameTail whole{.head = frame.len};
  FrameReader reader(data, frame.tail != nullptr ? *frame.tail : whole);
  uint32_t left = ring.header + frame.len;
  uint32_t header_left = ring.header;
  for (uint32_t i = first; i < first + chains; ++i) {
    batch.chains[i].written = std::min(batch.chains[i].bytes, left);
    for (uint32_t room = batch.chains[i].written; room > 0; ++span) {
      GuestSpan part = span->Part(0, std::min(room, span->size()));
      const GuestSpan written = part;
      room -= part.size();
      left -= part.size();
      if (header_left > 0) {
        const uint32_t size = std::min(header_left, part.size());
        part.Part(0, size).CopyFrom(header_bytes + ring.header - header_left);
        header_left -= size;
        part = part.Part(size, part.size() - size);
      }
      if (part.size() > 0) reader.Read(part);
      queue.LogWritten(written);  // after the bytes, or a migration copies them too early
    }
  }
}

Port::Refused VhostPair::Flush() {
  if (const Running* ring = std::exchange(filled_, nullptr)) {
    const Filling filling(filling_, kPatience);
    // Who cannot ask tells the guest anyway: one interrupt too many does no harm.
    if (!filling || ring->queue->ring->ShouldNotify()) Notify(RingUse::kWrites, *ring->queue);
  }
  return {.frames = std::exchange(refused_, 0), .reason = DropReason::kGUEST_BUFFER};
}

// As PrepareSleep; only a guest that has lent too few buffers is to tell of new ones.
Port::Rest VhostPair::PrepareToFill() {
  const Running* ring = to_guest_.live.load(std::memory_order_acquire);
  if (ring == nullptr) return Rest::kWoken;
  const Filling filling(filling_, kPatience);
  if (!filling) return Rest::kWork;
  if (!std::exchange(to_guest_.starved, false)) return Rest::kWoken;
  ring->queue->ring->WantKicks(true);
  to_guest_.kicks_wanted = true;
  if (ring->queue->ring->HasWork()) return Rest::kWork;
  return ring->queue->kick_fd < 0 ? Rest::kPoll : Rest::kWoken;
}

}  // namespace vmqd

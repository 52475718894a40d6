// See ring_end.h.
#include "tests/bench/e2e/ring_end.h"

#include <cstring>

namespace vmqd::bench {
namespace {

using testing::FrontEnd;

constexpr uint32_t kRing = 1024;  // so that a reader who naps for 100 us misses nothing
constexpr uint32_t kPlain = 2048, kJumbo = 10240;

FrontEnd::Options OptionsFor(uint32_t buffer_bytes) {
  FrontEnd::Options options;
  options.ring_size = kRing;
  options.buffer_bytes = buffer_bytes;
  options.posts = false;
  options.features = testing::kMergeable | testing::kEventIdx;
  return options;
}

}  // namespace

RingEnd::RingEnd(uint32_t buffer_bytes)
    : buffer_bytes_(buffer_bytes),
      front_(OptionsFor(buffer_bytes)),
      slot_of_(kRing),
      buffer_of_(kRing) {
  front_.transmit().RefuseInterrupts();
  front_.receive().RefuseInterrupts();
  for (uint32_t i = 0; i < kRing; ++i) {
    free_.push_back(static_cast<int>(i));
    Post(FrontEnd::kReceiveBase + uint64_t{i} * buffer_bytes_);
  }
}

std::unique_ptr<RingEnd> RingEnd::Connect(const std::string& path, bool jumbo) {
  auto end = std::unique_ptr<RingEnd>(new RingEnd(jumbo ? kJumbo : kPlain));
  return end->front_.Connect(path) ? std::move(end) : nullptr;
}

void RingEnd::Post(uint64_t buffer) {
  const auto id = front_.receive().Add({{buffer, buffer_bytes_}});
  if (id.has_value()) buffer_of_[*id] = buffer;
}

// Close together, unlike FrontEnd's own slots: 68 KiB apart they would share cache sets.
uint64_t RingEnd::At(int slot) const {
  return FrontEnd::kTransmitBase + static_cast<uint64_t>(slot) * buffer_bytes_;
}

int RingEnd::Slot() {
  while (const auto used = front_.transmit().Reap()) free_.push_back(slot_of_[used->id]);
  if (free_.empty()) return -1;
  const int slot = free_.back();
  free_.pop_back();
  return slot;
}

void RingEnd::Transmit(int slot, size_t length) {
  const auto bytes = static_cast<uint32_t>(FrontEnd::kHeader + length);
  const auto id = front_.transmit().Add({{At(slot), bytes}});
  slot_of_[*id] = slot;  // there are as many entries as slots
}

bool RingEnd::SendOne(uint64_t number) {
  const int slot = Slot();
  if (slot < 0) return false;
  const uint32_t size = bench_size(&load_, number);
  bench_stamp(&load_, number, size, load_.probe_each != 0 ? NowNs() : 0,
              front_.memory().At(At(slot)) + FrontEnd::kHeader);
  Transmit(slot, size);
  return true;
}

void RingEnd::SendsDone() {
  if (front_.transmit().ShouldKick()) front_.Kick(1);
}

uint32_t RingEnd::Receive() {
  uint32_t frames = 0;
  for (; frames < kBurst; ++frames) {
    const auto used = front_.receive().Reap();
    if (!used.has_value()) break;
    const uint64_t buffer = buffer_of_[used->id];
    if (used->length > FrontEnd::kHeader) {
      Took(front_.memory().At(buffer) + FrontEnd::kHeader, used->length - FrontEnd::kHeader);
    }
    Post(buffer);
  }
  if (frames > 0 && front_.receive().ShouldKick()) front_.Kick(0);
  return frames;
}

void RingEnd::Answer(const uint8_t* frame, size_t length) {
  const int slot = Slot();
  if (slot < 0) return;
  std::memcpy(front_.memory().At(At(slot)) + FrontEnd::kHeader, frame, length);
  Transmit(slot, length);
  SendsDone();
}

}  // namespace vmqd::bench

// See front_end.h.
#include "tests/support/front_end.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

namespace vmqd::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr uint64_t kVersionOne = uint64_t{1} << 32;
constexpr uint64_t kProtocol = uint64_t{1} << 30;
constexpr uint64_t kProtocolFeatures = 0x1821f;  // all that is offered
constexpr uint64_t kPage = 4096;
constexpr milliseconds kPatience{2000};

uint64_t Pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

uint64_t RingBytes(const FrontEnd::Options& options) {
  return Pages(TestDriver::Bytes({.indirect = true, .size = options.ring_size}));
}

std::vector<std::pair<uint64_t, uint64_t>> RegionsFor(const FrontEnd::Options& options) {
  const uint64_t entries = uint64_t{options.pairs} * options.ring_size;
  return {{FrontEnd::kRingBase, 2 * options.pairs * RingBytes(options)},
          {FrontEnd::kTransmitBase, Pages(entries * FrontEnd::kSlotBytes)},
          {FrontEnd::kReceiveBase, Pages(entries * options.buffer_bytes)}};
}

}  // namespace

FrontEnd::FrontEnd(const Options& options)
    : options_(options),
      ring_bytes_(RingBytes(options)),
      memory_(RegionsFor(options), options.sealed),
      bases_(2 * options.pairs) {
  for (uint32_t i = 0; i < 2 * options_.pairs; ++i) {
    kicks_.push_back(NewEventFd());
    calls_.push_back(NewEventFd());
  }
  Reset();
}

DriverConfig FrontEnd::ConfigOf(uint32_t ring) const {
  return {.use = ring % 2 == 0 ? RingUse::kWrites : RingUse::kReads,
          .packed = (options_.features & kPacked) != 0,
          .event_idx = (options_.features & kEventIdx) != 0,
          .indirect = true,  // room for tables; whether they are used is the sender's choice
          .size = options_.ring_size};
}

uint64_t FrontEnd::RingAt(uint32_t ring) const { return kRingBase + ring * ring_bytes_; }

uint64_t FrontEnd::slot(uint32_t number, uint32_t pair) const {
  return kTransmitBase + (uint64_t{pair} * options_.ring_size + number) * kSlotBytes;
}

void FrontEnd::Reset() {
  drivers_.clear();
  pairs_.assign(options_.pairs, {});
  for (uint32_t ring = 0; ring < 2 * options_.pairs; ++ring) {
    std::memset(memory_.At(RingAt(ring)), 0, ring_bytes_);
    drivers_.push_back(std::make_unique<TestDriver>(memory_, ConfigOf(ring), RingAt(ring)));
    bases_[ring] = drivers_[ring]->ForDevice().base;
  }
  for (uint32_t pair = 0; pair < options_.pairs; ++pair) {
    pairs_[pair].slot_of.resize(options_.ring_size);
    pairs_[pair].buffer_of.resize(options_.ring_size);
    for (uint32_t i = 0; i < options_.ring_size; ++i) pairs_[pair].free_slots.push_back(i);
    if (!options_.posts) continue;
    for (uint32_t i = 0; i < options_.ring_size / options_.buffer_pieces; ++i) {
      Post(pair, kReceiveBase + (uint64_t{pair} * options_.ring_size + i) * options_.buffer_bytes);
    }
  }
}

bool FrontEnd::Connect(const std::string& path) {
  return client_.ConnectTo(path) && Negotiate() && GiveMemory() && StartRings();
}

bool FrontEnd::Negotiate() {
  return client_.Send(kSetOwner) && client_.SetU64(kSetProtocolFeatures, kProtocolFeatures) &&
         client_.SetU64(kSetFeatures, options_.features | kVersionOne | kProtocol);
}

bool FrontEnd::GiveMemory() {
  std::vector<VhostRegion> regions;
  for (const MemoryRegion& region : memory_.regions()) {
    regions.push_back({region.guest_address, region.size, region.user_address, region.mmap_offset});
  }
  return client_.SetMemTable(regions, std::vector<int>(regions.size(), memory_.fd()));
}

bool FrontEnd::StartRing(uint32_t ring) {
  const VirtqueueConfig config = drivers_[ring]->ForDevice();
  return client_.SetVring(kSetVringNum, ring, config.size) &&
         client_.SetVring(kSetVringBase, ring, bases_[ring]) &&
         client_.SetVringAddr(ring, config.descriptors, config.device, config.driver) &&
         client_.SetVringFd(kSetVringCall, ring, calls_[ring].get()) &&
         client_.SetVringFd(kSetVringKick, ring, kicks_[ring].get());
}

bool FrontEnd::Enable(uint32_t ring, bool enabled) {
  return client_.SetVring(kSetVringEnable, ring, enabled ? 1 : 0);
}

bool FrontEnd::StartRings() {
  for (uint32_t ring = 0; ring < 2 * options_.pairs; ++ring) {
    if (!StartRing(ring) || !Enable(ring)) return false;
  }
  return client_.Synchronise();
}

bool FrontEnd::StopRing(uint32_t ring) {
  const auto reply = client_.Ask(kGetVringBase, Raw(ring) + Raw(uint32_t{0}));
  if (!reply.has_value()) return false;
  bases_[ring] = static_cast<uint32_t>(reply->u64() >> 32);
  return true;
}

void FrontEnd::Kick(uint32_t ring) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(kicks_[ring].get(), &one, sizeof(one));
}

void FrontEnd::Post(uint32_t pair, uint64_t buffer) {
  std::memset(memory_.At(buffer), kCanary, options_.buffer_bytes);
  std::vector<DriverBuffer> pieces;
  const uint32_t part = options_.buffer_bytes / options_.buffer_pieces;
  for (uint32_t i = 0; i < options_.buffer_pieces; ++i) {
    const bool last = i + 1 == options_.buffer_pieces;
    pieces.push_back({buffer + uint64_t{i} * part, last ? options_.buffer_bytes - i * part : part});
  }
  const auto id = receive(pair).Add(pieces);
  if (id.has_value()) pairs_[pair].buffer_of[*id] = buffer;
}

void FrontEnd::ReapSent(uint32_t pair) {
  while (const auto used = transmit(pair).Reap()) {
    if (used->length != 0) problems_ += "the device says it wrote into what was sent; ";
    pairs_[pair].free_slots.push_back(pairs_[pair].slot_of[used->id]);
  }
}

bool FrontEnd::Send(const Bytes& frame, const virtio_net_hdr& offload,
                    const std::vector<uint32_t>& cuts, uint32_t pair) {
  Bytes bytes(kHeader);
  std::memcpy(bytes.data(), &offload, sizeof(offload));
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  return SendRaw(bytes, cuts, pair);
}

bool FrontEnd::SendRaw(const Bytes& bytes, const std::vector<uint32_t>& cuts, uint32_t pair) {
  const uint32_t ring = 2 * pair + 1;
  Pair& state = pairs_[pair];
  const auto end = steady_clock::now() + kPatience;
  const bool table = indirect_ && cuts.size() < TestDriver::kTableEntries;
  const uint32_t entries = table ? 1 : static_cast<uint32_t>(cuts.size()) + 1;
  for (ReapSent(pair); state.free_slots.empty() || transmit(pair).free() < entries;) {
    if (steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    ReapSent(pair);
  }
  const uint32_t number = state.free_slots.back();
  uint64_t at = slot(number, pair);
  std::memcpy(memory_.At(at), bytes.data(), bytes.size());
  std::vector<DriverBuffer> pieces;
  auto left = static_cast<uint32_t>(bytes.size());
  for (const uint32_t cut : cuts) {
    const uint32_t length = std::min(cut, left);
    pieces.push_back({at, length});
    at += length;
    left -= length;
  }
  pieces.push_back({at, left});
  const auto id = transmit(pair).Add(pieces, table);
  if (!id.has_value()) return false;
  state.free_slots.pop_back();
  state.slot_of[*id] = number;
  if (transmit(pair).ShouldKick()) Kick(ring);
  return true;
}

bool FrontEnd::AllSent() {
  const auto end = steady_clock::now() + kPatience;
  const auto outstanding = [this] {
    for (uint32_t pair = 0; pair < options_.pairs; ++pair) {
      ReapSent(pair);
      if (pairs_[pair].free_slots.size() != options_.ring_size) return true;
    }
    return false;
  };
  while (outstanding()) {
    if (steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

// The bytes that were written; the others must be as they were posted.
Bytes FrontEnd::TakeBuffer(uint32_t pair, const TestDriver::Used& used) {
  const uint64_t buffer = pairs_[pair].buffer_of[used.id];
  const uint8_t* from = memory_.At(buffer);
  const uint32_t length = std::min(used.length, options_.buffer_bytes);
  if (used.length > length) problems_ += "more was written than the buffer holds; ";
  Bytes bytes(from, from + length);
  const auto untouched = [](uint8_t byte) { return byte == kCanary; };
  if (!std::all_of(from + length, from + options_.buffer_bytes, untouched)) {
    problems_ += "bytes were written behind the frame; ";
  }
  Post(pair, buffer);
  return bytes;
}

std::optional<ReceivedFrame> FrontEnd::TakeFrame(uint32_t pair) {
  const auto first = receive(pair).Reap();
  if (!first.has_value()) return std::nullopt;
  Bytes bytes = TakeBuffer(pair, *first);
  if (bytes.size() < kHeader) {
    problems_ += "a buffer without a header; ";
    return std::nullopt;
  }
  ReceivedFrame frame{.pair = pair};
  std::memcpy(&frame.offload, bytes.data(), sizeof(frame.offload));
  std::memcpy(&frame.buffers, bytes.data() + sizeof(frame.offload), sizeof(frame.buffers));
  frame.bytes.assign(bytes.begin() + kHeader, bytes.end());
  // All of a frame's buffers are used at once.
  for (uint32_t i = 1; i < frame.buffers; ++i) {
    const auto more = receive(pair).Reap();
    if (!more.has_value()) {
      problems_ += "a frame's buffers were not used all at once; ";
      return std::nullopt;
    }
    const Bytes rest = TakeBuffer(pair, *more);
    frame.bytes.insert(frame.bytes.end(), rest.begin(), rest.end());
  }
  if (receive(pair).ShouldKick()) Kick(2 * pair);
  return frame;
}

std::optional<ReceivedFrame> FrontEnd::Receive(int patience_ms) {
  const auto end = steady_clock::now() + milliseconds(patience_ms);
  bool interrupted = true;
  while (true) {
    for (int round = 0; round < 2; ++round) {
      for (uint32_t pair = 0; pair < options_.pairs; ++pair) {
        auto frame = TakeFrame(pair);
        if (frame.has_value() && !interrupted) problems_ += "a frame came without an interrupt; ";
        if (frame.has_value()) return frame;
      }
      if (round > 0 || !interrupted) break;
      for (uint32_t pair = 0; pair < options_.pairs; ++pair) receive(pair).WantInterrupt();
    }
    const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now()).count();
    if (left <= 0 || !interrupted) return std::nullopt;
    interrupted = AwaitInterrupt(static_cast<int>(left));
  }
}

bool FrontEnd::AwaitInterrupt(int patience_ms) {
  std::vector<pollfd> waited;
  for (uint32_t pair = 0; pair < options_.pairs; ++pair) {
    waited.push_back({calls_[2 * pair].get(), POLLIN, 0});
  }
  if (poll(waited.data(), waited.size(), patience_ms) <= 0) return false;
  for (const pollfd& one : waited) {
    uint64_t count;
    if ((one.revents & POLLIN) != 0) {
      [[maybe_unused]] const ssize_t got = read(one.fd, &count, sizeof(count));
    }
  }
  return true;
}

}  // namespace vmqd::testing

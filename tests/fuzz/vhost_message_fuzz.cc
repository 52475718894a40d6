// Whole conversations of a hostile front end: messages in any order, cut anywhere, with descriptors
// of every kind, through a real socket into the connection and the device behind it. Whatever was
// sent, at the end no descriptor and no mapping of guest memory is left.
//
// An input is a list of steps. First byte: its low five bits pick the request, kShort cuts the
// message, kRaw puts the next bytes in the header as they are; second byte: how many descriptors
// and of which kind; third: how many of the next bytes are the payload (those of a described ring
// or region are built from small numbers, so that rings come to run).
#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "daemon/virtio/vhost_connection.h"
#include "daemon/virtio/vhost_device.h"
#include "tests/fuzz/invariant.h"
#include "tests/support/vhost_client.h"

namespace {

using vmqd::testing::Raw;
using vmqd::testing::TestFd;
using vmqd::testing::VhostClient;
using vmqd::testing::VhostRegion;

constexpr uint64_t kGuestBase = 0x40000000;
constexpr uint64_t kUserBase = 0x7f0000000000;
constexpr uint64_t kMemoryBytes = 1 << 20;
constexpr uint8_t kRequests = 0x1f;
constexpr uint8_t kShort = 0x20;
constexpr uint8_t kRaw = 0x40;
constexpr uint8_t kNeedReply = 0x80;
constexpr uint32_t kSteps = 64;

// Only what runs is stopped, and nothing runs twice.
class CheckingOwner : public vmqd::VhostDeviceOwner {
 public:
  void StartQueue(uint32_t index, vmqd::VhostQueue& queue) override {
    INVARIANT(queue.ring != nullptr && running_.insert(index).second);
    batch_.count = 0;
    batch_.span_count = 0;
    queue.ring->Take(batch_, vmqd::ChainBatch::kChains);
    for (uint32_t i = batch_.count; i > 0; --i) queue.ring->PutBack(batch_.chains[i - 1]);
  }
  void StopQueue(uint32_t index) override { INVARIANT(running_.erase(index) == 1); }
  void SetLink(bool up) override { INVARIANT(up != std::exchange(link_, up)); }
  void Announce(const vmqd::MacAddress& mac) override { INVARIANT(!mac.IsZero()); }
  bool quiet() const { return running_.empty() && !link_; }

 private:
  std::set<uint32_t> running_;
  bool link_ = false;
  static vmqd::ChainBatch batch_;
};
vmqd::ChainBatch CheckingOwner::batch_;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::string Bytes(size_t count) {
    count = std::min(count, left_);
    std::string bytes(reinterpret_cast<const char*>(data_), count);
    data_ += count;
    left_ -= count;
    return bytes;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

// Descriptors of every kind, opened once.
struct Kinds {
  Kinds() {
    int ends[2];
    INVARIANT(pipe2(ends, O_CLOEXEC) == 0);
    pipe_reads = TestFd(ends[0]);
    pipe_writes = TestFd(ends[1]);
  }
  TestFd sealed = vmqd::testing::NewMemory(kMemoryBytes);
  TestFd unsealed = vmqd::testing::NewMemory(kMemoryBytes, false);
  TestFd small = vmqd::testing::NewMemory(4096);
  TestFd event = vmqd::testing::NewEventFd();
  TestFd pipe_reads;
  TestFd pipe_writes;
  TestFd directory{open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  TestFd null{open("/dev/null", O_RDWR | O_CLOEXEC)};
  int At(uint8_t kind) const {
    const std::array<int, 8> all = {sealed.get(),    event.get(),      unsealed.get(),
                                    small.get(),     null.get(),       pipe_reads.get(),
                                    directory.get(), pipe_writes.get()};
    return all[kind % all.size()];
  }
};

size_t OpenFds() {
  DIR* directory = opendir("/proc/self/fd");
  size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// Bytes of memory files mapped.
uint64_t MappedBytes() {
  FILE* maps = std::fopen("/proc/self/maps", "re");
  uint64_t bytes = 0;
  std::array<char, 512> line;
  while (std::fgets(line.data(), line.size(), maps) != nullptr) {
    unsigned long long begin = 0;
    unsigned long long end = 0;
    if (std::strstr(line.data(), "memfd:guest") != nullptr &&
        std::sscanf(line.data(), "%llx-%llx", &begin, &end) == 2) {
      bytes += end - begin;
    }
  }
  std::fclose(maps);
  return bytes;
}

std::string RegionOf(Input& input) {
  const uint64_t at = input.Byte() % 4 * kMemoryBytes;
  const uint8_t change = input.Byte();
  VhostRegion region{kGuestBase + at, kMemoryBytes, kUserBase + at, 0};
  if (change == 1) region.size += 4096;
  if (change == 2) region.size = 4096;
  if (change == 3) region.guest_address = ~uint64_t{0xfff};
  if (change == 4) region.mmap_offset = ~uint64_t{0xfff};
  if (change == 5) region.user_address = kGuestBase;
  return Raw(region);
}

// The payload of a request, plausible when `plain` and the input's own bytes otherwise.
std::string PayloadOf(uint32_t request, bool plain, Input& input) {
  using namespace vmqd::testing;  // NOLINT(google-build-using-namespace): the request numbers
  if (!plain) return input.Bytes(input.Byte());
  switch (request) {
    case kSetMemTable: {
      const uint32_t count = input.Byte() % 9;
      std::string payload = Raw(count) + Raw(uint32_t{0});
      for (uint32_t i = 0; i < count; ++i) payload += RegionOf(input);
      return payload;
    }
    case kAddMemReg:
    case kRemMemReg:
      return Raw(uint64_t{0}) + RegionOf(input);
    case kSetVringAddr: {
      const uint32_t ring = input.Byte() % 5;
      const uint64_t base = kUserBase + input.Byte() * 0x1000;
      return Raw(ring) + Raw(uint32_t{input.Byte()} & 1) + Raw(base) + Raw(base + 0x4000) +
             Raw(base + 0x2000) + Raw(uint64_t{0});
    }
    case kSetVringNum:
      return Raw(uint32_t{input.Byte()} % 5) + Raw(uint32_t{1} << input.Byte() % 17);
    case kSetVringBase:
    case kGetVringBase:
    case kSetVringEnable:
      return Raw(uint32_t{input.Byte()} % 5) + Raw(uint32_t{input.Byte()} & 1);
    case kSetVringKick:
    case kSetVringCall:
    case kSetVringErr:
      return Raw(uint64_t{input.Byte()} % 5 + (input.Byte() % 2 == 0 ? 0 : 0x100));
    case kSetLogBase:
      return Raw(uint64_t{input.Byte()} * 4096) + Raw(uint64_t{input.Byte()} * 4096);
    case kSetFeatures: {
      uint64_t features = uint64_t{1} << 32;
      for (const uint32_t bit : {26, 28, 29, 30, 34, 35, 15}) {
        if (input.Byte() % 2 == 0) features |= uint64_t{1} << bit;
      }
      return Raw(features);
    }
    case kSetProtocolFeatures:
      return Raw(uint64_t{0x1821f});
    case kNetSetMtu:
    case kSetStatus:
      return Raw(uint64_t{input.Byte()} * 8);
    case kSendRarp:
      return input.Bytes(8) + std::string(8, '\0');
    case kGetConfig:
    case kSetConfig: {
      const uint32_t size = input.Byte();
      return Raw(uint32_t{input.Byte()}) + Raw(size) + Raw(uint32_t{0}) + std::string(size, '\1');
    }
    default:
      return "";
  }
}

void SendStep(VhostClient& client, const Kinds& kinds, Input& input) {
  constexpr std::array<uint32_t, 32> kNumbers = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                                 12, 13, 14, 15, 16, 17, 18, 19, 20, 24, 25,
                                                 36, 37, 38, 39, 40, 5,  12, 31, 21, 9};
  const uint8_t first = input.Byte();
  const uint8_t second = input.Byte();
  const uint32_t request = kNumbers[first & kRequests];
  std::vector<int> fds(second & 0xf, kinds.At(second >> 4));
  std::string payload = PayloadOf(request, (first & kRaw) == 0, input);
  const uint32_t flags = 1 | ((first & kNeedReply) != 0 ? 8 : 0);
  std::string bytes =
      Raw(request) + Raw(flags) + Raw(static_cast<uint32_t>(payload.size())) + payload;
  if ((first & kRaw) != 0) bytes = input.Bytes(12) + payload;
  if ((first & kShort) != 0) bytes.resize(bytes.size() - std::min<size_t>(bytes.size(), second));
  if (!bytes.empty()) client.SendRaw(bytes, fds);
}

// What VhostPort does with a readable connection; false when it is over.
bool Serve(vmqd::VhostConnection& connection, vmqd::VhostDevice& device, VhostClient& client) {
  while (true) {
    auto message = connection.Read();
    if (!message.ok()) {
      device.Disconnect(std::string(message.status().message()));
      return false;
    }
    if (!message->has_value()) return true;
    vmqd::VhostAnswer answer = device.Handle(**message);
    if (answer.reply.has_value()) {
      INVARIANT(answer.reply->header.flags == 5 && answer.reply->fd_count == 0);
      INVARIANT(connection.Write(*answer.reply).ok());
      INVARIANT(client.Receive().has_value());
    }
    if (!answer.status.ok()) {
      device.Disconnect(std::string(answer.status.message()));
      return false;
    }
  }
}

void Converse(Input& input, const Kinds& kinds, CheckingOwner& owner) {
  vmqd::VhostOptions options;
  options.queue_pairs = 2;
  options.features = vmqd::SupportedVirtioFeatures();
  vmqd::VhostDevice device(options, owner);
  for (uint32_t step = 0; step < kSteps && !input.empty();) {
    int ends[2];
    INVARIANT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    VhostClient client{TestFd(ends[0])};
    vmqd::VhostConnection connection{vmqd::UniqueFd(ends[1])};
    device.Connect();
    bool alive = true;
    for (; alive && step < kSteps && !input.empty(); ++step) {
      SendStep(client, kinds, input);
      alive = Serve(connection, device, client);
      if (step % 16 == 15) device.Fault("seen by a worker");
      device.Status();
    }
    if (alive) device.Disconnect("");
    INVARIANT(owner.quiet());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool guarded = (vmqd::GuardGuestMemory(), true);
  static const Kinds kinds;
  INVARIANT(guarded);
  const size_t fds = OpenFds();  // each time: the fuzzer keeps its symbolizer's, once it has one
  Input input(data, size);
  CheckingOwner owner;
  Converse(input, kinds, owner);
  INVARIANT(owner.quiet());
  INVARIANT(OpenFds() == fds);
  INVARIANT(MappedBytes() == 0);
  return 0;
}

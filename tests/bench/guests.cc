// vmqd_bench_guests [-c CPU]: guests of vhost-user ports without a VM around them: the VMM's side
// and the network driver of tests/support, on memory of their own. Reads commands from standard
// input, one a line, and answers each with one line:
//   listen N PATH             guest N is a VMM that listens there                      -> ok
//   first N                   accepts, starts everything, waits for a frame
//                                            -> connected NS started NS first NS (CLOCK_MONOTONIC)
//   connect N PATH large|plain                                                         -> ok
//   tap N DEVICE              makes a tap with the guest's offloads, for pump         -> ok
//   pump SECONDS              frames between taps and rings, of all guests that have a tap -> ok
//   strain SECONDS MAC        all guests keep their transmit rings full of TCP frames of 40
//                             segments to MAC, which costs them next to nothing            -> ok
//   close N                                                                            -> ok
// An error is answered with "error SENTENCE". Guest N has MAC 02:00:00:00:00:0N. A `large` one has
// all offloads, a `plain` one none; both merge receive buffers of a page, as a Linux guest does.
// What a guest does with its frames is a namespace's affair, behind the tap. One thread plays all
// of them; it polls.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/front_end.h"

namespace vmqd::testing {
namespace {

constexpr uint32_t kRing = 256;       // QEMU's own choice
constexpr uint32_t kBurst = 32;       // frames
constexpr uint32_t kReceived = 4096;  // bytes of a receive buffer
constexpr uint16_t kSegment = 1448;   // bytes of TCP payload

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

class Guest {
 public:
  explicit Guest(bool large) : large_(large), front_(OptionsFor(large)) {
    front_.transmit().RefuseInterrupts();
    front_.receive().RefuseInterrupts();
    for (uint32_t i = 0; i < kRing; ++i) {
      Post(FrontEnd::kReceiveBase + uint64_t{i} * kReceived);
    }
  }

  FrontEnd& front() { return front_; }

  // The network card of a namespace: frames come and go with a virtio_net_hdr, as in the rings.
  bool MakeTap(const std::string& device) {
    tap_ = TestFd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    const int header = FrontEnd::kHeader;
    const unsigned long offloads =
        large_ ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
    for (uint32_t i = 0; i < kRing; ++i) free_slots_.push_back(i);
    return ioctl(tap_.get(), TUNSETIFF, &request) == 0 &&
           ioctl(tap_.get(), TUNSETVNETHDRSZ, &header) == 0 &&
           ioctl(tap_.get(), TUNSETOFFLOAD, offloads) == 0;
  }

  // A burst each way between tap and rings.
  void Pump() {
    if (tap_.get() < 0) return;
    FromTap();
    ToTap();
  }

  // The same frame over and over: 40 segments for whoever cuts it.
  void PrepareStrain(const MacAddress& source, const MacAddress& destination) {
    FrameSpec spec;
    spec.source = source;
    spec.destination = destination;
    spec.checksum = Checksum::kPartial;
    spec.payload = Pattern(40 * kSegment);
    const BuiltFrame frame = Build(spec);
    virtio_net_hdr header{};
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
    header.hdr_len = static_cast<uint16_t>(frame.payload);
    header.gso_size = kSegment;
    header.csum_start = static_cast<uint16_t>(frame.transport);
    header.csum_offset = static_cast<uint16_t>(frame.field - frame.transport);
    uint8_t* slot = front_.memory().At(front_.slot(0));
    std::memset(slot, 0, FrontEnd::kHeader);
    std::memcpy(slot, &header, sizeof(header));
    std::memcpy(slot + FrontEnd::kHeader, frame.bytes.data(), frame.bytes.size());
    strain_bytes_ = static_cast<uint32_t>(FrontEnd::kHeader + frame.bytes.size());
  }
  void Strain() {
    while (front_.transmit().Reap()) continue;
    while (front_.transmit().Add({{front_.slot(0), strain_bytes_}})) continue;
    if (front_.transmit().ShouldKick()) front_.Kick(1);
  }

  bool Received() { return front_.receive().Reap().has_value(); }

 private:
  static FrontEnd::Options OptionsFor(bool large) {
    FrontEnd::Options options;
    options.ring_size = kRing;
    options.buffer_bytes = kReceived;
    options.posts = false;
    options.features = kMergeable | kEventIdx | (large ? kSendsLarge | kTakesLarge : 0);
    return options;
  }
  void FromTap() {
    while (const auto used = front_.transmit().Reap()) free_slots_.push_back(slot_of_[used->id]);
    for (uint32_t i = 0; i < kBurst && !free_slots_.empty(); ++i) {
      const uint64_t slot = front_.slot(free_slots_.back());
      const ssize_t got = read(tap_.get(), front_.memory().At(slot), FrontEnd::kSlotBytes);
      if (got <= 0) break;
      const auto id = front_.transmit().Add({{slot, static_cast<uint32_t>(got)}});
      slot_of_[*id] = free_slots_.back();
      free_slots_.pop_back();
    }
    if (front_.transmit().ShouldKick()) front_.Kick(1);
  }
  void ToTap() {
    for (uint32_t i = 0; i < kBurst; ++i) {
      std::vector<iovec> pieces;
      std::vector<uint64_t> buffers;
      uint16_t merged = 1;  // as the frame's header has it
      while (pieces.size() < merged) {
        const auto used = front_.receive().Reap();  // all of a frame's buffers come at once
        if (!used) break;
        buffers.push_back(buffer_of_[used->id]);
        uint8_t* at = front_.memory().At(buffers.back());
        if (pieces.empty()) std::memcpy(&merged, at + sizeof(virtio_net_hdr), sizeof(merged));
        pieces.push_back({at, used->length});
      }
      if (pieces.empty()) break;
      // A frame that the tap refuses is lost, as on any wire.
      [[maybe_unused]] const ssize_t put =
          writev(tap_.get(), pieces.data(), static_cast<int>(pieces.size()));
      for (const uint64_t buffer : buffers) Post(buffer);
    }
    if (front_.receive().ShouldKick()) front_.Kick(0);
  }
  void Post(uint64_t buffer) {
    const auto id = front_.receive().Add({{buffer, kReceived}});
    if (id.has_value()) buffer_of_[*id] = buffer;
  }

  const bool large_;
  FrontEnd front_;
  std::vector<uint64_t> buffer_of_ = std::vector<uint64_t>(kRing);
  TestFd tap_;
  uint32_t strain_bytes_ = 0;
  std::vector<uint32_t> free_slots_, slot_of_ = std::vector<uint32_t>(kRing);
};

class Guests {
 public:
  std::string Obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    int number = 0;
    if (!(words >> verb >> number)) return "error no such command";
    if (verb == "pump") return Pump(number), "ok";
    if (verb == "strain") return Strain(number, words) ? "ok" : "error no such address";
    if (verb == "close") return guests_.erase(number), "ok";
    if (verb == "listen" || verb == "connect") return Attach(verb, number, words);
    if (guests_.count(number) == 0) return "error no such guest";
    if (verb == "tap") {
      words >> verb;
      return guests_[number]->MakeTap(verb) ? "ok" : "error no tap could be made";
    }
    if (verb == "first") return First(*guests_[number]);
    return "error no such command";
  }

 private:
  std::string Attach(const std::string& verb, int number, std::istringstream& words) {
    std::string path, kind;
    words >> path >> kind;
    guests_[number] = std::make_unique<Guest>(kind == "large");
    FrontEnd& front = guests_[number]->front();
    const bool done = verb == "listen" ? front.client().ListenAt(path) : front.Connect(path);
    return done ? "ok" : "error " + verb + " " + path + " failed";
  }

  static std::string First(Guest& guest) {
    FrontEnd& front = guest.front();
    if (!front.client().Accept()) return "error nobody connected";
    const int64_t connected = NowNs();
    if (!front.Negotiate() || !front.GiveMemory() || !front.StartRings()) return "error refused";
    const int64_t started = NowNs(), end = started + 2000000000;
    while (!guest.Received()) {
      if (NowNs() > end) return "error no frame came";
      sched_yield();
    }
    return "connected " + std::to_string(connected) + " started " + std::to_string(started) +
           " first " + std::to_string(NowNs());
  }

  void Pump(int seconds) {
    for (const int64_t end = NowNs() + seconds * int64_t{1000000000}; NowNs() < end;) {
      for (auto& [number, guest] : guests_) guest->Pump();
    }
  }

  // A full ring lasts a worker for milliseconds.
  bool Strain(int seconds, std::istringstream& words) {
    std::string text;
    words >> text;
    const auto destination = MacAddress::Parse(text);
    if (!destination.ok()) return false;
    for (auto& [number, guest] : guests_) {
      guest->PrepareStrain({{2, 0, 0, 0, 0, static_cast<uint8_t>(number)}}, *destination);
    }
    for (const int64_t end = NowNs() + seconds * int64_t{1000000000}; NowNs() < end;) {
      for (auto& [number, guest] : guests_) guest->Strain();
      usleep(500);
    }
    return true;
  }

  std::map<int, std::unique_ptr<Guest>> guests_;
};

bool RunOn(const char* cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(std::atoi(cpu)), &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

}  // namespace
}  // namespace vmqd::testing

int main(int argc, char** argv) {
  if (argc > 1 &&
      (argc != 3 || std::strcmp(argv[1], "-c") != 0 || !vmqd::testing::RunOn(argv[2]))) {
    std::cout << "error usage: vmqd_bench_guests [-c CPU]" << std::endl;
    return 2;
  }
  vmqd::testing::Guests guests;
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) std::cout << guests.Obey(line) << std::endl;
}

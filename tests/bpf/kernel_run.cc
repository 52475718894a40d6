// One process per test under ctest; several in one when the executable is run by hand, hence the
// namespace is made once.
#include "tests/bpf/kernel_run.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "daemon/net/drop_reason.h"

namespace vmqd::testing {
namespace {

// The namespace goes with the process, and the devices with the namespace.
bool EnterLab() {
  return unshare(CLONE_NEWNET) == 0 &&
         std::system(
             "ip link add uplink numtxqueues 4 numrxqueues 4 type veth "
             "peer name wire numtxqueues 4 numrxqueues 4") == 0;
}

template <typename Value>
Value SumOverCpus(const bpf_map* map, uint32_t index) {
  constexpr size_t kWords = sizeof(Value) / sizeof(uint64_t);
  const auto cpus = static_cast<size_t>(libbpf_num_possible_cpus());
  std::vector<uint64_t> words(cpus * kWords);
  EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(map), &index, words.data()), 0) << strerror(errno);
  std::vector<uint64_t> sum(kWords);
  for (size_t i = 0; i < words.size(); ++i) sum[i % kWords] += words[i];
  Value value;
  std::memcpy(&value, sum.data(), sizeof(value));
  return value;
}

void AddDrops(const __u64 (&drops)[VMQD_DROP_COUNT], Counters& counters) {
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    counters[std::string(DropReasonName(static_cast<DropReason>(i)))] = drops[i];
  }
}

Counters WithoutZeros(Counters counters) {
  std::erase_if(counters, [](const auto& entry) { return entry.second == 0; });
  return counters;
}

Verdict Run(const bpf_program* program, bpf_test_run_opts& options) {
  const int error = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
  return {.error = error, .action = options.retval};
}

}  // namespace

void KernelTest::SetUp() {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to load BPF programs and make a namespace";
  static const bool entered = EnterLab();
  ASSERT_TRUE(entered) << "no network namespace with a veth pair: " << strerror(errno);
}

void KernelTest::TearDown() {
  for (int socket : sockets_) close(socket);
  sockets_.clear();
}

int KernelTest::PutSocket(const bpf_map* map, uint32_t index) {
  const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  EXPECT_GE(fd, 0) << strerror(errno);
  sockets_.push_back(fd);
  EXPECT_EQ(bpf_map_update_elem(bpf_map__fd(map), &index, &fd, BPF_ANY), 0) << strerror(errno);
  return fd;
}

uint32_t KernelTest::Ifindex(const char* device) {
  const uint32_t ifindex = if_nametoindex(device);
  EXPECT_NE(ifindex, 0u) << device;
  return ifindex;
}

Verdict RunXdp(const bpf_program* program, const Bytes& frame, const Arrival& arrival) {
  xdp_md context{};
  context.data_end = arrival.first_buffer.value_or(static_cast<uint32_t>(frame.size()));
  context.ingress_ifindex = arrival.ifindex;
  context.rx_queue_index = arrival.queue;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<uint32_t>(frame.size()), .ctx_in = &context,
              .ctx_size_in = sizeof(context), .repeat = 1);
  return Run(program, options);
}

bool SplitFramesCanRun(const bpf_program* program) {
  return RunXdp(program, Bytes(64), {.ifindex = 1, .first_buffer = 32}).error == 0;
}

Verdict RunTc(const bpf_program* program, const Bytes& frame) {
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<uint32_t>(frame.size()), .repeat = 1);
  return Run(program, options);
}

Counters ReadUplinkCounters(const bpf_map* map) {
  const auto value = SumOverCpus<vmqd_uplink_counters>(map, 0);
  Counters counters = {{"received", value.received},
                       {"to_host", value.to_host},
                       {"flooded", value.flooded},
                       {"to_vm", value.to_vm},
                       {"misplaced", value.misplaced}};
  AddDrops(value.drops, counters);
  return WithoutZeros(counters);
}

Counters ReadPortCounters(const bpf_map* map, uint32_t slot) {
  const auto value = SumOverCpus<vmqd_port_counters>(map, slot);
  Counters counters = {{"received", value.received}, {"to_switch", value.to_switch}};
  AddDrops(value.drops, counters);
  return WithoutZeros(counters);
}

Counters Difference(const Counters& after, const Counters& before) {
  Counters difference = after;
  for (const auto& [name, count] : before) difference[name] -= count;
  return WithoutZeros(difference);
}

const std::vector<TagShape>& TagShapes() {
  static const std::vector<TagShape> shapes = {
      {"untagged", {}, 0},
      {"802.1Q VID 100", {{0x8100, 100}}, 100},
      {"802.1Q VID 100, priority 7, DEI", {{0x8100, 0xf064}}, 100},
      {"802.1Q VID 1", {{0x8100, 1}}, 1},
      {"802.1Q VID 4094", {{0x8100, 4094}}, 4094},
      {"802.1Q VID 4095", {{0x8100, 4095}}, 4095},
      {"priority tag", {{0x8100, 0xa000}}, 0},
      {"802.1ad VID 100", {{0x88a8, 100}}, 0},
      {"QinQ 100 outside, 200 inside", {{0x88a8, 100}, {0x8100, 200}}, 0},
      {"802.1Q twice, 100 outside", {{0x8100, 100}, {0x8100, 200}}, 100},
      {"802.1Q twice, 100 inside", {{0x8100, 200}, {0x8100, 100}}, 200},
      {"0x9100 VID 100", {{0x9100, 100}}, 0},
  };
  return shapes;
}

const std::vector<uint16_t>& EtherTypes() {
  static const std::vector<uint16_t> types = {
      0x0000,  // 802.3 length 0
      0x002e,  // 802.3 length
      0x0800,  // IPv4
      0x0806,  // ARP
      0x22f0,  // AVTP
      0x6558,  // transparent Ethernet bridging
      0x8035,  // RARP
      0x86dd,  // IPv6
      0x8809,  // slow protocols
      0x8847,  // MPLS
      0x8863,  // PPPoE discovery
      0x8864,  // PPPoE session
      0x888e,  // 802.1X
      0x88cc,  // LLDP
      0x88e5,  // MACsec
      0x88f7,  // PTP
      0x8906,  // FCoE
      0x9000,  // loopback
      0xffff,
  };
  return types;
}

MacAddress LinkLocalGroup(uint8_t last) { return {{0x01, 0x80, 0xc2, 0, 0, last}}; }

}  // namespace vmqd::testing

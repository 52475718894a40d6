#include "tests/bpf/pin_lab.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <vector>

#include "daemon/xdp/xdp_query.h"
#include "tests/support/frame_builder.h"

namespace vmqd::testing {
namespace {

constexpr uint16_t kExperimental = 0x88b5;  // IEEE 802.1 local experimental: nobody else's
constexpr int kBurst = 32;
constexpr size_t kNumberAt = 14;  // behind the Ethernet header

// CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and nothing else.
bool BecomeService(uid_t user) {
  if (prctl(PR_SET_KEEPCAPS, 1) != 0) return false;
  if (setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0) return false;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2]{};
  data[0].permitted = data[0].effective = 1U << CAP_NET_ADMIN | 1U << CAP_NET_RAW;
  data[1].permitted = data[1].effective = 1U << (CAP_BPF - 32);
  return syscall(SYS_capset, &header, data) == 0;
}

int PacketSocketOn(const char* device, uint16_t protocol) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  address.sll_ifindex = static_cast<int>(if_nametoindex(device));
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

}  // namespace

void PinLab::SetUp() {
  OwnNamespace::SetUp();
  if (IsSkipped()) return;
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  char path[] = "/tmp/vmqd-bpffs-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  dir_ = path;
  ASSERT_EQ(mount("bpf", path, "bpf", 0, nullptr), 0) << std::strerror(errno);
  ASSERT_TRUE(Ip("link add uplink type veth peer name wire"));
  ASSERT_TRUE(Ip("link set uplink up") && Ip("link set wire up"));
  ifindex_ = static_cast<int>(if_nametoindex("uplink"));
}

void PinLab::TearDown() {
  if (dir_.empty()) return;
  umount2(dir_.c_str(), MNT_DETACH);
  rmdir(dir_.c_str());
}

std::string PinLab::Live(End end, const std::function<std::string()>& life, uid_t user) const {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string complaint =
        user == 0 || BecomeService(user) ? life() : "it did not become a service";
    if (write(ends[1], complaint.data(), complaint.size()) < 0) _exit(1);
    if (end == End::kCrash) kill(getpid(), SIGKILL);
    _exit(0);
  }
  close(ends[1]);
  std::string complaint;
  char part[512];
  for (ssize_t size; (size = read(ends[0], part, sizeof(part))) > 0;) {
    complaint.append(part, static_cast<size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  const bool ended = end == End::kCrash ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                        : WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return ended ? complaint : complaint + " (and it did not end as it should)";
}

PinLab::Uplink PinLab::Attach(const std::string& pin, AttachMode mode) const {
  auto program = UplinkProgram::Load(1792);
  if (!program.ok()) return {nullptr, program.status()};
  absl::Status status = (*program)->SetFilter(kVm, 0, {.slot = 1, .home_queue = 0, .pairs = 1, .queues = 1});
  status.Update((*program)->Attach(ifindex_, "uplink", mode, pin));
  return {*std::move(program), status};
}

uint32_t PinLab::AttachForeign(const std::string& device, uint32_t flags) {
  const bpf_insn pass[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_EXIT}};
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  const int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "xdp_dispatcher", "GPL", pass, 2, &options);
  EXPECT_GE(fd, 0) << std::strerror(errno);
  const int ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  EXPECT_EQ(bpf_xdp_attach(ifindex, fd, flags, nullptr), 0);
  close(fd);
  return ProgramOn(ifindex);
}

bool ProgramExists(uint32_t id) {
  const int fd = bpf_prog_get_fd_by_id(id);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

bool ProgramGoes(uint32_t id) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ProgramExists(id) && std::chrono::steady_clock::now() < deadline) usleep(1000);
  return !ProgramExists(id);
}

uint32_t ProgramOn(int ifindex) {
  auto programs = QueryXdp(ifindex);
  EXPECT_OK(programs);
  return programs.ok() ? programs->any() : 0;
}

Traffic::Traffic()
    : wire_(PacketSocketOn("wire", 0)), host_(PacketSocketOn("uplink", kExperimental)) {}

Traffic::~Traffic() {
  Stop();
  close(wire_);
  close(host_);
}

void Traffic::Send() {
  const Bytes vm_frame = EthernetFrame(kVm, kHost, {}, kExperimental, 64);
  for (int i = 0; i < kBurst; ++i) {
    if (send(wire_, vm_frame.data(), vm_frame.size(), 0) > 0) ++vm_frames_;
  }
  Bytes host_frame = EthernetFrame(kHost, kVm, {}, kExperimental, 64);
  ++number_;
  std::memcpy(host_frame.data() + kNumberAt, &number_, sizeof(number_));
  EXPECT_GT(send(wire_, host_frame.data(), host_frame.size(), 0), 0);
}

bool Traffic::Burst() {
  Send();
  if (AwaitHostFrame(number_)) return true;
  ++host_lost_;
  return false;
}

bool Traffic::AwaitHostFrame(uint32_t number) {
  for (pollfd wait{.fd = host_, .events = POLLIN}; poll(&wait, 1, 5000) > 0;) {
    std::array<uint8_t, 128> frame;
    const ssize_t size = recv(host_, frame.data(), frame.size(), 0);
    if (size < static_cast<ssize_t>(kNumberAt + sizeof(number))) continue;
    ++heard_;
    if (std::memcmp(frame.data(), kVm.bytes.data(), kVm.bytes.size()) == 0) ++leaked_;
    if (std::memcmp(frame.data(), kHost.bytes.data(), kHost.bytes.size()) == 0 &&
        std::memcmp(frame.data() + kNumberAt, &number, sizeof(number)) == 0) {
      return true;
    }
  }
  return false;
}

void Traffic::Start() {
  stop_ = false;
  thread_ = std::thread([this] {
    while (!stop_ && Burst()) {
    }
  });
}

void Traffic::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

}  // namespace vmqd::testing

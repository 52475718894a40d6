// A diagnosis of real devices, in a network namespace that each test makes for itself. Root.
#include "daemon/doctor/doctor.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include "daemon/doctor/checks.h"
#include "daemon/xdp/link.h"
#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DoctorTest : public OwnNamespace {
 protected:
  void SetUp() override {
    OwnNamespace::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(
        Ip("link add va numrxqueues 4 numtxqueues 4 type veth peer name vb numrxqueues 4 "
           "numtxqueues 4"));
    ASSERT_TRUE(Ip("link set va up") && Ip("link set vb up"));
  }

  static Finding Of(const std::string& name, const std::string& device = "va",
                    const DoctorOptions& options = {}) {
    auto findings = Diagnose(device, options);
    EXPECT_OK(findings);
    if (!findings.ok()) return {};
    const auto found = std::find_if(findings->begin(), findings->end(),
                                    [&](const Finding& finding) { return finding.name == name; });
    if (found != findings->end()) return *found;
    ADD_FAILURE() << "no finding " << name;
    return {};
  }

  // Attaches a program that passes every frame; it goes with the device.
  static uint32_t AttachForeign(const std::string& device, uint32_t flags) {
    const std::array<bpf_insn, 2> program = {
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
        bpf_insn{.code = BPF_JMP | BPF_EXIT}};
    const int fd =
        bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", program.data(), program.size(), nullptr);
    EXPECT_GE(fd, 0);
    const int index = static_cast<int>(if_nametoindex(device.c_str()));
    EXPECT_EQ(bpf_xdp_attach(index, fd, flags, nullptr), 0);
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
    close(fd);
    return info.id;
  }
};

TEST_F(DoctorTest, NamesAreStableAndUnique) {
  auto findings = Diagnose("va");
  ASSERT_OK(findings);
  std::set<std::string> names;
  for (const Finding& finding : *findings) {
    EXPECT_TRUE(names.insert(finding.name).second) << finding.name << " twice";
    EXPECT_THAT(finding.name, testing::MatchesRegex("[a-z]+(-[a-z]+)*"));
    EXPECT_FALSE(finding.seen.empty()) << finding.name;
    EXPECT_TRUE(finding.subject == "machine" || finding.subject == "va") << finding.subject;
    EXPECT_TRUE(finding.level != FindingLevel::kProblem || !finding.advice.empty());
    EXPECT_TRUE(finding.level != FindingLevel::kOk || finding.advice.empty()) << finding.name;
  }
  // Part of the API; README.md and proto/README.md list them.
  EXPECT_THAT(names,
              ::testing::UnorderedElementsAre(
                  "kernel-version", "kernel-type-information", "bpf-jit", "xdp", "xdp-frags",
                  "vmqd-programs", "bpf-link", "tc-ingress", "af-xdp", "af-xdp-transmit-budget",
                  "af-xdp-multi-buffer", "capabilities", "memlock", "bpf-directory", "tap",
                  "irq-affinity", "huge-pages", "processor-set", "isolated-cpus", "smt",
                  "irqbalance", "other-vmqd", "device", "link-state", "master", "queues", "numa",
                  "napi", "xdp-mode", "zero-copy", "device-frags", "redirect-target", "mtu",
                  "attached-program", "vlan-offload", "lro", "gro-hw", "ntuple", "rss"));
}

TEST_F(DoctorTest, MachineOnly) {
  auto findings = Diagnose("");
  ASSERT_OK(findings);
  EXPECT_FALSE(findings->empty());
  for (const Finding& finding : *findings) EXPECT_EQ(finding.subject, "machine") << finding.name;
}

TEST_F(DoctorTest, RefusesDevicesThatAreNotThere) {
  EXPECT_REFUSED(Diagnose("nosuch"), absl::StatusCode::kNotFound, "nosuch");
  EXPECT_REFUSED(Diagnose("a-name-of-sixteen"), absl::StatusCode::kInvalidArgument, "sixteen");
}

// This machine's kernel has all of it, and this process is root.
TEST_F(DoctorTest, ProbesTheKernelByDoing) {
  for (const char* name : {"xdp", "xdp-frags", "vmqd-programs", "af-xdp", "capabilities"}) {
    EXPECT_EQ(Of(name, "").level, FindingLevel::kOk) << name << ": " << Of(name, "").seen;
  }
}

TEST_F(DoctorTest, SaysWhatIsMissingWithoutPrivileges) {
  // Capabilities are a thread's own: this one gives all of them up.
  std::vector<Finding> findings;
  std::thread([&findings] {
    ASSERT_EQ(syscall(SYS_setresuid, 65534, 65534, 65534), 0);
    findings = *Diagnose("va");
  }).join();
  std::set<std::string> problems;
  for (const Finding& finding : findings) {
    if (finding.level != FindingLevel::kProblem) continue;
    problems.insert(finding.name);
    if (finding.name == "capabilities") {
      EXPECT_THAT(finding.seen, AllOf(HasSubstr("CAP_NET_ADMIN"), HasSubstr("CAP_NET_RAW"),
                                      HasSubstr("CAP_BPF")));
    }
  }
  for (const char* name : {"capabilities", "xdp", "vmqd-programs", "af-xdp"}) {
    EXPECT_TRUE(problems.contains(name)) << name;
  }
}

TEST_F(DoctorTest, VethHasNativeXdpAndNoZeroCopy) {
  EXPECT_EQ(Of("xdp-mode").level, FindingLevel::kOk);
  EXPECT_EQ(Of("xdp-mode").seen, "native");
  EXPECT_EQ(Of("zero-copy").level, FindingLevel::kNote);
  EXPECT_EQ(Of("device-frags").level, FindingLevel::kOk);
  EXPECT_THAT(Of("device").seen, HasSubstr("veth"));
  EXPECT_EQ(Of("attached-program").level, FindingLevel::kOk);
}

TEST_F(DoctorTest, DeviceWithoutNativeXdp) {
  ASSERT_TRUE(Ip("link add dm type ifb"));
  const Finding mode = Of("xdp-mode", "dm");
  EXPECT_EQ(mode.level, FindingLevel::kProblem);
  EXPECT_THAT(mode.advice, HasSubstr("--xdp-mode auto"));
  EXPECT_EQ(Of("link-state", "dm").seen, "down");
}

TEST_F(DoctorTest, Loopback) {
  EXPECT_EQ(Of("device", "lo").level, FindingLevel::kProblem);
  EXPECT_THAT(Of("device", "lo").seen, HasSubstr("loopback"));
}

TEST_F(DoctorTest, RedirectTargetFollowsThePeer) {
  EXPECT_EQ(Of("redirect-target").level, FindingLevel::kNote);
  ASSERT_OK(SetFeature("vb", "rx-gro", true));
  EXPECT_EQ(Of("redirect-target").level, FindingLevel::kOk);
}

TEST_F(DoctorTest, FindsAForeignProgramInEveryMode) {
  const uint32_t native = AttachForeign("va", XDP_FLAGS_DRV_MODE);
  const Finding found = Of("attached-program");
  EXPECT_EQ(found.level, FindingLevel::kProblem);
  EXPECT_THAT(found.seen,
              AllOf(HasSubstr(std::to_string(native)), HasSubstr("foreign"), HasSubstr("native")));
  const uint32_t generic = AttachForeign("vb", XDP_FLAGS_SKB_MODE);
  EXPECT_THAT(Of("attached-program", "vb").seen,
              AllOf(HasSubstr(std::to_string(generic)), HasSubstr("generic")));
}

TEST_F(DoctorTest, KnowsItsOwnDevices) {
  AttachForeign("va", XDP_FLAGS_DRV_MODE);
  const Finding found = Of("attached-program", "va", {.own_devices = {"vb", "va"}});
  EXPECT_EQ(found.level, FindingLevel::kOk);
  EXPECT_THAT(found.seen, HasSubstr("own"));
}

TEST_F(DoctorTest, VlanOffloadThatWillBeTurnedOff) {
  const Finding on = Of("vlan-offload");
  EXPECT_EQ(on.level, FindingLevel::kNote);
  EXPECT_THAT(on.seen, HasSubstr("rx-vlan-hw-parse"));
  ASSERT_OK(SetFeature("va", "rx-vlan-hw-parse", false));
  ASSERT_OK(SetFeature("va", "rx-vlan-stag-hw-parse", false));
  EXPECT_EQ(Of("vlan-offload").level, FindingLevel::kOk);
}

TEST_F(DoctorTest, QueuesAgainstCpus) {
  ASSERT_TRUE(Ip("link set va up"));
  const Finding four = Of("queues", "va", {.processor_set = "0"});
  EXPECT_EQ(four.level, FindingLevel::kNote);
  EXPECT_THAT(four.seen, AllOf(HasSubstr("4 queues"), HasSubstr("1 CPU"), HasSubstr("share")));
  EXPECT_EQ(Of("queues", "va", {.processor_set = "0-3"}).level, FindingLevel::kOk);
  ASSERT_OK(CreateVeth("one", "two", 1500));
  EXPECT_THAT(Of("queues", "one", {.processor_set = "0-3"}).seen, HasSubstr("1 queue of"));
}

TEST_F(DoctorTest, Mtu) {
  EXPECT_EQ(Of("mtu").level, FindingLevel::kOk);
  ASSERT_OK(SetLinkMtu(FindLink("va")->ifindex, 9000));
  const Finding large = Of("mtu");
  EXPECT_EQ(large.level, FindingLevel::kNote);
  EXPECT_THAT(large.seen, AllOf(HasSubstr("9000"), HasSubstr("3822")));
  ASSERT_TRUE(Ip("link add dm mtu 9000 type ifb"));  // its XDP has no frags
  EXPECT_EQ(Of("mtu", "dm").level, FindingLevel::kProblem);
}

TEST_F(DoctorTest, MemberOfABridge) {
  EXPECT_EQ(Of("master").level, FindingLevel::kOk);
  if (!Ip("link add br0 type bridge 2>/dev/null")) GTEST_SKIP() << "this kernel has no bridge";
  ASSERT_TRUE(Ip("link set va master br0"));
  EXPECT_EQ(Of("master").level, FindingLevel::kNote);
  EXPECT_THAT(Of("master").seen, HasSubstr("bridge br0"));
}

TEST_F(DoctorTest, ThreadedNapi) {
  ASSERT_OK(SetFeature("va", "rx-gro", true));  // a veth has NAPI then
  EXPECT_THAT(Of("napi").seen, HasSubstr("software interrupts"));
}

TEST_F(DoctorTest, BpfDirectory) {
  EXPECT_EQ(Of("bpf-directory", "", {.bpf_directory = "/tmp/no/such"}).level, FindingLevel::kNote);
  EXPECT_THAT(Of("bpf-directory", "", {.bpf_directory = "/tmp/no/such"}).seen,
              HasSubstr("/tmp/no/such is not on a bpf file system"));
  EXPECT_THAT(Of("bpf-directory", "", {.bpf_directory = ""}).seen, HasSubstr("switched off"));
}

std::string OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  for (int byte = 0; (byte = fgetc(pipe)) != EOF;) output += static_cast<char>(byte);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

std::set<std::string> OpenDescriptors() {
  std::set<std::string> descriptors;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    descriptors.insert(entry.path().filename().string() + " " +
                       std::filesystem::read_symlink(entry, error).string());
  }
  return descriptors;
}

// A program or map lives by a descriptor, an attachment or a pin: none of them is new.
TEST_F(DoctorTest, ChangesNothing) {
  AttachForeign("vb", XDP_FLAGS_DRV_MODE);
  const auto look = [] {
    std::string seen = OutputOf("ip -d link") + OutputOf("ip -d address");
    for (const char* device : {"va", "vb", "lo"}) {
      seen += OutputOf(std::string("ethtool -k ") + device);
      seen += OutputOf(std::string("tc qdisc show dev ") + device);
      seen += OutputOf(std::string("tc filter show dev ") + device + " ingress");
    }
    return seen + OutputOf("find /sys/fs/bpf; cat /proc/irq/default_smp_affinity");
  };
  const std::string before = look();
  const std::set<std::string> descriptors = OpenDescriptors();
  for (const char* device : {"", "va", "vb", "lo"}) ASSERT_OK(Diagnose(device));
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(look(), before);
}

TEST(CpuList, Parses) {
  EXPECT_THAT(doctor::ParseCpuList("1-3,6"), ::testing::ElementsAre(1, 2, 3, 6));
  EXPECT_THAT(doctor::ParseCpuList("0"), ::testing::ElementsAre(0));
  EXPECT_THAT(doctor::ParseCpuList(""), ::testing::IsEmpty());
  EXPECT_THAT(doctor::ParseCpuList("(null)"), ::testing::IsEmpty());
}

}  // namespace
}  // namespace vmqd

// What the kernel can do, found out by doing: vmqd's own programs are loaded (and dropped again,
// attached to nothing), sockets are opened and closed. What cannot be done without changing the
// machine is looked up in the kernel's type information.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "daemon/doctor/checks.h"
#include "port.skel.h"
#include "uplink.skel.h"

namespace vmqd::doctor {
namespace {

constexpr int kXdpMaxTxSkbBudget = 9;  // linux/if_xdp.h of Linux 6.17
constexpr char kNeedsPrivilege[] = "repeat it with CAP_BPF and CAP_NET_ADMIN, or as root";

class TypeInformation {
 public:
  TypeInformation() : btf_(btf__load_vmlinux_btf()) {}
  bool known() const { return btf_ != nullptr; }
  bool HasStruct(const char* name) const { return Find(name) != nullptr; }
  bool HasMember(const char* structure, std::string_view member) const {
    const btf_type* type = Find(structure);
    if (type == nullptr) return false;
    const btf_member* members = btf_members(type);
    for (int i = 0; i < btf_vlen(type); ++i) {
      if (member == btf__name_by_offset(btf_.get(), members[i].name_off)) return true;
    }
    return false;
  }

 private:
  const btf_type* Find(const char* name) const {
    const int id = btf__find_by_name_kind(btf_.get(), name, BTF_KIND_STRUCT);
    return id < 0 ? nullptr : btf__type_by_id(btf_.get(), static_cast<uint32_t>(id));
  }
  struct Deleter {
    void operator()(btf* types) const { btf__free(types); }
  };
  std::unique_ptr<btf, Deleter> btf_;
};

void CheckVersion(Report& report) {
  utsname name{};
  uname(&name);
  // Features are probed one by one below, because distributions carry them back.
  report.Ok("kernel-version", absl::StrCat("Linux ", name.release, " on ", name.machine));
}

void CheckTypeInformation(const TypeInformation& types, Report& report) {
  if (types.known()) {
    report.Ok("kernel-type-information", "BTF of the kernel is readable");
  } else {
    report.Problem("kernel-type-information",
                   "no BTF of the kernel (/sys/kernel/btf/vmlinux) is readable",
                   "use a kernel built with CONFIG_DEBUG_INFO_BTF, and make /sys readable");
  }
}

void CheckJit(Report& report) {
  const auto mode = ReadLine("/proc/sys/net/core/bpf_jit_enable");
  if (!mode) {
    report.Note("bpf-jit", "not known: net.core.bpf_jit_enable cannot be read here",
                "read it in the machine's first network namespace; it should be 1");
  } else if (*mode == "0") {
    report.Note("bpf-jit", "off: XDP programs are interpreted, at several times the cost",
                "sysctl net.core.bpf_jit_enable=1");
  } else {
    report.Ok("bpf-jit", *mode == "1" ? "on" : absl::StrCat("on, mode ", *mode));
  }
}

// 0 or the errno of loading a program that passes every frame.
int LoadPassing(uint32_t flags) {
  const bpf_insn program[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_EXIT}};
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  options.prog_flags = flags;
  const int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "vmqd_probe", "GPL", program, 2, &options);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

void CheckXdp(Report& report) {
  if (const int error = LoadPassing(0); error != 0) {
    report.Problem("xdp", absl::StrCat("an XDP program cannot be loaded: ", std::strerror(error)),
                   error == EPERM ? kNeedsPrivilege : "use a kernel with CONFIG_BPF_SYSCALL");
    return;
  }
  report.Ok("xdp", "XDP programs can be loaded");
  if (const int error = LoadPassing(BPF_F_XDP_HAS_FRAGS); error != 0) {
    report.Problem("xdp-frags",
                   absl::StrCat("an XDP program for frames in several buffers cannot be loaded: ",
                                std::strerror(error)),
                   "use Linux 5.18 or later");
  } else {
    report.Ok("xdp-frags", "XDP programs may see frames in several buffers");
  }
}

// Loads an object of vmqd's; 0 or the errno. Nothing is pinned or attached.
template <typename Skeleton>
int LoadObject(Skeleton* (*open)(), int (*load)(Skeleton*), void (*destroy)(Skeleton*)) {
  Skeleton* skeleton = open();
  if (skeleton == nullptr) return errno;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) bpf_map__set_pin_path(map, nullptr);
  const int error = -load(skeleton);
  destroy(skeleton);
  return error;
}

void CheckPrograms(Report& report) {
  int error = LoadObject(uplink_bpf__open, uplink_bpf__load, uplink_bpf__destroy);
  const char* which = "uplinks";
  if (error == 0) {
    error = LoadObject(port_bpf__open, port_bpf__load, port_bpf__destroy);
    which = "ports";
  }
  if (error == 0) {
    report.Ok("vmqd-programs", "the kernel accepts vmqd's own programs");
  } else {
    report.Problem("vmqd-programs",
                   absl::StrCat("the kernel does not accept vmqd's program for ", which, ": ",
                                std::strerror(error)),
                   error == EPERM ? kNeedsPrivilege : "use Linux 5.18 or later with BTF");
  }
}

void CheckLinks(const TypeInformation& types, Report& report) {
  if (!types.known()) {
    report.Note("bpf-link", "not known without the kernel's type information", "");
  } else if (types.HasStruct("bpf_xdp_link")) {
    report.Ok("bpf-link",
              "XDP programs can be attached by links, which outlive a crash when pinned");
  } else {
    report.Problem("bpf-link", "the kernel has no links for XDP programs",
                   "use Linux 5.9 or later");
  }
}

// The fence that keeps a tap's frames from the host stack is a BPF filter on tc ingress.
void CheckTc(const TypeInformation& types, Report& report) {
  const bool filter = types.HasStruct("cls_bpf_prog") || access("/sys/module/cls_bpf", F_OK) == 0;
  const bool hook =
      types.HasStruct("ingress_sched_data") || access("/sys/module/sch_ingress", F_OK) == 0;
  if (filter && hook) {
    report.Ok("tc-ingress", absl::StrCat("BPF filters on tc ingress are there",
                                         types.HasStruct("tcx_link") ? ", tcx links too" : ""));
  } else {
    report.Note("tc-ingress",
                absl::StrCat("not known: ", filter ? "sch_ingress" : "cls_bpf",
                             " is not in the kernel, and as a module not loaded yet"),
                "modprobe cls_bpf sch_ingress; where that fails, tap and veth ports will too");
  }
}

void CheckSocket(Report& report) {
  const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    const int error = errno;
    report.Problem(
        "af-xdp", absl::StrCat("an AF_XDP socket cannot be opened: ", std::strerror(error)),
        error == EAFNOSUPPORT ? "use a kernel with CONFIG_XDP_SOCKETS; allow AF_XDP in the sandbox"
                              : "repeat it with CAP_NET_RAW, or as root");
    return;
  }
  report.Ok("af-xdp", "AF_XDP sockets can be opened");
  const int ring = 1024;
  const int budget = 1024;
  if (setsockopt(fd, SOL_XDP, XDP_TX_RING, &ring, sizeof(ring)) == 0 &&
      setsockopt(fd, SOL_XDP, kXdpMaxTxSkbBudget, &budget, sizeof(budget)) == 0) {
    report.Ok("af-xdp-transmit-budget", "one system call may transmit a whole ring");
  } else {
    report.Note("af-xdp-transmit-budget",
                "one system call transmits 32 frames: transmitting in copy mode costs more calls",
                "Linux 6.17 or later lifts that; zero-copy devices are not concerned");
  }
  close(fd);
}

void CheckMultiBuffer(const TypeInformation& types, Report& report) {
  if (!types.known()) {
    report.Note("af-xdp-multi-buffer", "not known without the kernel's type information", "");
  } else {
    report.Ok("af-xdp-multi-buffer",
              absl::StrCat("AF_XDP ", types.HasMember("xdp_sock", "sg") ? "can" : "cannot",
                           " hand over frames in several buffers; vmqd does not ask for it"));
  }
}

}  // namespace

std::vector<Finding> CheckKernel() {
  Report report(kMachine);
  const TypeInformation types;
  CheckVersion(report);
  CheckTypeInformation(types, report);
  CheckJit(report);
  CheckXdp(report);
  CheckPrograms(report);
  CheckLinks(types, report);
  CheckTc(types, report);
  CheckSocket(report);
  CheckMultiBuffer(types, report);
  return report.Take();
}

}  // namespace vmqd::doctor

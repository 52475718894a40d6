#include "daemon/xdp/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "port.skel.h"
#include "uplink.skel.h"

namespace vmqd {
namespace {

absl::Status KernelError(absl::string_view attempted, int error, absl::string_view cure) {
  return absl::FailedPreconditionError(
      absl::StrCat(attempted, ": ", std::strerror(error), cure.empty() ? "" : "; ", cure));
}

constexpr absl::string_view kLoadCure =
    "vmqd needs CAP_BPF and CAP_NET_ADMIN and a kernel with BTF (Linux 5.18 or later)";

// Sums a per-CPU array entry that consists of 64-bit counters only.
template <typename T>
T SumOverCpus(const bpf_map* map, uint32_t key) {
  static_assert(sizeof(T) % sizeof(uint64_t) == 0);
  const int cpus = libbpf_num_possible_cpus();
  T total{};
  std::vector<T> values(static_cast<size_t>(cpus));
  if (bpf_map_lookup_elem(bpf_map__fd(map), &key, values.data()) != 0) return total;
  auto* sum = reinterpret_cast<uint64_t*>(&total);
  for (const T& value : values) {
    const auto* counters = reinterpret_cast<const uint64_t*>(&value);
    for (size_t i = 0; i < sizeof(T) / sizeof(uint64_t); ++i) sum[i] += counters[i];
  }
  return total;
}

vmqd_filter_key KeyOf(const MacAddress& mac, uint16_t vlan) {
  vmqd_filter_key key{};
  std::memcpy(key.mac, mac.bytes.data(), sizeof(key.mac));
  key.vlan = vlan;
  return key;
}

absl::Status Update(const bpf_map* map, const void* key, const void* value) {
  if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY) == 0) return absl::OkStatus();
  const int error = errno;
  const std::string text =
      absl::StrCat("writing BPF map ", bpf_map__name(map), ": ", std::strerror(error));
  return error == E2BIG ? absl::ResourceExhaustedError(text + "; the table is full")
                        : absl::InternalError(text);
}

void Delete(const bpf_map* map, const void* key) { bpf_map_delete_elem(bpf_map__fd(map), key); }

}  // namespace

absl::Status CheckNoProgram(int ifindex, const std::string& device) {
  bpf_xdp_query_opts query{};
  query.sz = sizeof(query);
  if (bpf_xdp_query(ifindex, 0, &query) != 0 || query.attach_mode == XDP_ATTACHED_NONE) {
    return absl::OkStatus();
  }
  uint32_t id = query.prog_id;
  for (uint32_t other : {query.drv_prog_id, query.skb_prog_id, query.hw_prog_id}) {
    if (id == 0) id = other;
  }
  return absl::FailedPreconditionError(
      absl::StrCat(device, " already carries an XDP program (id ", id,
                   "), which is left alone; find its owner with 'bpftool net show dev ", device,
                   "' and detach it there"));
}

absl::StatusOr<std::unique_ptr<Attachment>> Attachment::Attach(int program_fd, int ifindex,
                                                               const std::string& device,
                                                               AttachMode mode) {
  if (absl::Status status = CheckNoProgram(ifindex, device); !status.ok()) return status;
  bpf_link_create_opts options{};
  options.sz = sizeof(options);
  options.flags = mode == AttachMode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  const int fd = bpf_link_create(program_fd, ifindex, BPF_XDP, &options);
  if (fd >= 0) return std::unique_ptr<Attachment>(new Attachment(fd));
  const int error = -fd;
  std::string cure;
  if (error == EOPNOTSUPP) cure = "its driver has no native XDP; try xdp_mode GENERIC or AUTO";
  if (error == EBUSY) cure = "another XDP program is attached; it is left alone";
  if (error == ERANGE || error == EINVAL) {
    cure = "its MTU or its offloads (LRO) do not go with XDP; see the kernel log";
  }
  if (error == EPERM) cure = std::string(kLoadCure);
  return KernelError(
      absl::StrCat("attaching the XDP program to ", device,
                   mode == AttachMode::kNative ? " in native mode" : " in generic mode"),
      error, cure);
}

Attachment::~Attachment() { close(link_fd_); }

absl::StatusOr<std::unique_ptr<UplinkProgram>> UplinkProgram::Load(uint32_t max_frame_len) {
  std::unique_ptr<UplinkProgram> program(new UplinkProgram);
  program->skeleton_ = uplink_bpf__open();
  if (program->skeleton_ == nullptr) return KernelError("opening uplink.bpf.o", errno, kLoadCure);
  program->skeleton_->rodata->max_frame_len = max_frame_len;
  if (const int error = uplink_bpf__load(program->skeleton_); error != 0) {
    return KernelError("loading the uplink's XDP program", -error, kLoadCure);
  }
  return program;
}

UplinkProgram::~UplinkProgram() {
  attachment_.reset();
  uplink_bpf__destroy(skeleton_);
}

absl::Status UplinkProgram::SetQueueSocket(uint32_t queue, int socket_fd) {
  return Update(skeleton_->maps.queue_sockets, &queue, &socket_fd);
}

absl::Status UplinkProgram::SetVmSocket(uint32_t slot, int socket_fd) {
  return Update(skeleton_->maps.vm_sockets, &slot, &socket_fd);
}

void UplinkProgram::ClearVmSocket(uint32_t slot) { Delete(skeleton_->maps.vm_sockets, &slot); }

absl::Status UplinkProgram::SetFilter(const MacAddress& mac, uint16_t vlan, vmqd_filter place) {
  const vmqd_filter_key key = KeyOf(mac, vlan);
  return Update(skeleton_->maps.filters, &key, &place);
}

void UplinkProgram::ClearFilter(const MacAddress& mac, uint16_t vlan) {
  const vmqd_filter_key key = KeyOf(mac, vlan);
  Delete(skeleton_->maps.filters, &key);
}

absl::Status UplinkProgram::Attach(int ifindex, const std::string& device, AttachMode mode) {
  auto attachment =
      Attachment::Attach(bpf_program__fd(skeleton_->progs.vmqd_uplink), ifindex, device, mode);
  if (!attachment.ok()) return attachment.status();
  attachment_ = *std::move(attachment);
  return absl::OkStatus();
}

vmqd_uplink_counters UplinkProgram::Counters() const {
  return SumOverCpus<vmqd_uplink_counters>(skeleton_->maps.uplink_counters, 0);
}

absl::StatusOr<std::unique_ptr<PortProgram>> PortProgram::Load() {
  std::unique_ptr<PortProgram> program(new PortProgram);
  program->skeleton_ = port_bpf__open();
  if (program->skeleton_ == nullptr) return KernelError("opening port.bpf.o", errno, kLoadCure);
  if (const int error = port_bpf__load(program->skeleton_); error != 0) {
    return KernelError("loading the ports' XDP program", -error, kLoadCure);
  }
  return program;
}

PortProgram::~PortProgram() { port_bpf__destroy(skeleton_); }

absl::Status PortProgram::SetDevice(int ifindex, const vmqd_port_device& device) {
  const std::vector<vmqd_port_counters> zeros(static_cast<size_t>(libbpf_num_possible_cpus()));
  if (absl::Status status = Update(skeleton_->maps.port_counters, &device.slot, zeros.data());
      !status.ok()) {
    return status;
  }
  return Update(skeleton_->maps.port_devices, &ifindex, &device);
}

void PortProgram::ClearDevice(int ifindex) { Delete(skeleton_->maps.port_devices, &ifindex); }

absl::Status PortProgram::SetSocket(uint32_t index, int socket_fd) {
  return Update(skeleton_->maps.port_sockets, &index, &socket_fd);
}

void PortProgram::ClearSocket(uint32_t index) { Delete(skeleton_->maps.port_sockets, &index); }

absl::StatusOr<std::unique_ptr<Attachment>> PortProgram::Attach(int ifindex,
                                                                const std::string& device) const {
  return Attachment::Attach(bpf_program__fd(skeleton_->progs.vmqd_port), ifindex, device,
                            AttachMode::kNative);
}

absl::Status PortProgram::Fence(int ifindex, const std::string& device) const {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = ifindex;
  hook.attach_point = BPF_TC_INGRESS;
  int error = bpf_tc_hook_create(&hook);
  if (error == 0 || error == -EEXIST) {
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.prog_fd = bpf_program__fd(skeleton_->progs.vmqd_fence);
    options.handle = 1;
    options.priority = 1;
    error = bpf_tc_attach(&hook, &options);
  }
  if (error == 0) return absl::OkStatus();
  return KernelError(absl::StrCat("fencing ", device, " off from the host stack (tc ingress)"),
                     -error, "the kernel needs CONFIG_NET_CLS_BPF");
}

vmqd_port_counters PortProgram::Counters(uint32_t slot) const {
  return SumOverCpus<vmqd_port_counters>(skeleton_->maps.port_counters, slot);
}

void WaitForRunningPrograms() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return;
  // Hosts with nohz_full CPUs have no such barrier; a grace period is over long before this.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

}  // namespace vmqd

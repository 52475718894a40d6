#include "daemon/xdp/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/xdp_link.h"
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
T SumOverCpus(int map_fd, uint32_t key) {
  static_assert(sizeof(T) % sizeof(uint64_t) == 0);
  const int cpus = libbpf_num_possible_cpus();
  T total{};
  std::vector<T> values(static_cast<size_t>(cpus));
  if (bpf_map_lookup_elem(map_fd, &key, values.data()) != 0) return total;
  auto* sum = reinterpret_cast<uint64_t*>(&total);
  for (const T& value : values) {
    const auto* counters = reinterpret_cast<const uint64_t*>(&value);
    for (size_t i = 0; i < sizeof(T) / sizeof(uint64_t); ++i) sum[i] += counters[i];
  }
  return total;
}

// What an earlier daemon's map holds; nothing when its layout is not that of this version.
std::optional<vmqd_uplink_counters> ReadCounters(int map_fd) {
  bpf_map_info info{};
  __u32 size = sizeof(info);
  if (map_fd < 0 || bpf_obj_get_info_by_fd(map_fd, &info, &size) != 0 ||
      info.type != BPF_MAP_TYPE_PERCPU_ARRAY || info.value_size != sizeof(vmqd_uplink_counters)) {
    return std::nullopt;
  }
  return SumOverCpus<vmqd_uplink_counters>(map_fd, 0);
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
  Detach();
  uplink_bpf__destroy(skeleton_);
}

absl::Status UplinkProgram::SetQueueSocket(uint32_t queue, int socket_fd) {
  return Update(skeleton_->maps.queue_sockets, &queue, &socket_fd);
}

void UplinkProgram::ClearQueueSocket(uint32_t queue) {
  Delete(skeleton_->maps.queue_sockets, &queue);
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

void UplinkProgram::Hold(const std::vector<MacAddress>& macs, uint16_t vlan) {
  for (const MacAddress& mac : macs) {
    // It drops and counts. A full table is the only error; then the frames are nobody's.
    SetFilter(mac, vlan, {VMQD_NO_SLOT, 0}).IgnoreError();
  }
}

void UplinkProgram::LetGo(const std::vector<MacAddress>& macs, uint16_t vlan) {
  for (const MacAddress& mac : macs) ClearFilter(mac, vlan);
}

absl::Status UplinkProgram::Attach(int ifindex, const std::string& device, AttachMode mode,
                                   std::string_view pin) {
  Detach();
  const std::string counters_pin = CountersPin(std::string(pin));
  const int earlier = pin.empty() ? -1 : bpf_obj_get(counters_pin.c_str());
  auto attachment =
      Attachment::Attach(bpf_program__fd(skeleton_->progs.vmqd_uplink), ifindex, device, mode, pin);
  if (attachment.ok()) {
    attachment_ = *std::move(attachment);
    if (attachment_->taken_over()) inherited_ = ReadCounters(earlier);
    if (!pin.empty() && attachment_->pin_status().ok()) {
      unlink(counters_pin.c_str());
      // Without it the next daemon knows less, nothing worse.
      bpf_obj_pin(bpf_map__fd(skeleton_->maps.uplink_counters), counters_pin.c_str());
    }
  }
  if (earlier >= 0) close(earlier);
  return attachment.status();
}

void UplinkProgram::Detach() { attachment_.reset(); }

bool UplinkProgram::Leave() {
  const bool runs_on = attachment_ != nullptr && attachment_->Leave();
  attachment_.reset();
  return runs_on;
}

vmqd_uplink_counters UplinkProgram::Counters() const {
  return SumOverCpus<vmqd_uplink_counters>(bpf_map__fd(skeleton_->maps.uplink_counters), 0);
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
                                                                const std::string& device,
                                                                std::string_view pin) const {
  return Attachment::Attach(bpf_program__fd(skeleton_->progs.vmqd_port), ifindex, device,
                            AttachMode::kNative, pin);
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
    options.flags = BPF_TC_F_REPLACE;
    error = bpf_tc_attach(&hook, &options);
  }
  if (error == 0) return absl::OkStatus();
  return KernelError(absl::StrCat("fencing ", device, " off from the host stack (tc ingress)"),
                     -error, "the kernel needs CONFIG_NET_CLS_BPF");
}

vmqd_port_counters PortProgram::Counters(uint32_t slot) const {
  return SumOverCpus<vmqd_port_counters>(bpf_map__fd(skeleton_->maps.port_counters), slot);
}

void WaitForRunningPrograms() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return;
  // Hosts with nohz_full CPUs have no such barrier; a grace period is over long before this.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

}  // namespace vmqd

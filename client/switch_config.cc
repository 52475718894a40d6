// See switch_config.h.
#include "client/switch_config.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/name.h"
#include "google/protobuf/descriptor.h"

namespace vmqd::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// What a field means that was left out; see uplink.proto and port.proto.
constexpr uint32_t kDefaultBuffersPerQueue = 16384;
constexpr uint32_t kDefaultWeight = 100;
constexpr uint32_t kDefaultQueuePairs = 1;

void DropWhatVmqdTells(Message* message) {
  std::vector<const FieldDescriptor*> fields;
  message->GetReflection()->ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!IsSettable(field)) message->GetReflection()->ClearField(message, field);
  }
}

// Names are needed, and each once.
template <typename Resources>
void CheckNames(const Resources& resources, const std::string& list, const std::string& needed,
                const YamlPositions& positions, std::vector<std::string>& mistakes) {
  std::map<std::string, int> seen;
  for (int i = 0; i < resources.size(); ++i) {
    const std::string path = absl::StrCat(list, "[", i, "]");
    const std::string& name = resources[i].name();
    if (name.empty()) {
      mistakes.push_back(absl::StrCat(positions.At(path), ": ", needed));
      continue;
    }
    const auto [first, is_new] = seen.emplace(name, i);
    if (is_new) continue;
    mistakes.push_back(absl::StrCat(positions.At(path + ".name"), ": ", name, " is ", list, "[",
                                    first->second, "] already"));
  }
}

}  // namespace

v1::Uplink Complete(v1::Uplink uplink) {
  DropWhatVmqdTells(&uplink);
  if (uplink.name().empty()) uplink.set_name(uplink.device());
  uplink.set_name(FullName("uplinks/", uplink.name()));
  if (uplink.xdp_mode() == v1::XDP_MODE_UNSPECIFIED) uplink.set_xdp_mode(v1::NATIVE);
  if (uplink.steering() == v1::STEERING_UNSPECIFIED) uplink.set_steering(v1::SOFTWARE);
  if (uplink.wake_mode() == v1::WAKE_MODE_UNSPECIFIED) uplink.set_wake_mode(v1::ADAPTIVE);
  if (uplink.balance_mode() == v1::BALANCE_MODE_UNSPECIFIED) uplink.set_balance_mode(v1::DYNAMIC);
  if (uplink.buffers_per_queue() == 0) uplink.set_buffers_per_queue(kDefaultBuffersPerQueue);
  return uplink;
}

v1::Port Complete(v1::Port port) {
  DropWhatVmqdTells(&port);
  port.set_name(FullName("ports/", port.name()));
  port.set_uplink(FullName("uplinks/", port.uplink()));
  // As the daemon writes them.
  for (std::string& mac : *port.mutable_macs()) {
    mac = absl::AsciiStrToLower(absl::StrReplaceAll(mac, {{"-", ":"}}));
  }
  if (!port.has_weight()) port.set_weight(kDefaultWeight);
  if (port.kind() != v1::VHOST_USER) return port;
  if (port.vhost_role() == v1::VHOST_ROLE_UNSPECIFIED) port.set_vhost_role(v1::SWITCH_LISTENS);
  if (!port.has_queue_pairs()) port.set_queue_pairs(kDefaultQueuePairs);
  return port;
}

v1::SwitchConfig AsWritten(const v1::SwitchConfig& seen) {
  v1::SwitchConfig written;
  for (const v1::Uplink& from : seen.uplinks()) {
    v1::Uplink& uplink = *written.add_uplinks() = Complete(from);
    uplink.set_name(ShortName(uplink.name()));
    if (uplink.xdp_mode() == v1::NATIVE) uplink.clear_xdp_mode();
    if (uplink.steering() == v1::SOFTWARE) uplink.clear_steering();
    if (uplink.wake_mode() == v1::ADAPTIVE) uplink.clear_wake_mode();
    if (uplink.balance_mode() == v1::DYNAMIC) uplink.clear_balance_mode();
    if (uplink.buffers_per_queue() == kDefaultBuffersPerQueue) uplink.clear_buffers_per_queue();
  }
  for (const v1::Port& from : seen.ports()) {
    v1::Port& port = *written.add_ports() = Complete(from);
    port.set_name(ShortName(port.name()));
    port.set_uplink(ShortName(port.uplink()));
    if (port.weight() == kDefaultWeight) port.clear_weight();
    if (port.vhost_role() == v1::SWITCH_LISTENS) port.clear_vhost_role();
    if (port.queue_pairs() == kDefaultQueuePairs) port.clear_queue_pairs();
  }
  return written;
}

absl::StatusOr<SwitchConfigFile> ParseSwitchConfig(const std::string& text,
                                                   const std::string& label) {
  SwitchConfigFile file;
  if (auto status = FromYaml(text, label, &file.config, &file.positions); !status.ok()) {
    return status;
  }
  if (!file.positions.HasContent()) {
    return absl::InvalidArgumentError(
        absl::StrCat(label, ": is empty; if nothing is wanted on the switch, say so: {}"));
  }
  std::vector<std::string> mistakes;
  for (v1::Uplink& uplink : *file.config.mutable_uplinks()) uplink = Complete(std::move(uplink));
  for (v1::Port& port : *file.config.mutable_ports()) port = Complete(std::move(port));
  CheckNames(file.config.uplinks(), "uplinks", "name or device is needed", file.positions,
             mistakes);
  CheckNames(file.config.ports(), "ports", "name is needed", file.positions, mistakes);
  if (!mistakes.empty()) return absl::InvalidArgumentError(absl::StrJoin(mistakes, "\n"));
  return file;
}

absl::StatusOr<SwitchConfigFile> ReadSwitchConfig(const std::string& path) {
  const bool from_stdin = path == "-";
  const std::string label = from_stdin ? "standard input" : path;
  std::unique_ptr<FILE, void (*)(FILE*)> file(from_stdin ? stdin : fopen(path.c_str(), "re"),
                                              [](FILE* open) {
                                                if (open != stdin) fclose(open);
                                              });
  std::string text(kMaxYamlBytes + 1, '\0');  // one more than FromYaml takes
  if (file != nullptr) text.resize(fread(text.data(), 1, text.size(), file.get()));
  if (file == nullptr || ferror(file.get()) != 0) {
    return absl::NotFoundError(absl::StrCat("cannot read ", label, ": ", strerror(errno)));
  }
  return ParseSwitchConfig(text, label);
}

}  // namespace vmqd::cli

// See settings.h.
#include "daemon/settings/settings.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/settings/check.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/yaml/yaml.h"

namespace vmqd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

// At most one byte more than FromYaml takes.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const auto failed = [&] {
    const std::string what = absl::StrCat("cannot read ", path, ": ", strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(what) : absl::FailedPreconditionError(what);
  };
  std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "re"), fclose);
  if (file == nullptr) return failed();
  std::string text(kMaxYamlBytes + 1, '\0');
  text.resize(fread(text.data(), 1, text.size(), file.get()));
  if (ferror(file.get()) != 0) return failed();
  return text;
}

void SetIfEmpty(std::string* field, const char* value) {
  if (field->empty()) *field = value;
}

mode_t Octal(const std::string& mode) {
  return static_cast<mode_t>(std::strtoul(mode.c_str(), nullptr, 8));
}

void FillListener(v1::UnixListener* listener, const char* path) {
  SetIfEmpty(listener->mutable_path(), path);
  SetIfEmpty(listener->mutable_group(), "vmqd");
  SetIfEmpty(listener->mutable_mode(), "0660");
}

void AddDifferences(const Message& running, const Message& wanted, const std::string& prefix,
                    std::vector<std::string>& paths) {
  for (int i = 0; i < running.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = running.GetDescriptor()->field(i);
    MessageDifferencer one_field;
    std::vector<const FieldDescriptor*> only = {field};
    if (one_field.CompareWithFields(running, wanted, only, only)) continue;
    const std::string path = absl::StrCat(prefix, field->name());
    const bool in_both = running.GetReflection()->HasField(running, field) &&
                         wanted.GetReflection()->HasField(wanted, field);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || !in_both) {
      paths.push_back(path);
      continue;
    }
    AddDifferences(running.GetReflection()->GetMessage(running, field),
                   wanted.GetReflection()->GetMessage(wanted, field), path + ".", paths);
  }
}

}  // namespace

absl::StatusOr<v1::DaemonSettings> LoadSettings(const std::string& path, bool must_exist) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status()) && !must_exist) text = "";
  if (!text.ok()) return text.status();
  v1::DaemonSettings settings;
  YamlPositions positions;
  if (auto status = FromYaml(*text, path, &settings, &positions); !status.ok()) return status;
  const std::vector<std::string> mistakes = Mistakes(settings, positions);
  if (!mistakes.empty()) return absl::InvalidArgumentError(absl::StrJoin(mistakes, "\n"));
  FillDefaults(settings);
  return settings;
}

absl::Status CheckSettings(const v1::DaemonSettings& settings) {
  const std::vector<std::string> mistakes = Mistakes(settings, YamlPositions());
  if (mistakes.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(mistakes, "\n"));
}

void FillDefaults(v1::DaemonSettings& settings) {
  FillListener(settings.mutable_control(), "/run/vmqd/vmqd.sock");
  if (settings.has_monitor()) FillListener(settings.mutable_monitor(), "/run/vmqd/monitor.sock");
  SetIfEmpty(settings.mutable_log_level(), "info");
  SetIfEmpty(settings.mutable_state_directory(), "/var/lib/vmqd");
  SetIfEmpty(settings.mutable_bpf_directory(), "/sys/fs/bpf/vmqd");
  if (settings.has_metrics()) {
    SetIfEmpty(settings.mutable_metrics()->mutable_address(), "127.0.0.1:9877");
  }
  v1::Limits* limits = settings.mutable_limits();
  if (limits->connections() == 0) limits->set_connections(256);
  if (limits->connections_per_peer() == 0) limits->set_connections_per_peer(64);
  if (limits->watchers() == 0) limits->set_watchers(32);
  v1::VhostUser* vhost = settings.mutable_vhost_user();
  SetIfEmpty(vhost->mutable_directory(), "/run/vmqd/vhost-user");
  SetIfEmpty(vhost->mutable_group(), "kvm");
  SetIfEmpty(vhost->mutable_mode(), "0660");
}

v1::DaemonSettings Reloaded(const v1::DaemonSettings& running, const v1::DaemonSettings& wanted) {
  v1::DaemonSettings result = running;
  const auto reload = [](v1::UnixListener* listener, const v1::UnixListener& from) {
    listener->set_group(from.group());
    listener->set_mode(from.mode());
  };
  result.set_log_level(wanted.log_level());
  result.set_processor_set(wanted.processor_set());
  reload(result.mutable_control(), wanted.control());
  if (running.has_monitor() && wanted.has_monitor()) {
    reload(result.mutable_monitor(), wanted.monitor());
  }
  if (running.has_tcp() && wanted.has_tcp()) {
    *result.mutable_tcp() = wanted.tcp();
    result.mutable_tcp()->set_address(running.tcp().address());
  }
  return result;
}

std::vector<std::string> NeedRestart(const v1::DaemonSettings& running,
                                     const v1::DaemonSettings& wanted) {
  std::vector<std::string> paths;
  AddDifferences(Reloaded(running, wanted), wanted, "", paths);
  return paths;
}

mode_t ModeOf(const v1::UnixListener& listener) { return Octal(listener.mode()); }

mode_t ModeOf(const v1::VhostUser& vhost) { return Octal(vhost.mode()); }

}  // namespace vmqd

// Calls that change something: each is checked, done, made durable, and only then answered. A
// change that cannot be made durable is undone.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "daemon/control/checks.h"
#include "daemon/control/error.h"
#include "daemon/control/switch_impl.h"

namespace vmqd {
namespace {

absl::Status CheckEtag(const ChangeOptions& options, uint64_t revision, const std::string& name,
                       std::string_view field) {
  if (options.etag.empty() || options.etag == "*" || options.etag == EtagOf(revision)) {
    return absl::OkStatus();
  }
  return Refuse(absl::StatusCode::kAborted, "ETAG_MISMATCH", field,
                absl::StrCat(name, " has been changed since etag ", options.etag, " (it is ",
                             EtagOf(revision), " now); read it again and decide anew"));
}

}  // namespace

// --- who repeats a call gets its answer ---

absl::StatusOr<const Reply*> Switch::Impl::EarlierReply(const ChangeOptions& options) const {
  if (options.request_id.empty()) return nullptr;
  const std::deque<Reply>& replies = store_.state().replies;
  // From the back: who repeats a call does so soon.
  const auto reply = std::find_if(replies.rbegin(), replies.rend(), [&options](const Reply& made) {
    return made.request_id == options.request_id;
  });
  if (reply == replies.rend()) return nullptr;
  if (reply->fingerprint == options.fingerprint) return &*reply;
  return Refuse(absl::StatusCode::kInvalidArgument, "REQUEST_ID_REUSED", "request_id",
                absl::StrCat("another call with request_id \"", options.request_id,
                             "\" has been made; take a new id for every change"));
}

UplinkStatus Switch::Impl::AnswerOfThen(const DesiredUplink& then) {
  const auto found = fabric_->uplinks().find(then.config.id);
  const auto wanted = store_.state().uplinks.find(then.config.id);
  if (wanted != store_.state().uplinks.end() && wanted->second.revision == then.revision) {
    return StatusOf(found->second);
  }
  UplinkStatus status;
  status.config = then.config;
  status.etag = EtagOf(then.revision);
  return status;
}

PortStatus Switch::Impl::AnswerOfThen(const DesiredPort& then) {
  const auto found = fabric_->ports().find(then.config.id);
  const auto wanted = store_.state().ports.find(then.config.id);
  if (wanted != store_.state().ports.end() && wanted->second.revision == then.revision) {
    return StatusOf(found->second);
  }
  PortStatus status;
  status.config = then.config;
  status.macs = then.config.macs;
  status.etag = EtagOf(then.revision);
  return status;
}

absl::Status Switch::Impl::Commit(StateChange change, const ChangeOptions& options) {
  if (!options.request_id.empty() && !change.reply) {
    change.reply = Reply{options.request_id, options.fingerprint, change.put};
  }
  absl::Status status = store_.Commit(change);
  if (!status.ok()) {
    Happened(Severity::kAlarm, "", "STATE_NOT_WRITTEN", std::string(status.message()));
  }
  return AtField(status, "STATE_NOT_WRITTEN", "");
}

// The answer to a change that changed nothing is remembered all the same.
template <typename Resource>
absl::Status Switch::Impl::CommitReply(const Resource& resource, const ChangeOptions& options) {
  if (options.request_id.empty()) return absl::OkStatus();
  return Commit({.revision = NextRevision(),
                 .reply = Reply{options.request_id, options.fingerprint, resource}},
                options);
}

absl::StatusOr<UplinkStatus> Switch::Impl::AddUplink(const UplinkConfig& config,
                                                     const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) return AnswerOfThen(std::get<DesiredUplink>((*reply)->resource));
  return AddNewUplink(config, options);
}

absl::StatusOr<UplinkStatus> Switch::Impl::AddNewUplink(const UplinkConfig& config,
                                                        const ChangeOptions& options) {
  if (absl::Status status = CheckNewUplink(*fabric_, config); !status.ok()) return status;
  if (options.validate_only) {
    UplinkStatus status;
    status.config = config;
    return status;
  }
  if (absl::Status status = fabric_->AddUplink(config); !status.ok()) {
    return AtField(status, "DEVICE", "uplink.device");
  }
  const uint64_t revision = NextRevision();
  absl::Status status =
      Commit({.revision = revision, .put = DesiredUplink{config, revision}}, options);
  if (!status.ok()) {
    fabric_->RemoveUplink(config.id);
    Changed(absl::StrCat("uplinks/", config.id));  // who watches may have heard of it
    return status;
  }
  Told(absl::StrCat("uplinks/", config.id), "ADDED");
  return StatusOf(fabric_->uplinks().find(config.id)->second);
}

absl::StatusOr<UplinkStatus> Switch::Impl::UpdateUplink(std::string_view id,
                                                        const UplinkPatch& patch,
                                                        const std::optional<UplinkConfig>& missing,
                                                        const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) return AnswerOfThen(std::get<DesiredUplink>((*reply)->resource));
  const auto found = store_.state().uplinks.find(id);
  if (found == store_.state().uplinks.end()) {
    if (missing) return AddNewUplink(*missing, options);
    return NoSuchUplink(id, "uplink.name");
  }
  if (absl::Status status = CheckEtag(options, found->second.revision,
                                      absl::StrCat("uplinks/", found->first), "uplink.etag");
      !status.ok()) {
    return status;
  }
  const UplinkConfig before = found->second.config;
  const UplinkConfig wanted = Patched(before, patch);
  if (absl::Status status = CheckChangedUplink(*fabric_, wanted); !status.ok()) return status;
  const Fabric::Uplink& uplink = fabric_->uplinks().find(id)->second;
  if (options.validate_only) {
    UplinkStatus status = StatusOf(uplink);
    status.config = wanted;
    return status;
  }
  if (wanted == before) {  // nobody is told of what is no change
    if (absl::Status status = CommitReply(found->second, options); !status.ok()) return status;
    return StatusOf(uplink);
  }
  if (absl::Status status = fabric_->UpdateUplink(wanted); !status.ok()) {
    return AtField(status, "DEVICE", "uplink");
  }
  const uint64_t revision = NextRevision();
  absl::Status status =
      Commit({.revision = revision, .put = DesiredUplink{wanted, revision}}, options);
  if (!status.ok()) {
    fabric_->UpdateUplink(before).IgnoreError();  // it had that a moment ago
    return status;
  }
  Told(NameOf(uplink), "UPDATED");
  return StatusOf(uplink);
}

absl::Status Switch::Impl::SetProcessors(const ProcessorSet& processors) {
  MutexLock lock(mutex_);
  const auto moved = fabric_->SetProcessors(processors);
  if (!moved.ok()) return moved.status();
  Happened(Severity::kInfo, "", "PROCESSORS_SET",
           absl::StrCat("workers go to CPUs ", processors.ToString(), " from now on; ", *moved,
                        " moved there"));
  return absl::OkStatus();
}

absl::Status Switch::Impl::DeleteUplink(std::string_view id, const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) return absl::OkStatus();
  const auto found = store_.state().uplinks.find(id);
  if (found == store_.state().uplinks.end()) {
    if (!options.allow_missing) return NoSuchUplink(id, "name");
    return options.validate_only ? absl::OkStatus() : CommitReply(std::monostate{}, options);
  }
  const std::string uplink = found->first;
  const std::string name = absl::StrCat("uplinks/", uplink);
  if (absl::Status status = CheckEtag(options, found->second.revision, name, "etag"); !status.ok())
    return status;
  if (absl::Status status = CheckUnused(*fabric_, id); !status.ok()) return status;
  if (options.validate_only) return absl::OkStatus();
  if (absl::Status status = Commit({.revision = NextRevision(), .deleted_uplink = uplink}, options);
      !status.ok()) {
    return status;
  }
  fabric_->RemoveUplink(uplink);
  sweep_ = true;
  Told(name, "DELETED");
  return absl::OkStatus();
}

absl::StatusOr<PortStatus> Switch::Impl::AddPort(const PortConfig& asked,
                                                 const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) return AnswerOfThen(std::get<DesiredPort>((*reply)->resource));
  return AddNewPort(asked, options);
}

absl::StatusOr<PortStatus> Switch::Impl::AddNewPort(const PortConfig& asked,
                                                    const ChangeOptions& options) {
  const absl::StatusOr<PortConfig> config = WithUplink(*fabric_, asked);
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckNewPort(*fabric_, *config); !status.ok()) return status;
  if (options.validate_only) {
    const Placement placement =
        Fabric::PlaceOn(*fabric_->uplinks().find(config->uplink)->second.runtime, *config);
    PortStatus status;
    status.config = *config;
    status.macs = config->macs;
    status.queue = placement.queue;
    status.queue_reason = placement.reason;
    return status;
  }
  if (absl::Status status = fabric_->AddPort(*config); !status.ok()) {
    return AtField(status, "DEVICE", "port.device");
  }
  const Fabric::Port& added = fabric_->ports().find(config->id)->second;
  const uint64_t revision = NextRevision();
  absl::Status status =
      Commit({.revision = revision, .put = DesiredPort{added.config, revision}}, options);
  if (!status.ok()) {
    fabric_->RemovePort(config->id);
    Changed(absl::StrCat("ports/", config->id));
    return status;
  }
  Told(NameOf(added), "ADDED");
  return StatusOf(added);
}

absl::StatusOr<PortStatus> Switch::Impl::UpdatePort(std::string_view id, const PortPatch& patch,
                                                    const std::optional<PortConfig>& missing,
                                                    const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) return AnswerOfThen(std::get<DesiredPort>((*reply)->resource));
  const auto found = store_.state().ports.find(id);
  if (found == store_.state().ports.end()) {
    if (missing) return AddNewPort(*missing, options);
    return NoSuchPort(id, "port.name");
  }
  if (absl::Status status = CheckEtag(options, found->second.revision,
                                      absl::StrCat("ports/", found->first), "port.etag");
      !status.ok()) {
    return status;
  }
  const PortConfig before = found->second.config;
  const PortConfig wanted = Patched(before, patch);
  if (absl::Status status = CheckChangedPort(*fabric_, wanted); !status.ok()) return status;
  const Fabric::Port& port = fabric_->ports().find(id)->second;
  if (options.validate_only) {
    PortStatus status = StatusOf(port);
    status.config = wanted;
    status.macs = wanted.macs;
    return status;
  }
  if (wanted == before) {
    if (absl::Status status = CommitReply(found->second, options); !status.ok()) return status;
    return StatusOf(port);
  }
  const std::optional<Placement> home =
      port.runtime == nullptr ? std::nullopt : std::optional(port.runtime->place().placement);
  if (absl::Status status = fabric_->UpdatePort(wanted); !status.ok()) {
    return AtField(status, "DEVICE", "port");
  }
  const uint64_t revision = NextRevision();
  absl::Status status =
      Commit({.revision = revision, .put = DesiredPort{wanted, revision}}, options);
  if (!status.ok()) {
    fabric_->UpdatePort(before).IgnoreError();  // it had that a moment ago
    if (home) fabric_->MovePort(id, *home).IgnoreError();
    return status;
  }
  Told(NameOf(port), "UPDATED");
  return StatusOf(port);
}

absl::Status Switch::Impl::DeletePort(std::string_view id, const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) return absl::OkStatus();
  const auto found = store_.state().ports.find(id);
  if (found == store_.state().ports.end()) {
    if (!options.allow_missing) return NoSuchPort(id, "name");
    return options.validate_only ? absl::OkStatus() : CommitReply(std::monostate{}, options);
  }
  const std::string port = found->first;
  const std::string name = absl::StrCat("ports/", port);
  if (absl::Status status = CheckEtag(options, found->second.revision, name, "etag"); !status.ok())
    return status;
  if (options.validate_only) return absl::OkStatus();
  if (absl::Status status = Commit({.revision = NextRevision(), .deleted_port = port}, options);
      !status.ok()) {
    return status;
  }
  fabric_->RemovePort(port);
  sweep_ = true;
  Told(name, "DELETED");
  return absl::OkStatus();
}

// Where things are is no part of the desired state: only that it was done is remembered.
absl::StatusOr<RebalanceReport> Switch::Impl::Rebalance(const ChangeOptions& options) {
  MutexLock lock(mutex_);
  const auto reply = EarlierReply(options);
  if (!reply.ok()) return reply.status();
  if (*reply != nullptr) {
    return RebalanceReport{.remarks = {"this call has been made before; events tell what it did"}};
  }
  if (!options.validate_only) {
    if (absl::Status status = CommitReply(std::monostate{}, options); !status.ok()) return status;
  }
  return fabric_->Rebalance(options.validate_only);
}

}  // namespace vmqd

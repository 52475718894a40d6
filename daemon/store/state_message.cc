// See state_message.h.
#include "daemon/store/state_message.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/rpc/convert.h"
#include "daemon/rpc/error.h"
#include "daemon/rpc/name.h"
#include "daemon/rpc/request.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "vmqd/v1/state.pb.h"

namespace vmqd {
namespace {

using Resource = decltype(Reply::resource);

bool Itself(const google::protobuf::Message& message) {
  return !message.GetReflection()->GetUnknownFields(message).empty();
}

// The message itself or one of those in it. By hand for what the state is made of: a start reads
// thousands of messages, and finding their parts by reflection takes longer than reading them.
bool HasUnknownFields(const v1::StateResource& resource) {
  return Itself(resource) || Itself(resource.uplink()) || Itself(resource.port());
}

bool HasUnknownFields(const v1::StateReply& reply) {
  return Itself(reply) || HasUnknownFields(reply.resource());
}

bool HasUnknownFields(const google::protobuf::RepeatedPtrField<v1::BorrowedSetting>& settings) {
  return std::any_of(settings.begin(), settings.end(),
                     [](const v1::BorrowedSetting& setting) { return Itself(setting); });
}

bool HasUnknownFields(const v1::StateSnapshot& snapshot) {
  const auto has = [](const auto& part) { return HasUnknownFields(part); };
  return Itself(snapshot) || HasUnknownFields(snapshot.borrowed()) ||
         std::any_of(snapshot.resources().begin(), snapshot.resources().end(), has) ||
         std::any_of(snapshot.replies().begin(), snapshot.replies().end(), has);
}

bool HasUnknownFields(const v1::StateChange& change) {
  return Itself(change) || HasUnknownFields(change.put()) || HasUnknownFields(change.reply()) ||
         Itself(change.borrowed()) || HasUnknownFields(change.borrowed().settings());
}

template <typename Message>
absl::Status Parse(std::string_view bytes, Message& message, bool& unknown_fields) {
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a message of type ", message.GetTypeName()));
  }
  unknown_fields = unknown_fields || HasUnknownFields(message);
  return absl::OkStatus();
}

void ToProto(const DesiredUplink& uplink, v1::StateResource* out) {
  out->set_revision(uplink.revision);
  rpc::ToProto(uplink.config, out->mutable_uplink());
}

void ToProto(const DesiredPort& port, v1::StateResource* out) {
  out->set_revision(port.revision);
  rpc::ToProto(port.config, out->mutable_port());
}

void ToProto(const Reply& reply, v1::StateReply* out) {
  out->set_request_id(reply.request_id);
  out->set_fingerprint(reply.fingerprint);
  if (const auto* uplink = std::get_if<DesiredUplink>(&reply.resource)) {
    ToProto(*uplink, out->mutable_resource());
  } else if (const auto* port = std::get_if<DesiredPort>(&reply.resource)) {
    ToProto(*port, out->mutable_resource());
  }
}

void ToProto(const BorrowedSetting& setting, v1::BorrowedSetting* out) {
  out->set_device(setting.device);
  out->set_setting(setting.setting);
  out->set_before(setting.before);
  out->set_during(setting.during);
}

// The message is taken apart: its resource moves into the request that is checked.
absl::StatusOr<Resource> ResourceFrom(v1::StateResource& message) {
  const uint64_t revision = message.revision();
  if (message.has_uplink()) {
    auto id = rpc::ParseUplinkName(message.uplink().name(), "uplink.name");
    if (!id.ok()) return id.status();
    v1::CreateUplinkRequest request;
    request.set_uplink_id(*id);
    request.mutable_uplink()->Swap(message.mutable_uplink());
    auto config = rpc::UplinkConfigFrom(request);
    if (!config.ok()) return config.status();
    return DesiredUplink{*std::move(config), revision};
  }
  if (message.has_port()) {
    auto id = rpc::ParsePortName(message.port().name(), "port.name");
    if (!id.ok()) return id.status();
    v1::CreatePortRequest request;
    request.set_port_id(*id);
    request.mutable_port()->Swap(message.mutable_port());
    auto config = rpc::PortConfigFrom(request);
    if (!config.ok()) return config.status();
    return DesiredPort{*std::move(config), revision};
  }
  return absl::InvalidArgumentError("a resource that is neither uplink nor port");
}

absl::StatusOr<Reply> ReplyFrom(v1::StateReply& message) {
  Reply reply{.request_id = std::move(*message.mutable_request_id()),
              .fingerprint = std::move(*message.mutable_fingerprint())};
  if (message.has_resource()) {
    auto resource = ResourceFrom(*message.mutable_resource());
    if (!resource.ok()) return resource.status();
    reply.resource = *std::move(resource);
  }
  return reply;
}

BorrowedSetting BorrowedFrom(v1::BorrowedSetting& message) {
  return {.device = std::move(*message.mutable_device()),
          .setting = std::move(*message.mutable_setting()),
          .before = std::move(*message.mutable_before()),
          .during = std::move(*message.mutable_during())};
}

absl::Status CheckStateId(const std::string& id) {
  const bool hexadecimal = std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  });
  if (id.size() == kStateIdDigits && hexadecimal) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("state_id: ", rpc::Quoted(id), " is not ",
                                                 kStateIdDigits, " hexadecimal digits"));
}

absl::Status ReadDeleted(const std::string& name, StateChange& change) {
  auto port = rpc::ParsePortName(name, "deleted");
  if (port.ok()) {
    change.deleted_port = *std::move(port);
    return absl::OkStatus();
  }
  auto uplink = rpc::ParseUplinkName(name, "deleted");
  if (!uplink.ok()) return uplink.status();
  change.deleted_uplink = *std::move(uplink);
  return absl::OkStatus();
}

}  // namespace

std::string SnapshotToBytes(const DesiredState& state) {
  v1::StateSnapshot message;
  message.set_revision(state.revision);
  message.set_incarnation(state.incarnation);
  message.set_boot_id(state.boot_id);
  message.set_state_id(state.state_id);
  for (const auto& [id, uplink] : state.uplinks) ToProto(uplink, message.add_resources());
  for (const auto& [id, port] : state.ports) ToProto(port, message.add_resources());
  for (const Reply& reply : state.replies) ToProto(reply, message.add_replies());
  for (const BorrowedSetting& setting : state.borrowed) ToProto(setting, message.add_borrowed());
  return message.SerializeAsString();
}

absl::StatusOr<std::string> ChangeToBytes(const StateChange& change) {
  if (!change.deleted_uplink.empty() && !change.deleted_port.empty()) {
    return absl::InvalidArgumentError("one change deletes an uplink or a port, not both");
  }
  v1::StateChange message;
  message.set_revision(change.revision);
  message.set_incarnation(change.incarnation);
  message.set_boot_id(change.boot_id);
  if (const auto* uplink = std::get_if<DesiredUplink>(&change.put)) {
    ToProto(*uplink, message.mutable_put());
  } else if (const auto* port = std::get_if<DesiredPort>(&change.put)) {
    ToProto(*port, message.mutable_put());
  }
  if (!change.deleted_uplink.empty()) message.set_deleted(rpc::UplinkName(change.deleted_uplink));
  if (!change.deleted_port.empty()) message.set_deleted(rpc::PortName(change.deleted_port));
  if (change.reply.has_value()) ToProto(*change.reply, message.mutable_reply());
  if (change.borrowed.has_value()) {
    v1::BorrowedSettings& borrowed = *message.mutable_borrowed();
    for (const BorrowedSetting& setting : *change.borrowed) {
      ToProto(setting, borrowed.add_settings());
    }
  }
  return message.SerializeAsString();
}

absl::StatusOr<DesiredState> SnapshotFromBytes(std::string_view bytes, bool& unknown_fields) {
  v1::StateSnapshot message;
  if (auto status = Parse(bytes, message, unknown_fields); !status.ok()) return status;
  if (auto status = CheckStateId(message.state_id()); !status.ok()) return status;
  DesiredState state{.revision = message.revision(),
                     .incarnation = message.incarnation(),
                     .boot_id = message.boot_id(),
                     .state_id = message.state_id()};
  for (v1::StateResource& resource : *message.mutable_resources()) {
    auto read = ResourceFrom(resource);
    if (!read.ok()) return read.status();
    bool fresh = false;
    if (auto* uplink = std::get_if<DesiredUplink>(&*read)) {
      fresh = state.uplinks.emplace(uplink->config.id, *uplink).second;
    } else if (auto* port = std::get_if<DesiredPort>(&*read)) {
      fresh = state.ports.emplace(port->config.id, *port).second;
    }
    if (!fresh) return absl::InvalidArgumentError("a resource that is there twice");
  }
  for (v1::StateReply& reply : *message.mutable_replies()) {
    auto read = ReplyFrom(reply);
    if (!read.ok()) return read.status();
    state.replies.push_back(*std::move(read));
  }
  for (v1::BorrowedSetting& setting : *message.mutable_borrowed()) {
    state.borrowed.push_back(BorrowedFrom(setting));
  }
  return state;
}

absl::StatusOr<StateChange> ChangeFromBytes(std::string_view bytes, bool& unknown_fields) {
  v1::StateChange message;
  if (auto status = Parse(bytes, message, unknown_fields); !status.ok()) return status;
  StateChange change{.revision = message.revision(),
                     .incarnation = message.incarnation(),
                     .boot_id = message.boot_id()};
  if (message.has_put()) {
    auto put = ResourceFrom(*message.mutable_put());
    if (!put.ok()) return put.status();
    change.put = *std::move(put);
  }
  if (!message.deleted().empty()) {
    if (auto status = ReadDeleted(message.deleted(), change); !status.ok()) return status;
  }
  if (message.has_reply()) {
    auto reply = ReplyFrom(*message.mutable_reply());
    if (!reply.ok()) return reply.status();
    change.reply = *std::move(reply);
  }
  if (message.has_borrowed()) {
    change.borrowed.emplace();
    for (v1::BorrowedSetting& setting : *message.mutable_borrowed()->mutable_settings()) {
      change.borrowed->push_back(BorrowedFrom(setting));
    }
  }
  return change;
}

}  // namespace vmqd

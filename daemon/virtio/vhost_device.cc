// A front end's conversation: its beginning and end, and who handles which request. What is agreed
// on is in vhost_device_setup.cc, memory in vhost_device_memory.cc, what is said of rings in
// vhost_device_rings.cc, their starting and stopping in vhost_device_run.cc; the contract is in
// vhost_device.h.
//
// A request that breaks a rule ends the connection: a front end whose idea of the device differs
// from ours cannot be served. Only what a correct front end may try and be denied (an MTU, the
// configuration, memory hot-plug that it wants an answer to) is refused and the connection lives.
#include "daemon/virtio/vhost_device.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/virtio/event_fd.h"
#include "daemon/virtio/vhost_features.h"

namespace vmqd {
namespace {

VhostMessage ReplyTo(const VhostMessage& message) {
  VhostMessage reply;
  reply.header.request = message.header.request;
  reply.header.flags = VhostHeader::kVersion | VhostHeader::kReply;
  return reply;
}

// Requests that belong to a protocol feature, and which.
uint64_t FeatureOf(VhostRequest request) {
  switch (request) {
    case VhostRequest::kSetLogBase:
    case VhostRequest::kSetLogFd:
      return FeatureBit(VhostProtocolFeature::kLogShmfd);
    case VhostRequest::kGetQueueNum:
      return FeatureBit(VhostProtocolFeature::kMq);
    case VhostRequest::kSendRarp:
      return FeatureBit(VhostProtocolFeature::kRarp);
    case VhostRequest::kNetSetMtu:
      return FeatureBit(VhostProtocolFeature::kNetMtu);
    case VhostRequest::kGetConfig:
    case VhostRequest::kSetConfig:
      return FeatureBit(VhostProtocolFeature::kConfig);
    case VhostRequest::kGetMaxMemSlots:
    case VhostRequest::kAddMemReg:
    case VhostRequest::kRemMemReg:
      return FeatureBit(VhostProtocolFeature::kConfigureMemSlots);
    case VhostRequest::kSetStatus:
    case VhostRequest::kGetStatus:
      return FeatureBit(VhostProtocolFeature::kStatus);
    default:
      return 0;
  }
}

}  // namespace

absl::Status VhostViolation(const std::string& what) { return absl::InvalidArgumentError(what); }

VhostDevice::VhostDevice(const VhostOptions& options, VhostDeviceOwner& owner)
    : options_(options),
      offered_(options.features | FeatureBit(kVhostProtocolFeatures)),
      owner_(owner),
      memory_(std::make_shared<const GuestMemory>()),
      rings_(size_t{2} * options.queue_pairs) {
  status_.since = std::chrono::system_clock::now();
}

VhostDevice::~VhostDevice() { Disconnect(""); }

void VhostDevice::Connect() {
  status_.connected = true;
  status_.since = std::chrono::system_clock::now();
  ++status_.connections;
}

void VhostDevice::Disconnect(const std::string& fault) {
  StopAll();
  UpdateLink();
  rings_ = std::vector<VhostRing>(rings_.size());
  log_.reset();
  memory_ = std::make_shared<const GuestMemory>();
  given_.clear();
  features_set_ = false;
  features_ = 0;
  protocol_features_ = 0;
  device_status_ = 0;
  mtu_ = 0;
  if (status_.connected) status_.since = std::chrono::system_clock::now();
  status_.connected = false;
  if (!fault.empty()) RecordFault(fault);
}

void VhostDevice::RecordFault(const std::string& reason) {
  status_.fault = reason;
  status_.last_fault = reason;
  status_.last_fault_time = std::chrono::system_clock::now();
  ++status_.faults;
}

void VhostDevice::UpdateLink() {
  const auto carries = [this](const VhostRing& ring) { return ring.running() && Enabled(ring); };
  const bool link = carries(rings_[0]) && carries(rings_[1]);
  if (link != std::exchange(link_, link)) owner_.SetLink(link);
}

VhostStatus VhostDevice::Status() const {
  VhostStatus status = status_;
  status.features = features_;
  status.protocol_features = protocol_features_;
  status.memory_regions = memory_->regions();
  status.memory_bytes = memory_->bytes();
  status.memory_sealed = memory_->regions() > 0 && memory_->sealed();
  status.logging = log_ != nullptr && (features_ & FeatureBit(kVhostLogAll)) != 0;
  status.mtu = mtu_;
  for (uint32_t i = 0; i < rings_.size(); ++i) {
    status.rings.push_back({i, rings_[i].size, rings_[i].running(), Enabled(rings_[i])});
  }
  return status;
}

bool VhostDevice::WantsAck(const VhostMessage& message) const {
  return message.needs_reply() &&
         (protocol_features_ & FeatureBit(VhostProtocolFeature::kReplyAck)) != 0;
}

bool VhostDevice::Negotiated(const VhostMessage& message) const {
  const uint64_t needed = FeatureOf(message.request());
  return (protocol_features_ & needed) == needed;
}

VhostAnswer VhostDevice::Handle(VhostMessage& message) {
  VhostAnswer answer;
  if (Negotiated(message)) {
    answer.status = Dispatch(message, answer.reply);
  } else {
    const uint64_t needed = FeatureOf(message.request());
    answer.status = VhostViolation(
        absl::StrCat("it needs the protocol feature ",
                     absl::StrJoin(FeatureNames(needed, VhostProtocolFeatureName), ", "),
                     ", which has not been negotiated"));
  }
  UpdateLink();
  if (!answer.reply.has_value() && WantsAck(message)) {
    answer.reply = ReplyTo(message);
    answer.reply->Put(uint64_t{answer.status.ok() ? 0U : 1U});
  }
  if (absl::IsFailedPrecondition(answer.status)) answer.status = absl::OkStatus();
  if (!answer.status.ok()) {
    answer.status = absl::InvalidArgumentError(
        absl::StrCat(VhostRequestName(message.header.request), ": ", answer.status.message()));
  }
  return answer;
}

absl::Status VhostDevice::Dispatch(VhostMessage& message, std::optional<VhostMessage>& reply) {
  switch (message.request()) {
    case VhostRequest::kGetFeatures:
      reply.emplace(ReplyTo(message)).Put(offered_);
      return absl::OkStatus();
    case VhostRequest::kSetFeatures:
      return SetFeatures(message);
    case VhostRequest::kGetProtocolFeatures:
      reply.emplace(ReplyTo(message)).Put(SupportedVhostProtocolFeatures());
      return absl::OkStatus();
    case VhostRequest::kSetProtocolFeatures:
      return SetProtocolFeatures(message);
    case VhostRequest::kGetQueueNum:
      reply.emplace(ReplyTo(message)).Put(uint64_t{options_.queue_pairs});
      return absl::OkStatus();
    case VhostRequest::kSetOwner:  // one socket, one owner: it need not say so
      return absl::OkStatus();
    case VhostRequest::kResetOwner:  // deprecated: ring state is left as it is, the rings stop
      StopAll();
      return absl::OkStatus();
    case VhostRequest::kSendRarp:
      return SendRarp(message);
    case VhostRequest::kNetSetMtu:
      return SetMtu(message);
    case VhostRequest::kGetConfig:
      GetConfig(message, reply.emplace(ReplyTo(message)));
      return absl::OkStatus();
    case VhostRequest::kSetConfig:
      return absl::FailedPreconditionError("no field is the front end's to write");
    case VhostRequest::kSetStatus:
      return SetStatus(message);
    case VhostRequest::kGetStatus:
      reply.emplace(ReplyTo(message)).Put(uint64_t{device_status_});
      return absl::OkStatus();
    case VhostRequest::kGetMaxMemSlots:
      reply.emplace(ReplyTo(message)).Put(uint64_t{GuestMemory::kMaxRegions});
      return absl::OkStatus();
    case VhostRequest::kSetLogFd:  // nobody waits for it: front ends read the log when they like
      return AdoptEventFd(message.fds[0].get());
    default:
      return DispatchRing(message, reply);
  }
}

}  // namespace vmqd

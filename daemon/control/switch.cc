// Start and end, what is told, and the public face. Calls are in switch_changes.cc and
// switch_status.cc; what runs is in fabric.cc.
#include "daemon/control/switch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/control/leftovers.h"
#include "daemon/control/switch_impl.h"

namespace vmqd {
namespace {

constexpr std::chrono::seconds kSampleEvery{1};
// Revisions of one start of the daemon, so that what one counted without writing it down is never
// counted again by the next.
constexpr int kIncarnationShift = 32;

}  // namespace

// --- start and end ---

absl::Status Switch::Impl::Start() {
  {
    MutexLock lock(mutex_);
    const DesiredState& state = store_.state();
    // A start that could not be written down is counted by the revisions that followed it.
    const uint64_t incarnation =
        std::max(state.incarnation, state.revision >> kIncarnationShift) + 1;
    revision_ = incarnation << kIncarnationShift;
    history_.BeginAt(revision_);
    StateChange begin{.revision = NextRevision(), .incarnation = incarnation, .boot_id = BootId()};
    // Devices do not keep settings over a restart of the machine.
    if (state.boot_id != begin.boot_id) begin.borrowed.emplace();
    WriteBegin(std::move(begin));

    Site site{.vhost = options_.vhost,
              .vhost_reason = options_.vhost_reason,
              .ledger = &ledger_,
              .bpf_directory = options_.bpf_directory,
              .bpf_reason = options_.bpf_reason,
              .mark = MarkPrefix(state)};
    auto fabric = Fabric::Create({options_.processors, std::move(site)}, *this);
    if (!fabric.ok()) return fabric.status();
    fabric_ = *std::move(fabric);
    Restore();
  }
  auto monitor = LinkMonitor::Start([this](const LinkMonitor::Event& event) {
    MutexLock lock(mutex_);
    fabric_->OnLink(event);
  });
  if (!monitor.ok()) return monitor.status();
  monitor_ = *std::move(monitor);
  {
    MutexLock lock(mutex_);
    fabric_->OnLink({.overrun = true});  // what happened since Restore looked
  }
  sampler_ = std::thread([this] { SampleLoop(); });
  return absl::OkStatus();
}

// A disk that cannot be written keeps no frames from flowing: it is tried again every second.
void Switch::Impl::WriteBegin(StateChange begin) {
  const absl::Status status = store_.Commit(begin);
  if (status.ok()) {
    if (!begin_trouble_.empty()) spdlog::info("the state directory can be written again");
    begin_.reset();
    begin_trouble_.clear();
    return;
  }
  if (begin_trouble_.empty()) {
    begin_trouble_ = absl::StrCat("changes are refused: ", std::string(status.message()));
    spdlog::error("{}", begin_trouble_);
  }
  begin.borrowed.reset();  // by then it may hold what this daemon borrowed
  begin_ = std::move(begin);
}

// What is wanted first, so that frames flow again; then what an earlier daemon left behind.
void Switch::Impl::Restore() {
  const DesiredState& state = store_.state();
  for (const auto& [id, uplink] : state.uplinks) fabric_->Expect(uplink.config);
  for (const auto& [id, port] : state.ports) fabric_->Expect(port.config);
  fabric_->Resume();
  RemoveUnwanted();
  if (state.uplinks.empty()) return;
  Happened(Severity::kInfo, "", "RESTORED",
           absl::StrCat("brought back ", state.uplinks.size(), " uplinks and ", state.ports.size(),
                        " ports as of revision ", EtagOf(state.revision)));
}

void Switch::Impl::RemoveUnwanted() {
  for (const std::string& done : RemoveLeftovers(store_, ledger_, options_.bpf_directory)) {
    Happened(Severity::kInfo, "", "CLEANED_UP", done);
  }
}

Switch::Impl::~Impl() {
  history_.Close();
  monitor_.reset();
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  const bool started = sampler_.joinable();
  if (started) sampler_.join();
  MutexLock lock(mutex_);
  fabric_.reset();
  if (!started) return;
  // Also what an earlier daemon had, and this one has never opened.
  for (const std::string& done : GiveAllBack(store_, ledger_, options_.bpf_directory)) {
    spdlog::info("{}", done);
  }
}

void Switch::Impl::SampleLoop() {
  MutexLock lock(mutex_);
  auto last = std::chrono::steady_clock::now();
  while (!stopping_) {
    stop_.wait_for(mutex_, kSampleEvery);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last).count();
    if (seconds < 0.5) continue;  // woken to stop, or for nothing
    last = now;
    fabric_->Tick(seconds);
    // When the kernel refuses a part of a deletion, that is too late to refuse it: tried again.
    if (std::exchange(sweep_, false)) RemoveUnwanted();
    if (begin_.has_value()) {
      StateChange begin = *std::exchange(begin_, std::nullopt);
      begin.revision = NextRevision();
      WriteBegin(std::move(begin));
    }
  }
}

// --- telling ---

// After a change that a caller asked for.
void Switch::Impl::Told(const std::string& name, const char* what) {
  Happened(Severity::kInfo, name, what, absl::StrCat(name, " ", absl::AsciiStrToLower(what)));
  Changed(name);
}

void Switch::Impl::Changed(const std::string& resource) {
  if (fabric_ == nullptr) return;  // it is being taken down
  const size_t slash = resource.find('/');
  const std::string id = resource.substr(slash + 1);
  HistoryItem item{.revision = NextRevision(), .what = Deleted{resource}};
  if (resource.starts_with("uplinks/")) {
    const auto found = fabric_->uplinks().find(id);
    if (found != fabric_->uplinks().end()) item.what = StatusOf(found->second);
  } else {
    const auto found = fabric_->ports().find(id);
    if (found != fabric_->ports().end()) item.what = StatusOf(found->second);
  }
  history_.Add(std::move(item));
}

void Switch::Impl::Happened(Severity severity, const std::string& resource, std::string_view reason,
                            const std::string& message) {
  spdlog::log(severity == Severity::kInfo      ? spdlog::level::info
              : severity == Severity::kWarning ? spdlog::level::warn
                                               : spdlog::level::err,
              "{}", message);
  const uint64_t revision = NextRevision();
  history_.Add({revision, Event{revision, std::chrono::system_clock::now(), severity, resource,
                                std::string(reason), message}});
}

// --- the public face ---

namespace {

const absl::Status& StatusIn(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusIn(const absl::StatusOr<T>& result) {
  return result.status();
}

// A change that was asked for and refused; what was done is told as an event.
template <typename Result>
Result Logged(absl::string_view change, std::string_view id, Result result) {
  const absl::Status& status = StatusIn(result);
  if (!status.ok()) {
    spdlog::warn("{} {}: refused: {}", std::string(change), id, std::string(status.message()));
  }
  return result;
}

}  // namespace

Switch::Switch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Switch::~Switch() = default;

absl::StatusOr<std::unique_ptr<Switch>> Switch::Create(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Switch>(new Switch(std::move(impl)));
}

absl::StatusOr<UplinkStatus> Switch::AddUplink(const UplinkConfig& config,
                                               const ChangeOptions& options) {
  return Logged("add uplink", config.id, impl_->AddUplink(config, options));
}
absl::StatusOr<UplinkStatus> Switch::UpdateUplink(std::string_view id, const UplinkPatch& patch,
                                                  const std::optional<UplinkConfig>& missing,
                                                  const ChangeOptions& options) {
  return Logged("update uplink", id, impl_->UpdateUplink(id, patch, missing, options));
}
absl::Status Switch::DeleteUplink(std::string_view id, const ChangeOptions& options) {
  return Logged("delete uplink", id, impl_->DeleteUplink(id, options));
}
absl::StatusOr<UplinkStatus> Switch::GetUplink(std::string_view id) const {
  return impl_->GetUplink(id);
}
std::vector<UplinkStatus> Switch::ListUplinks() const { return impl_->ListUplinks(); }

absl::StatusOr<PortStatus> Switch::AddPort(const PortConfig& config, const ChangeOptions& options) {
  return Logged("add port", config.id, impl_->AddPort(config, options));
}
absl::StatusOr<PortStatus> Switch::UpdatePort(std::string_view id, const PortPatch& patch,
                                              const std::optional<PortConfig>& missing,
                                              const ChangeOptions& options) {
  return Logged("update port", id, impl_->UpdatePort(id, patch, missing, options));
}
absl::Status Switch::DeletePort(std::string_view id, const ChangeOptions& options) {
  return Logged("delete port", id, impl_->DeletePort(id, options));
}
absl::StatusOr<PortStatus> Switch::GetPort(std::string_view id) const { return impl_->GetPort(id); }
std::vector<PortStatus> Switch::ListPorts() const { return impl_->ListPorts(); }

absl::StatusOr<QueueStatus> Switch::GetQueue(std::string_view uplink, uint32_t queue) const {
  return impl_->GetQueue(std::string(uplink), queue);
}
absl::StatusOr<std::vector<QueueStatus>> Switch::ListQueues(
    const std::optional<std::string>& uplink) const {
  return impl_->ListQueues(uplink);
}
absl::Status Switch::SetProcessors(const ProcessorSet& processors) {
  return impl_->SetProcessors(processors);
}
SwitchStatus Switch::Show() const { return impl_->Show(); }
absl::StatusOr<RebalanceReport> Switch::Rebalance(const ChangeOptions& options) {
  return Logged("rebalance", "", impl_->Rebalance(options));
}
Switch::Snapshot Switch::Look() const { return impl_->Look(); }
History& Switch::history() { return impl_->history(); }
bool Switch::WorkersAdvance() { return impl_->WorkersAdvance(); }

absl::StatusOr<std::vector<std::string>> Switch::Cleanup(StateStore& store,
                                                         const std::string& bpf_directory) {
  return CleanUp(store, bpf_directory);
}

}  // namespace vmqd

// Changing devices and changing them back; the contract is in the header.
#include "daemon/xdp/device_settings.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/affinity.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/setting.h"

namespace vmqd {
namespace {

// Back to what it was, if it is still what vmqd made it. What is gone is back as well.
absl::Status WriteBack(const std::string& device, const BorrowedSetting& recorded) {
  auto now = ReadSetting(device, recorded.setting);
  if (absl::IsNotFound(now.status())) return absl::OkStatus();
  if (!now.ok()) return now.status();
  if (*now != recorded.during) return absl::OkStatus();
  absl::Status status = WriteSetting(device, recorded.setting, recorded.before);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace

DeviceSettings::~DeviceSettings() { Restore().IgnoreError(); }

DeviceSettings::DeviceSettings(DeviceSettings&& other) noexcept
    : ledger_(other.ledger_), changes_(std::exchange(other.changes_, {})) {}

DeviceSettings& DeviceSettings::operator=(DeviceSettings&& other) noexcept {
  if (this == &other) return *this;
  Restore().IgnoreError();
  ledger_ = other.ledger_;
  changes_ = std::exchange(other.changes_, {});
  return *this;
}

absl::Status DeviceSettings::TurnOff(std::string_view device, std::string_view feature) {
  auto before = GetFeature(device, feature);
  if (!before.ok()) return before.status();
  if (!before->known) return absl::OkStatus();
  auto link = FindLink(device);
  if (!link.ok()) return link.status();
  return Make(link->ifindex, {.device = std::string(device),
                              .setting = kFeatureSetting + std::string(feature),
                              .before = before->active ? "on" : "off",
                              .during = "off"});
}

absl::Status DeviceSettings::PinIrq(std::string_view device, int irq, int cpu) {
  auto before = IrqCpuList(irq);
  if (!before.ok()) return before.status();
  return Make(0, {.device = std::string(device),
                  .setting = absl::StrCat(kIrqSetting, irq),
                  .before = *before,
                  .during = absl::StrCat(cpu)});
}

absl::Status DeviceSettings::PinThread(std::string_view device, pid_t thread, int cpu) {
  const std::string setting = absl::StrCat(kThreadSetting, thread);
  auto before = ReadSetting(std::string(device), setting);
  if (!before.ok()) return before.status();
  return Make(0, {.device = std::string(device),
                  .setting = setting,
                  .before = *before,
                  .during = absl::StrCat(cpu)});
}

absl::Status DeviceSettings::Set(std::string_view device, const std::string& setting,
                                 const std::string& value) {
  auto link = FindLink(device);
  if (!link.ok()) return link.status();
  auto before = ReadSetting(link->name, setting);
  if (!before.ok()) return before.status();
  return Make(
      link->ifindex,
      {.device = link->name, .setting = setting, .before = *std::move(before), .during = value});
}

std::vector<DeviceSettings::Change>::iterator DeviceSettings::Find(std::string_view device,
                                                                   std::string_view setting) {
  return std::find_if(changes_.begin(), changes_.end(), [&](const Change& change) {
    return change.setting.device == device && change.setting.setting == setting;
  });
}

absl::Status DeviceSettings::PutBack(std::string_view device, std::string_view setting) {
  const auto found = Find(device, setting);
  if (found == changes_.end()) return absl::OkStatus();
  const Change change = std::move(*found);
  changes_.erase(found);
  return Undo(change);
}

std::vector<BorrowedSetting> DeviceSettings::Changed(std::string_view device,
                                                     std::string_view kind) const {
  std::vector<BorrowedSetting> found;
  for (const Change& change : changes_) {
    const BorrowedSetting& setting = change.setting;
    if (setting.device == device && setting.setting.starts_with(kind)) found.push_back(setting);
  }
  return found;
}

void DeviceSettings::TakeOver(std::string_view device, std::string_view kind) {
  const auto link = FindLink(device);
  if (ledger_ == nullptr || !link.ok()) return;
  for (BorrowedSetting& setting : ledger_->FindAll(device, kind)) {
    if (Find(device, setting.setting) != changes_.end()) continue;
    changes_.push_back({.ifindex = link->ifindex, .setting = std::move(setting)});
  }
}

void DeviceSettings::Forget(std::string_view device, std::string_view setting) {
  const auto found = Find(device, setting);
  if (found != changes_.end()) changes_.erase(found);
}

// `wanted.before` is what is there now.
absl::Status DeviceSettings::Make(int ifindex, BorrowedSetting wanted) {
  const auto known = Find(wanted.device, wanted.setting);
  std::optional<BorrowedSetting> earlier;
  if (known != changes_.end()) {
    earlier = known->setting;
  } else if (ledger_ != nullptr) {
    earlier = ledger_->Find(wanted.device, wanted.setting);
  }
  const bool change = wanted.before != wanted.during;
  // Vmqd made it what it is: what is to be put back is what was there before that.
  const bool borrowed = earlier && earlier->during == wanted.before;
  if (!change && !borrowed) {
    if (earlier && known == changes_.end()) ledger_->Erase(wanted.device, wanted.setting);
    return absl::OkStatus();
  }
  if (borrowed) wanted.before = earlier->before;
  if (change) {
    if (absl::Status status = Record(wanted); !status.ok()) return status;
    absl::Status made = WriteSetting(wanted.device, wanted.setting, wanted.during);
    if (!made.ok()) {
      Unrecord(wanted, earlier);
      return made;
    }
  }
  // The last change of all, as it is in the ledger: it may need one that was made since it was
  // first made itself.
  if (known != changes_.end()) changes_.erase(known);
  changes_.push_back({.ifindex = ifindex, .setting = std::move(wanted)});
  return absl::OkStatus();
}

absl::Status DeviceSettings::Record(const BorrowedSetting& setting) {
  return ledger_ == nullptr ? absl::OkStatus() : ledger_->Record(setting);
}

// The change was not made: the ledger says what it said before.
void DeviceSettings::Unrecord(const BorrowedSetting& setting,
                              const std::optional<BorrowedSetting>& earlier) {
  if (ledger_ == nullptr) return;
  if (earlier && ledger_->Record(*earlier).ok()) return;
  ledger_->Erase(setting.device, setting.setting);
}

std::vector<std::string> DeviceSettings::changed() const {
  std::vector<std::string> words;
  for (const Change& change : changes_) {
    const BorrowedSetting& setting = change.setting;
    words.push_back(DescribeSetting(setting.setting, setting.before, setting.during));
  }
  return words;
}

void DeviceSettings::LeaveForProgram() {
  std::erase_if(changes_, [](const Change& change) {
    const std::string& setting = change.setting.setting;
    return setting.starts_with(kFeatureSetting) || setting == kChannelSetting;
  });
}

absl::Status DeviceSettings::Undo(const Change& change) {
  std::string device = change.setting.device;
  absl::Status status;
  bool there = true;
  if (change.ifindex != 0) {
    auto link = FindLink(change.ifindex);
    there = link.ok();
    if (there) device = link->name;
    if (!absl::IsNotFound(link.status())) status = link.status();
  }
  if (there) status = WriteBack(device, change.setting);
  if (status.ok() && ledger_ != nullptr) {
    ledger_->Erase(change.setting.device, change.setting.setting);
  }
  return status;
}

absl::Status DeviceSettings::Restore() {
  absl::Status first;
  for (; !changes_.empty(); changes_.pop_back()) first.Update(Undo(changes_.back()));
  return first;
}

absl::Status DeviceSettings::RestoreRecorded(const BorrowedSetting& recorded) {
  if (!IsStillThere(recorded.setting)) return absl::OkStatus();
  return WriteBack(recorded.device, recorded);
}

}  // namespace vmqd

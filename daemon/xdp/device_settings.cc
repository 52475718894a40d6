// Changing devices and changing them back; the contract is in the header.
#include "daemon/xdp/device_settings.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link.h"

namespace vmqd {

DeviceSettings::~DeviceSettings() { Restore().IgnoreError(); }

DeviceSettings::DeviceSettings(DeviceSettings&& other) noexcept
    : changes_(std::exchange(other.changes_, {})) {}

DeviceSettings& DeviceSettings::operator=(DeviceSettings&& other) noexcept {
  if (this == &other) return *this;
  Restore().IgnoreError();
  changes_ = std::exchange(other.changes_, {});
  return *this;
}

absl::Status DeviceSettings::TurnOff(std::string_view device, std::string_view feature) {
  auto before = GetFeature(device, feature);
  if (!before.ok()) return before.status();
  if (!before->active) return absl::OkStatus();
  auto link = FindLink(device);
  if (!link.ok()) return link.status();
  if (absl::Status status = SetFeature(device, feature, false); !status.ok()) return status;
  changes_.push_back({.ifindex = link->ifindex, .feature = std::string(feature)});
  return absl::OkStatus();
}

absl::Status DeviceSettings::SetMtu(std::string_view device, uint32_t mtu) {
  auto link = FindLink(device);
  if (!link.ok()) return link.status();
  if (link->mtu == mtu) return absl::OkStatus();
  if (absl::Status status = SetLinkMtu(link->ifindex, mtu); !status.ok()) return status;
  changes_.push_back({.ifindex = link->ifindex, .old_mtu = link->mtu, .new_mtu = mtu});
  return absl::OkStatus();
}

std::vector<std::string> DeviceSettings::changed() const {
  std::vector<std::string> words;
  for (const Change& change : changes_) {
    words.push_back(change.feature.empty()
                        ? absl::StrCat("mtu: ", change.old_mtu, " -> ", change.new_mtu)
                        : absl::StrCat(change.feature, ": on -> off"));
  }
  return words;
}

absl::Status DeviceSettings::Restore() {
  absl::Status first;
  while (!changes_.empty()) {
    absl::Status status = Undo(changes_.back());
    changes_.pop_back();
    if (!absl::IsNotFound(status)) first.Update(std::move(status));  // else it is gone
  }
  return first;
}

absl::Status DeviceSettings::Undo(const Change& change) {
  auto link = FindLink(change.ifindex);
  if (!link.ok()) return link.status();
  if (!change.feature.empty()) return SetFeature(link->name, change.feature, true);
  if (link->mtu != change.new_mtu) return absl::OkStatus();
  return SetLinkMtu(change.ifindex, change.old_mtu);
}

}  // namespace vmqd

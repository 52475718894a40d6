#include "daemon/control/leftovers.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "daemon/control/model.h"
#include "daemon/control/site.h"
#include "daemon/xdp/device_settings.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/pin.h"
#include "daemon/xdp/setting.h"

namespace vmqd {
namespace {

using Names = std::set<std::string>;

std::string Outcome(const std::string& done, const absl::Status& status) {
  return status.ok() ? done : absl::StrCat(done, ": not done: ", status.message());
}

void RemovePins(const std::string& directory, const Names& wanted, std::vector<std::string>& done) {
  if (directory.empty()) return;
  for (const std::string& name : PinnedNames(directory)) {
    const std::string pin = absl::StrCat(directory, "/", name);
    if (wanted.contains(pin)) continue;
    done.push_back(Outcome(absl::StrCat("detached the program pinned as ", name), RemovePin(pin)));
  }
}

// `wanted`: the marks of devices that stay.
void DeleteDevices(const std::string& prefix, const Names& wanted, std::vector<std::string>& done) {
  const auto links = MarkedLinks(prefix);
  if (!links.ok()) {
    done.push_back(Outcome("looked for devices of earlier daemons", links.status()));
    return;
  }
  for (const Link& link : *links) {
    if (wanted.contains(link.alias)) continue;
    done.push_back(Outcome(absl::StrCat("deleted ", link.name, ", which was made for a port"),
                           DeleteLink(link.ifindex)));
  }
}

// `wanted`: devices that keep what was borrowed from them.
void GiveBack(StateStore& store, StateLedger& ledger, const Names& wanted,
              std::vector<std::string>& done) {
  const bool same_boot = store.state().boot_id == BootId();
  std::vector<BorrowedSetting> all = store.state().borrowed;
  std::reverse(all.begin(), all.end());  // the last change first, as DeviceSettings does
  for (const BorrowedSetting& setting : all) {
    if (wanted.contains(setting.device)) {
      // A NAPI thread that has ended: its device got new ones.
      if (!IsStillThere(setting.setting)) ledger.Erase(setting.device, setting.setting);
      continue;
    }
    if (same_boot) {
      const absl::Status status = DeviceSettings::RestoreRecorded(setting);
      done.push_back(Outcome(absl::StrCat("put ", setting.setting, " of ", setting.device,
                                          " back to ", setting.before),
                             status));
      if (!status.ok()) continue;
    }
    ledger.Erase(setting.device, setting.setting);
  }
}

}  // namespace

std::string MarkPrefix(const DesiredState& state) {
  return absl::StrCat("vmqd ", state.state_id, " ");
}

std::string BootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

std::vector<std::string> RemoveLeftovers(StateStore& store, StateLedger& ledger,
                                         const std::string& bpf_directory) {
  const DesiredState& state = store.state();
  const Site site{.bpf_directory = bpf_directory, .mark = MarkPrefix(state)};
  Names pins;
  Names marks;
  Names devices;
  for (const auto& [id, uplink] : state.uplinks) {
    pins.insert(site.PinOf("uplink", id));
    devices.insert(uplink.config.device);
  }
  for (const auto& [id, port] : state.ports) {
    pins.insert(site.PinOf("port", id));
    marks.insert(site.MarkOf(id));
  }
  std::vector<std::string> done;
  RemovePins(bpf_directory, pins, done);
  DeleteDevices(site.mark, marks, done);
  GiveBack(store, ledger, devices, done);
  return done;
}

std::vector<std::string> GiveAllBack(StateStore& store, StateLedger& ledger,
                                     const std::string& bpf_directory) {
  std::vector<std::string> done;
  RemovePins(bpf_directory, {}, done);
  GiveBack(store, ledger, {}, done);
  return done;
}

std::vector<std::string> CleanUp(StateStore& store, const std::string& bpf_directory) {
  uint64_t revision = store.state().revision;
  StateLedger ledger(store, [&revision] { return ++revision; });
  std::vector<std::string> done;
  RemovePins(bpf_directory, {}, done);
  DeleteDevices(MarkPrefix(store.state()), {}, done);
  GiveBack(store, ledger, {}, done);
  return done;
}

}  // namespace vmqd

#include "daemon/control/ledger.h"

#include <spdlog/spdlog.h>

namespace vmqd {

std::vector<BorrowedSetting> StateLedger::AllBut(std::string_view device,
                                                 std::string_view setting) const {
  std::vector<BorrowedSetting> others = store_.state().borrowed;
  std::erase_if(others, [&](const BorrowedSetting& borrowed) {
    return borrowed.device == device && borrowed.setting == setting;
  });
  return others;
}

absl::Status StateLedger::Record(const BorrowedSetting& setting) {
  // Written down already: a full disk is no reason not to open a device again.
  if (Find(setting.device, setting.setting) == setting) return absl::OkStatus();
  std::vector<BorrowedSetting> all = AllBut(setting.device, setting.setting);
  all.push_back(setting);
  return store_.Commit({.revision = next_revision_(), .borrowed = std::move(all)});
}

void StateLedger::Erase(std::string_view device, std::string_view setting) {
  std::vector<BorrowedSetting> others = AllBut(device, setting);
  if (others.size() == store_.state().borrowed.size()) return;
  const absl::Status status =
      store_.Commit({.revision = next_revision_(), .borrowed = std::move(others)});
  if (status.ok()) return;
  spdlog::warn("{} of {} was put back, which could not be written down: {}", setting, device,
               std::string(status.message()));
}

std::optional<BorrowedSetting> StateLedger::Find(std::string_view device,
                                                 std::string_view setting) const {
  for (const BorrowedSetting& borrowed : store_.state().borrowed) {
    if (borrowed.device == device && borrowed.setting == setting) return borrowed;
  }
  return std::nullopt;
}

std::vector<BorrowedSetting> StateLedger::FindAll(std::string_view device,
                                                  std::string_view kind) const {
  std::vector<BorrowedSetting> found = store_.state().borrowed;
  std::erase_if(found, [&](const BorrowedSetting& borrowed) {
    return borrowed.device != device || !borrowed.setting.starts_with(kind);
  });
  return found;
}

}  // namespace vmqd

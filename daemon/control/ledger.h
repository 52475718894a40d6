// StateLedger: the settings borrowed from devices, kept in the desired state. Called under the
// Switch's mutex, like the store.
#ifndef VMQD_DAEMON_CONTROL_LEDGER_H_
#define VMQD_DAEMON_CONTROL_LEDGER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "daemon/control/state.h"
#include "daemon/xdp/borrowed.h"

namespace vmqd {

class StateLedger final : public SettingsLedger {
 public:
  // `store` must outlive the ledger. `next_revision` gives the revision of each change.
  StateLedger(StateStore& store, std::function<uint64_t()> next_revision)
      : store_(store), next_revision_(std::move(next_revision)) {}

  absl::Status Record(const BorrowedSetting& setting) override;
  void Erase(std::string_view device, std::string_view setting) override;
  std::optional<BorrowedSetting> Find(std::string_view device,
                                      std::string_view setting) const override;
  std::vector<BorrowedSetting> FindAll(std::string_view device,
                                       std::string_view kind) const override;

 private:
  std::vector<BorrowedSetting> AllBut(std::string_view device, std::string_view setting) const;

  StateStore& store_;
  std::function<uint64_t()> next_revision_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_LEDGER_H_

#include "daemon/control/busy_polling.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/control/uplink_runtime.h"
#include "daemon/xdp/napi_delay.h"
#include "daemon/xdp/setting.h"

namespace vmqd {
namespace {

// A NAPI that finds nothing twice leaves its interrupt off for 200 us each time: longer than a
// worker that spins is away, and what a worker that has fallen asleep waits for at most.
constexpr NapiDelay kDelay{.deferrals = 2, .nanoseconds = 200'000};

std::string SettingOf(uint32_t napi) { return absl::StrCat(kDelaySetting, napi); }

}  // namespace

bool BusyPolling::Look(bool wanted, std::vector<QueueRuntime>& queues) {
  if (!wanted && napis_.empty()) return false;
  if (napis_.empty()) settings_.TakeOver(device_, kDelaySetting);
  napis_.resize(queues.size());
  std::map<std::string, std::vector<size_t>> outcomes;
  for (size_t i = 0; i < queues.size(); ++i) {
    QueueRuntime& queue = queues[i];
    const uint32_t napi = queue.socket->NapiId();
    absl::Status status;
    if (!wanted) {
      status = absl::CancelledError("");
    } else if (queue.napi.thread > 0) {
      status = absl::UnavailableError("not busy polled, its NAPI has a thread of its own");
    } else if (napi == 0) {
      status = absl::UnavailableError("not busy polled, its socket has not been told a NAPI");
    } else if (napi != napis_[i]) {
      status = Begin(queue, napi);
    }
    if (!status.ok() && napis_[i] != 0) End(queue);
    napis_[i] = status.ok() ? napi : 0;
    outcomes[status.ok() ? "busy polled" : std::string(status.message())].push_back(i);
  }
  PutBackUnused();
  std::vector<std::string> words;
  for (const auto& [outcome, numbers] : outcomes) {
    if (!wanted) break;
    words.push_back(absl::StrCat(numbers.size() == 1 ? "queue " : "queues ",
                                 absl::StrJoin(numbers, ","), ": ", outcome));
  }
  if (!wanted) napis_.clear();
  std::string now = absl::StrJoin(words, "; ");
  return std::exchange(state_, std::move(now)) != state_;
}

absl::Status BusyPolling::Begin(QueueRuntime& queue, uint32_t napi) {
  if (absl::Status status = Delay(napi); !status.ok()) return status;
  if (absl::Status status = queue.socket->PreferBusyPoll(true); !status.ok()) return status;
  queue.worker->SetBusyPoll(true);
  return absl::OkStatus();
}

void BusyPolling::End(QueueRuntime& queue) {
  queue.worker->SetBusyPoll(false);
  queue.socket->PreferBusyPoll(false).IgnoreError();
}

// Of this NAPI where the kernel has that (Linux 6.13), else of the whole device.
absl::Status BusyPolling::Delay(uint32_t napi) {
  const std::string value = FormatNapiDelay(kDelay);
  const absl::Status status = settings_.Set(device_, SettingOf(napi), value);
  if (!absl::IsUnimplemented(status)) return status;
  return settings_.Set(device_, kDelaySetting, value);
}

// Of queues that are not polled any more, and of NAPIs that are no more.
void BusyPolling::PutBackUnused() {
  for (const BorrowedSetting& held : settings_.Changed(device_, kDelaySetting)) {
    const bool used = std::any_of(napis_.begin(), napis_.end(), [&held](uint32_t napi) {
      return napi != 0 && (held.setting == kDelaySetting || held.setting == SettingOf(napi));
    });
    if (!used) settings_.PutBack(device_, held.setting).IgnoreError();
  }
}

}  // namespace vmqd

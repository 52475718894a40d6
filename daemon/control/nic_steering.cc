#include "daemon/control/nic_steering.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/nic_spread.h"
#include "daemon/xdp/setting.h"

namespace vmqd {
namespace {

// Locally administered, and nobody's.
constexpr NicFilter kProbe{.mac = {{0x02, 'v', 'm', 'q', 'd', 0}}};

constexpr char kNtuple[] = "feature:rx-ntuple-filter";

std::string SettingOf(const NicFilter& filter) {
  return absl::StrCat(kRuleSetting, DescribeFilter(filter));
}

absl::StatusOr<NicFilter> FilterIn(const std::string& setting) {
  return ParseFilter(setting.substr(std::strlen(kRuleSetting)));
}

std::string Sentence(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

absl::Status NicSteering::Start() {
  // A driver may have rules without this switch, so its refusal is not the last word.
  settings_.Set(device_, kNtuple, "on").IgnoreError();
  absl::Status tried = SetRule(device_, kProbe, queues_ - 1);
  if (tried.ok()) tried = RemoveRule(device_, kProbe);
  if (!tried.ok()) {
    settings_.PutBack(device_, kNtuple).IgnoreError();
    return tried;
  }
  settings_.TakeOver(device_, kRuleSetting);
  settings_.TakeOver(device_, kSpreadSetting);
  const auto there = ReadRules(device_);
  if (there.ok()) ForgetLost(*there);
  return there.status();
}

// Rules that were set and are not `there` any more; how many.
size_t NicSteering::ForgetLost(const NicRules& there) {
  size_t lost = 0;
  for (const BorrowedSetting& rule : settings_.Changed(device_, kRuleSetting)) {
    const auto filter = FilterIn(rule.setting);
    const auto found = filter.ok() ? there.find(*filter) : there.end();
    if (found != there.end() && absl::StrCat(found->second) == rule.during) continue;
    settings_.Forget(device_, rule.setting);
    ++lost;
  }
  return lost;
}

void NicSteering::Apply(NicRules wanted) {
  wanted_ = std::move(wanted);
  for (const BorrowedSetting& held : settings_.Changed(device_, kRuleSetting)) {
    const auto filter = FilterIn(held.setting);
    if (filter.ok() && wanted_.contains(*filter)) continue;
    settings_.PutBack(device_, held.setting).IgnoreError();
  }
  SetRules();
}

// What is set already, as far as is known, costs no system call.
void NicSteering::SetRules() {
  std::map<std::string, std::string> held;
  for (const BorrowedSetting& rule : settings_.Changed(device_, kRuleSetting)) {
    held[rule.setting] = rule.during;
  }
  refused_.clear();
  for (const auto& [filter, queue] : wanted_) {
    const std::string setting = SettingOf(filter);
    const auto known = held.find(setting);
    if (known != held.end() && known->second == absl::StrCat(queue)) continue;
    const absl::Status set = settings_.Set(device_, setting, absl::StrCat(queue));
    if (!set.ok()) refused_[filter] = Sentence(set);
  }
  count_ = CountRules(device_).value_or(0);
  const absl::Status spread = SpreadRest();
  spread_trouble_ = spread.ok() || absl::IsUnimplemented(spread) ? "" : Sentence(spread);
}

// The queues over which the NIC spread frames before vmqd changed that.
absl::StatusOr<std::vector<uint32_t>> NicSteering::SpreadAtFirst() const {
  const std::vector<BorrowedSetting> changed = settings_.Changed(device_, kSpreadSetting);
  return changed.empty() ? ReadSpread(device_) : ParseQueues(changed[0].before);
}

// Of these queues, those that no rule feeds.
std::vector<uint32_t> NicSteering::QueuesOfRest(const std::vector<uint32_t>& at_first) const {
  std::set<uint32_t> fed;
  for (const auto& [filter, queue] : wanted_) {
    if (queue != 0 && !refused_.contains(filter)) fed.insert(queue);
  }
  if (fed.empty()) return at_first;
  std::vector<uint32_t> rest;
  std::copy_if(at_first.begin(), at_first.end(), std::back_inserter(rest),
               [&](uint32_t queue) { return queue < queues_ && !fed.contains(queue); });
  if (rest.empty()) rest.push_back(0);  // the default queue
  return rest;
}

absl::Status NicSteering::SpreadRest() {
  const auto at_first = SpreadAtFirst();
  if (!at_first.ok()) return at_first.status();
  const std::vector<uint32_t> rest = QueuesOfRest(*at_first);
  if (rest == *at_first) return settings_.PutBack(device_, kSpreadSetting);
  return settings_.Set(device_, kSpreadSetting, FormatQueues(rest));
}

// The table is what drivers begin with; what somebody set by hand is theirs.
bool NicSteering::SpreadWasReset() const {
  const std::vector<BorrowedSetting> changed = settings_.Changed(device_, kSpreadSetting);
  if (changed.empty()) return false;
  const auto now = ReadSpread(device_);
  if (!now.ok() || FormatQueues(*now) == changed[0].during) return false;
  std::vector<uint32_t> initial(EthtoolReceiveChannels(device_));
  std::iota(initial.begin(), initial.end(), 0U);
  return *now == initial;
}

std::string NicSteering::Check(bool closely) {
  const auto count = CountRules(device_);
  if (!count.ok()) return "";
  size_t lost = 0;
  if (closely || *count != count_) {
    const auto there = ReadRules(device_);
    if (!there.ok()) return "";
    count_ = *count;
    lost = ForgetLost(*there);
  }
  const bool spread = SpreadWasReset();
  if (lost == 0 && !spread) return "";
  if (spread) settings_.Forget(device_, kSpreadSetting);
  SetRules();
  const std::string reason = Reason();
  return absl::StrCat(device_, " had lost ", lost, " of ", wanted_.size(), " rules",
                      spread ? ", and its indirection table" : "", "; ",
                      reason.empty() ? "they are set again" : reason);
}

std::string NicSteering::ReasonFor(const NicFilter& filter) const {
  const auto refused = refused_.find(filter);
  return refused == refused_.end() ? "" : refused->second;
}

std::string NicSteering::Reason() const {
  if (refused_.empty()) return spread_trouble_;
  return absl::StrCat(refused_.size(), " of ", wanted_.size(),
                      " filters have no rule: ", refused_.begin()->second);
}

}  // namespace vmqd

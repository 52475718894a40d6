#include "daemon/control/nic_steering.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
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

std::string SettingOf(const NicQueues& queues) {
  return absl::StrCat(kContextSetting, FormatQueues(queues));
}

absl::StatusOr<NicFilter> FilterIn(const std::string& setting) {
  return ParseFilter(setting.substr(std::strlen(kRuleSetting)));
}

std::string Sentence(const absl::Status& status) { return std::string(status.message()); }

// For which contexts are needed.
std::set<NicQueues> SeveralQueues(const NicRules& rules) {
  std::set<NicQueues> several;
  for (const auto& [filter, queues] : rules) {
    if (queues.size() > 1) several.insert(queues);
  }
  return several;
}

}  // namespace

absl::Status NicSteering::Start() {
  // A driver may have rules without this switch, so its refusal is not the last word.
  settings_.Set(device_, kNtuple, "on").IgnoreError();
  absl::Status tried = SetRule(device_, kProbe, {queues_ - 1});
  if (tried.ok()) tried = RemoveRule(device_, kProbe);
  if (!tried.ok()) {
    settings_.PutBack(device_, kNtuple).IgnoreError();
    return tried;
  }
  settings_.TakeOver(device_, kContextSetting);  // before the rules: put back after them
  settings_.TakeOver(device_, kRuleSetting);
  settings_.TakeOver(device_, kSpreadSetting);
  const auto there = ReadRules(device_);
  if (!there.ok()) return there.status();
  ForgetLost(*there);
  ForgetLostContexts();
  return absl::OkStatus();
}

// Rules that were set and are not `there` any more; how many.
size_t NicSteering::ForgetLost(const NicRules& there) {
  size_t lost = 0;
  for (const BorrowedSetting& rule : settings_.Changed(device_, kRuleSetting)) {
    const auto filter = FilterIn(rule.setting);
    const auto found = filter.ok() ? there.find(*filter) : there.end();
    if (found != there.end() && FormatQueues(found->second) == rule.during) continue;
    settings_.Forget(device_, rule.setting);
    ++lost;
  }
  return lost;
}

void NicSteering::ForgetLostContexts() {
  for (const BorrowedSetting& held : settings_.Changed(device_, kContextSetting)) {
    const auto now = ReadSetting(device_, held.setting);
    if (now.ok() && *now != held.during) settings_.Forget(device_, held.setting);
  }
}

void NicSteering::Apply(NicRules wanted) {
  wanted_ = std::move(wanted);
  for (const BorrowedSetting& held : settings_.Changed(device_, kRuleSetting)) {
    const auto filter = FilterIn(held.setting);
    if (filter.ok() && wanted_.contains(*filter)) continue;
    settings_.PutBack(device_, held.setting).IgnoreError();
  }
  DropContexts();  // for others, where there is room for few
  SetRules();
}

// Those that are wanted; which could not be had, and why not.
std::map<NicQueues, absl::Status> NicSteering::MakeContexts() {
  std::map<NicQueues, absl::Status> missing;
  std::set<std::string> held;
  for (const BorrowedSetting& context : settings_.Changed(device_, kContextSetting)) {
    held.insert(context.setting);
  }
  for (const NicQueues& queues : SeveralQueues(wanted_)) {
    const std::string setting = SettingOf(queues);
    if (held.contains(setting)) continue;
    const absl::Status set = settings_.Set(device_, setting, kThere);
    if (!set.ok()) missing[queues] = set;
  }
  return missing;
}

// Those that are not wanted, unless a rule still names them.
void NicSteering::DropContexts() {
  std::set<std::string> wanted;
  for (const NicQueues& queues : SeveralQueues(wanted_)) wanted.insert(SettingOf(queues));
  for (const BorrowedSetting& rule : settings_.Changed(device_, kRuleSetting)) {
    wanted.insert(absl::StrCat(kContextSetting, rule.during));
  }
  for (const BorrowedSetting& held : settings_.Changed(device_, kContextSetting)) {
    if (!wanted.contains(held.setting)) settings_.PutBack(device_, held.setting).IgnoreError();
  }
}

// What is set already, as far as is known, costs no system call.
void NicSteering::SetRules() {
  std::map<std::string, std::string> held;
  for (const BorrowedSetting& rule : settings_.Changed(device_, kRuleSetting)) {
    held[rule.setting] = rule.during;
  }
  const std::map<NicQueues, absl::Status> no_context = MakeContexts();
  refused_.clear();
  for (const auto& [filter, queues] : wanted_) {
    const std::string setting = SettingOf(filter);
    const std::string value = FormatQueues(queues);
    const auto known = held.find(setting);
    if (known != held.end() && known->second == value) continue;
    if (const auto missing = no_context.find(queues); missing != no_context.end()) {
      refused_[filter] = absl::StrCat(Sentence(missing->second), "; so the hash spreads its flows");
      continue;
    }
    const absl::Status set = settings_.Set(device_, setting, value);
    if (!set.ok()) refused_[filter] = Sentence(set);
  }
  DropContexts();
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
  for (const auto& [filter, queues] : wanted_) {
    if (!refused_.contains(filter)) fed.insert(queues.begin(), queues.end());
  }
  fed.erase(0);  // the default queue
  // A VM with several queues and no rule has its flows spread with the rest: over its queues, too.
  for (const auto& [filter, queues] : wanted_) {
    if (!refused_.contains(filter) || queues.size() == 1) continue;
    for (uint32_t queue : queues) fed.erase(queue);
  }
  if (fed.empty()) return at_first;
  std::vector<uint32_t> rest;
  std::copy_if(at_first.begin(), at_first.end(), std::back_inserter(rest),
               [&](uint32_t queue) { return queue < queues_ && !fed.contains(queue); });
  if (rest.empty()) rest.push_back(0);
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
  return *now == InitialSpread(device_);
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
    ForgetLostContexts();
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

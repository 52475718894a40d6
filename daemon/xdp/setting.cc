#include "daemon/xdp/setting.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "daemon/xdp/affinity.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/napi_delay.h"
#include "daemon/xdp/nic_channels.h"
#include "daemon/xdp/nic_contexts.h"
#include "daemon/xdp/nic_rules.h"
#include "daemon/xdp/nic_spread.h"

namespace vmqd {
namespace {

// What follows `kind` in `setting`.
std::optional<std::string> After(std::string_view kind, const std::string& setting) {
  if (!setting.starts_with(kind)) return std::nullopt;
  return setting.substr(kind.size());
}

std::optional<int> NumberAfter(std::string_view kind, const std::string& setting) {
  const auto text = After(kind, setting);
  int number = 0;
  if (!text || !absl::SimpleAtoi(*text, &number) || number < 0) return std::nullopt;
  return number;
}

// Of a delay: the NAPI instance, or 0 for the device.
std::optional<uint32_t> NapiIn(const std::string& setting) {
  if (setting == kDelaySetting) return 0;
  const auto napi = NumberAfter(kDelaySetting, setting);
  return napi ? std::optional<uint32_t>(*napi) : std::nullopt;
}

absl::Status NotASetting(const std::string& setting) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", setting, "\" is no setting that vmqd borrows"));
}

// As the kernel writes lists of CPUs. `cpus` are ascending.
std::string FormatCpus(const std::vector<int>& cpus) {
  std::string list;
  for (size_t first = 0, last = 0; first < cpus.size(); first = last + 1) {
    for (last = first; last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1;) ++last;
    absl::StrAppend(&list, list.empty() ? "" : ",", cpus[first]);
    if (last > first) absl::StrAppend(&list, "-", cpus[last]);
  }
  return list;
}

absl::StatusOr<std::vector<int>> ParseCpus(const std::string& list) {
  std::vector<int> cpus;
  for (const auto part : absl::StrSplit(list, ',')) {
    const std::vector<std::string> ends = absl::StrSplit(part, '-');
    int first = 0;
    int last = 0;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
        !absl::SimpleAtoi(ends.back(), &last) || first < 0 || last < first || last > 1 << 16) {
      return absl::InvalidArgumentError(absl::StrCat("\"", list, "\" is no list of CPUs"));
    }
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

absl::StatusOr<std::string> ReadRule(const std::string& device, const std::string& name) {
  auto filter = ParseFilter(name);
  if (!filter.ok()) return filter.status();
  auto queues = RuleQueues(device, *filter);
  if (!queues.ok()) return queues.status();
  return *queues ? FormatQueues(**queues) : kNone;
}

absl::Status WriteRule(const std::string& device, const std::string& name,
                       const std::string& value) {
  auto filter = ParseFilter(name);
  if (!filter.ok()) return filter.status();
  if (value == kNone) return RemoveRule(device, *filter);
  auto queues = ParseQueues(value);
  if (!queues.ok()) return queues.status();
  return SetRule(device, *filter, *queues);
}

absl::StatusOr<std::string> ReadContext(const std::string& device, const std::string& list) {
  auto queues = ParseQueues(list);
  if (!queues.ok()) return queues.status();
  auto context = FindContext(device, *queues);
  if (!context.ok()) return context.status();
  return *context ? kThere : kNone;
}

absl::Status WriteContext(const std::string& device, const std::string& list,
                          const std::string& value) {
  auto queues = ParseQueues(list);
  if (!queues.ok()) return queues.status();
  return value == kThere ? MakeContext(device, *queues) : RemoveContext(device, *queues);
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ParseQueues(const std::string& list) {
  std::vector<uint32_t> queues;
  for (const auto part : absl::StrSplit(list, ',')) {
    if (!absl::SimpleAtoi(part, &queues.emplace_back())) {
      return absl::InvalidArgumentError(absl::StrCat("\"", list, "\" is no list of queues"));
    }
  }
  return queues;
}

std::string FormatQueues(const std::vector<uint32_t>& queues) { return absl::StrJoin(queues, ","); }

absl::StatusOr<std::string> ReadSetting(const std::string& device, const std::string& setting) {
  if (const auto name = After(kFeatureSetting, setting)) {
    auto feature = GetFeature(device, *name);
    if (!feature.ok()) return feature.status();
    if (feature->known) return feature->active ? "on" : "off";
    return absl::NotFoundError(absl::StrCat("this kernel has no feature ", *name));
  }
  if (const auto irq = NumberAfter(kIrqSetting, setting)) return IrqCpuList(*irq);
  if (const auto thread = NumberAfter(kThreadSetting, setting)) {
    auto cpus = ThreadCpus(*thread);
    if (!cpus.ok()) return cpus.status();
    return FormatCpus(*cpus);
  }
  if (const auto filter = After(kRuleSetting, setting)) return ReadRule(device, *filter);
  if (const auto queues = After(kContextSetting, setting)) return ReadContext(device, *queues);
  if (setting == kSpreadSetting) {
    auto queues = ReadSpread(device);
    if (!queues.ok()) return queues.status();
    return FormatQueues(*queues);
  }
  if (setting == kChannelSetting) {
    auto channels = ReadChannels(device);
    if (!channels.ok()) return channels.status();
    return FormatChannels(channels->now);
  }
  if (const auto napi = NapiIn(setting)) {
    auto delay = ReadNapiDelay(device, *napi);
    if (!delay.ok()) return delay.status();
    return FormatNapiDelay(*delay);
  }
  return NotASetting(setting);
}

absl::Status WriteSetting(const std::string& device, const std::string& setting,
                          const std::string& value) {
  if (const auto name = After(kFeatureSetting, setting)) {
    return SetFeature(device, *name, value == "on");
  }
  if (const auto irq = NumberAfter(kIrqSetting, setting)) return SetIrqCpuList(*irq, value);
  if (const auto thread = NumberAfter(kThreadSetting, setting)) {
    auto cpus = ParseCpus(value);
    if (!cpus.ok()) return cpus.status();
    return SetThreadCpus(*thread, *cpus);
  }
  if (const auto filter = After(kRuleSetting, setting)) return WriteRule(device, *filter, value);
  if (const auto queues = After(kContextSetting, setting)) {
    return WriteContext(device, *queues, value);
  }
  if (setting == kSpreadSetting) {
    auto queues = ParseQueues(value);
    if (!queues.ok()) return queues.status();
    return WriteSpread(device, *queues);
  }
  if (setting == kChannelSetting) {
    auto counts = ParseChannels(value);
    if (!counts.ok()) return counts.status();
    return WriteChannels(device, *counts);
  }
  if (const auto napi = NapiIn(setting)) {
    auto delay = ParseNapiDelay(value);
    if (!delay.ok()) return delay.status();
    return WriteNapiDelay(device, *napi, *delay);
  }
  return NotASetting(setting);
}

std::string DescribeSetting(const std::string& setting, const std::string& before,
                            const std::string& during) {
  const std::string change = absl::StrCat(before, " -> ", during);
  if (const auto name = After(kFeatureSetting, setting)) return absl::StrCat(*name, ": ", change);
  if (const auto irq = After(kIrqSetting, setting)) {
    return absl::StrCat("irq ", *irq, ": CPU ", change);
  }
  if (const auto thread = After(kThreadSetting, setting)) {
    return absl::StrCat("NAPI thread ", *thread, ": CPU ", change);
  }
  if (const auto filter = After(kRuleSetting, setting)) {
    return absl::StrCat("rule for ", *filter, ": ", before, " -> ", during == kNone ? "" : "queue ",
                        during);
  }
  if (const auto queues = After(kContextSetting, setting)) {
    return absl::StrCat("RSS context over queues ", *queues, ": ", change);
  }
  if (setting == kSpreadSetting) return absl::StrCat("hash spreads over queues ", change);
  if (setting == kChannelSetting) return absl::StrCat("queues: ", change);
  if (const auto napi = NapiIn(setting)) {
    const std::string whose = *napi == 0 ? "" : absl::StrCat("NAPI ", *napi, ": ");
    return absl::StrCat(whose, "interrupts deferred: ", change);
  }
  return absl::StrCat(setting, ": ", change);
}

bool IsStillThere(const std::string& setting) {
  const auto thread = NumberAfter(kThreadSetting, setting);
  if (!thread) return true;
  std::ifstream file(absl::StrCat("/proc/", *thread, "/comm"));
  std::string name;
  return std::getline(file, name) && name.starts_with("napi/");
}

}  // namespace vmqd

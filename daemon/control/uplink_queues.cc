#include "daemon/control/uplink_queues.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "bpf/abi.h"
#include "daemon/control/error.h"
#include "daemon/xdp/nic_channels.h"
#include "daemon/xdp/setting.h"

namespace vmqd {
namespace {

absl::Status RefuseQueues(std::string_view reason, const std::string& sentence) {
  return Refuse(absl::StatusCode::kFailedPrecondition, reason, "uplink.queues", sentence);
}

// "8 queues asked for, eth1 has 4 ": what follows says why it stays at that.
std::string Asked(const UplinkConfig& config, const Link& link) {
  return absl::StrCat(config.queues, " queues asked for, ", config.device, " has ", link.queues,
                      " ");
}

absl::Status CheckMost(const UplinkConfig& config, const Link& link) {
  const auto channels = ReadChannels(link.name);
  // A tap tells how many it has, but only who opens it can give it others.
  if (absl::IsUnimplemented(channels.status()) || link.kind == "tun") {
    return RefuseQueues("QUEUE_OUT_OF_RANGE",
                        absl::StrCat(Asked(config, link), "and its driver gives it no others (",
                                     "ethtool -L says so); ask for fewer, or for 0, which is all"));
  }
  if (!channels.ok()) return channels.status();
  if (config.queues <= channels->MostQueues()) return absl::OkStatus();
  return RefuseQueues(
      "QUEUE_OUT_OF_RANGE",
      absl::StrCat(Asked(config, link), "and can have ", channels->MostQueues(), " (ethtool -l ",
                   config.device, "); ask for no more, or for 0, which is all it has"));
}

// As many as it had before vmqd changed that.
uint32_t QueuesAtFirst(const Link& link, const SettingsLedger* ledger) {
  const auto borrowed = ledger == nullptr ? std::nullopt : ledger->Find(link.name, kChannelSetting);
  if (!borrowed) return link.queues;
  const auto during = ParseChannels(borrowed->during);
  const auto before = ParseChannels(borrowed->before);
  const bool still = during.ok() && before.ok() && QueuesOf(*during) == link.queues;
  return still ? QueuesOf(*before) : link.queues;
}

// What the kernel's own words leave out.
std::string Cure(const Link& link, uint32_t queues) {
  if (link.kind != "veth" || queues >= link.queues) return "";
  return absl::StrCat(
      "; with an XDP program a veth receives on at least as many queues as its "
      "peer sends on: have the peer send on ",
      queues, " first (ethtool -L PEER tx ", queues, ")");
}

}  // namespace

absl::StatusOr<uint32_t> QueuesFor(const UplinkConfig& config, const Link& link,
                                   const SettingsLedger* ledger) {
  if (config.queues == 0) return std::min<uint32_t>(QueuesAtFirst(link, ledger), VMQD_MAX_QUEUES);
  if (config.queues > link.queues) {
    if (absl::Status status = CheckMost(config, link); !status.ok()) return status;
  }
  return config.queues;
}

absl::StatusOr<uint32_t> ArrangeQueues(const UplinkConfig& config, const Link& link,
                                       const SettingsLedger* ledger, DeviceSettings& settings) {
  const auto queues = QueuesFor(config, link, ledger);
  if (!queues.ok()) return queues.status();
  settings.TakeOver(link.name, kChannelSetting);
  absl::Status status;
  const auto channels = ReadChannels(link.name);
  if (config.queues == 0) {
    status = settings.PutBack(link.name, kChannelSetting);
  } else if (channels.ok() && QueuesOf(channels->now) != *queues) {
    const std::string wanted = FormatChannels(channels->ForQueues(*queues));
    const auto changed = settings.Changed(link.name, kChannelSetting);
    status = !changed.empty() && changed[0].before == wanted
                 ? settings.PutBack(link.name, kChannelSetting)
                 : settings.Set(link.name, kChannelSetting, wanted);
  }
  const bool has_as_many = *queues <= link.queues;
  if (status.ok() || (absl::IsUnimplemented(status) && has_as_many)) return *queues;
  return RefuseQueues("QUEUES_REFUSED",
                      absl::StrCat(std::string(status.message()), Cure(link, *queues)));
}

}  // namespace vmqd

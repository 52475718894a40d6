// The device's offloads: what vmqd turns off while it has the device, and how frames are sorted
// into queues.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/doctor/checks.h"

namespace vmqd::doctor {
namespace {

// One finding about a group of features that XDP does not get along with.
void CheckTurnedOff(const std::string& device, const std::string& name, const std::string& why,
                    const std::vector<std::string>& features, Report& report) {
  std::vector<std::string> active;
  std::vector<std::string> fixed;
  for (const std::string& feature : features) {
    auto found = GetFeature(device, feature);
    if (!found.ok()) {
      report.Note(name, absl::StrCat("not known: ", found.status().message()), "");
      return;
    }
    if (!found->active) continue;
    (found->changeable ? active : fixed).push_back(feature);
  }
  if (!fixed.empty()) {
    report.Problem(name, absl::StrCat("fixed on: ", absl::StrJoin(fixed, ", "), "; ", why),
                   "this device cannot be attached");
  } else if (!active.empty()) {
    report.Note(name, absl::StrCat("on: ", absl::StrJoin(active, ", "), "; ", why),
                "nothing to do: vmqd turns it off while it has the device, and on again after");
  } else {
    report.Ok(name, "off");
  }
}

void CheckNtuple(const DeviceFacts& device, Report& report) {
  const auto filter = GetFeature(device.link.name, "rx-ntuple-filter");
  if (!filter.ok()) {
    report.Note("ntuple", absl::StrCat("not known: ", filter.status().message()), "");
  } else if (!filter->known || (!filter->active && !filter->changeable)) {
    report.Note("ntuple", "the device has no filters that send a MAC address to a queue",
                "nothing to do: workers hand frames to their home queue (steering software)");
  } else if (!filter->active) {
    report.Note("ntuple", "filters that send a MAC address to a queue are off",
                "nothing to do: vmqd turns them on with steering hardware");
  } else {
    report.Ok("ntuple",
              absl::StrCat("filters are on",
                           device.rules ? absl::StrCat(", ", *device.rules, " set") : ""));
  }
}

void CheckRss(const DeviceFacts& device, Report& report) {
  if (!device.rss_queues) {
    report.Note("rss", "not known: the driver does not say how it spreads frames over queues", "");
  } else if (*device.rss_queues < device.link.queues) {
    report.Note("rss",
                absl::StrCat("frames are spread over ", *device.rss_queues, " of ",
                             device.link.queues, " queues"),
                absl::StrCat("ethtool -X ", device.link.name, " equal ", device.link.queues,
                             ", unless filters feed the others"));
  } else {
    report.Ok("rss", absl::StrCat("frames are spread over ", *device.rss_queues, " queues"));
  }
}

}  // namespace

std::vector<Finding> CheckDeviceOffloads(const DeviceFacts& device) {
  Report report(device.link.name);
  CheckTurnedOff(device.link.name, "vlan-offload", "XDP would not see the tag",
                 {"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"}, report);
  CheckTurnedOff(device.link.name, "lro", "XDP would see frames glued together", {"rx-lro"},
                 report);
  CheckTurnedOff(device.link.name, "gro-hw", "XDP would see frames glued together", {"rx-gro-hw"},
                 report);
  CheckNtuple(device, report);
  CheckRss(device, report);
  return report.Take();
}

}  // namespace vmqd::doctor

// Receive rules of a NIC, set through ethtool's ntuple interface: frames for a destination MAC, and
// perhaps on a VLAN, are received on one queue, or on one of several that the NIC chooses by the
// hash of their flow. Then the rule has FLOW_RSS and names an RSS context (nic_contexts.h); what
// the context's table says is added to the rule's own queue, which is 0.
//
// What drivers differ in (nic_quirks.h) is tried, not looked up by name, and every rule is read
// back: some drivers take what they do not do.
//
// Control threads, in the device's network namespace; blocking. No state: the NIC has it.
#ifndef VMQD_DAEMON_XDP_NIC_RULES_H_
#define VMQD_DAEMON_XDP_NIC_RULES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/net/mac_address.h"

namespace vmqd {

// VLAN 0: any, frames without a tag among them. Where two rules match, that with a VLAN is placed
// so that it comes first.
struct NicFilter {
  MacAddress mac;
  uint32_t vlan = 0;
  friend auto operator<=>(const NicFilter&, const NicFilter&) = default;
};

// Ascending. Not empty.
using NicQueues = std::vector<uint32_t>;
using NicRules = std::map<NicFilter, NicQueues>;

// "02:00:00:00:00:01", "02:00:00:00:00:01 vlan 20".
std::string DescribeFilter(const NicFilter& filter);
absl::StatusOr<NicFilter> ParseFilter(const std::string& text);

// The queues to which a rule sends what `filter` says; nothing when there is no rule for it.
// kFailedPrecondition: there is one that does something else with it. kUnimplemented, here and
// below: the device has no rules.
absl::StatusOr<std::optional<NicQueues>> RuleQueues(const std::string& device,
                                                    const NicFilter& filter);

// Adds the rule, or changes its queues. What the kernel refuses is told with what drivers mean by
// it: kUnavailable (busy) while AF_XDP sockets are bound, kResourceExhausted (full), ...
// kNotFound: several queues, over which there is no context.
absl::Status SetRule(const std::string& device, const NicFilter& filter, const NicQueues& queues);

// Nothing when there is none.
absl::Status RemoveRule(const std::string& device, const NicFilter& filter);

// All rules for a MAC address, with or without a VLAN, that send frames to queues.
absl::StatusOr<NicRules> ReadRules(const std::string& device);

// How many rules the NIC has, whoever made them.
absl::StatusOr<uint32_t> CountRules(const std::string& device);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NIC_RULES_H_

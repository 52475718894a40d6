// The receive rules of a NIC as ethtool has them: what nic_rules.cc looks at before it changes one.
// Control threads, in the device's network namespace; blocking.
#ifndef VMQD_DAEMON_XDP_NIC_RULE_TABLE_H_
#define VMQD_DAEMON_XDP_NIC_RULE_TABLE_H_

#include <linux/ethtool.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/xdp/nic_rules.h"

namespace vmqd {

struct NicRule {
  ethtool_rx_flow_spec spec{};
  uint32_t context = 0;  // with FLOW_RSS

  // What the rule is for, when that is a MAC address, perhaps with a VLAN, and nothing else.
  std::optional<NicFilter> Filter() const;
  bool NamesContext() const { return (spec.flow_type & FLOW_RSS) != 0; }
};

// The rules of a NIC at one moment.
struct NicRuleTable {
  uint32_t places = 0;
  bool driver_places = false;  // quirk: the driver, and nobody else, chooses the place of a rule
  std::vector<NicRule> rules;

  const NicRule* Find(const NicFilter& filter) const;  // null: there is none
  // For one more rule. The first rule that matches counts, so those with a VLAN go to the lower
  // half of the table. `places`: none is free.
  uint32_t FreePlace(bool with_vlan) const;
};

absl::StatusOr<NicRuleTable> ReadRuleTable(const std::string& device);

// The rule at one place; nothing when there is none.
std::optional<NicRule> ReadRuleAt(const std::string& device, uint32_t place);

// An errno, and what drivers mean by it. 0: OK.
absl::Status RuleRefusal(int error, const std::string& attempted);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NIC_RULE_TABLE_H_

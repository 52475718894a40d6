#include "daemon/xdp/nic_rule_table.h"

#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/netlink_socket.h"
#include "daemon/xdp/nic_quirks.h"

namespace vmqd {
namespace {

constexpr uint16_t kVlanIds = 0x0fff;

bool HasVlan(const ethtool_rx_flow_spec& rule) {
  return (rule.flow_type & FLOW_EXT) != 0 && rule.m_ext.vlan_tci != 0;
}

}  // namespace

absl::Status RuleRefusal(int error, const std::string& attempted) {
  return KernelRefusal({.error = error}, attempted, MeaningOf(error, kRuleRefusals));
}

std::optional<NicFilter> NicRule::Filter() const {
  if ((spec.flow_type & ~(FLOW_EXT | FLOW_RSS)) != ETHER_FLOW) return std::nullopt;
  const ethhdr& mask = spec.m_u.ether_spec;
  const auto zero = [](uint8_t byte) { return byte == 0; };
  const auto whole = [](uint8_t byte) { return byte == 0xff; };
  if (!std::all_of(std::begin(mask.h_dest), std::end(mask.h_dest), whole) || mask.h_proto != 0 ||
      !std::all_of(std::begin(mask.h_source), std::end(mask.h_source), zero)) {
    return std::nullopt;
  }
  NicFilter filter{.mac = MacAddress::FromWire(spec.h_u.ether_spec.h_dest)};
  if (HasVlan(spec)) filter.vlan = ntohs(spec.h_ext.vlan_tci) & kVlanIds;
  return filter;
}

const NicRule* NicRuleTable::Find(const NicFilter& filter) const {
  for (const NicRule& rule : rules) {
    if (rule.Filter() == filter) return &rule;
  }
  return nullptr;
}

// From the end, as ethtool does: who wants a rule to come first chooses a low place.
uint32_t NicRuleTable::FreePlace(bool with_vlan) const {
  std::set<uint32_t> taken;
  for (const NicRule& rule : rules) taken.insert(rule.spec.location);
  const uint32_t start = with_vlan ? places / 2 : places;
  for (uint32_t i = 0; i < places; ++i) {
    const uint32_t place = (start + places - 1 - i) % places;
    if (!taken.contains(place)) return place;
  }
  return places;
}

std::optional<NicRule> ReadRuleAt(const std::string& device, uint32_t place) {
  ethtool_rxnfc one{.cmd = ETHTOOL_GRXCLSRULE};
  one.fs.location = place;
  if (EthtoolCall(device, &one) != 0) return std::nullopt;
  return NicRule{.spec = one.fs, .context = one.rss_context};
}

absl::StatusOr<NicRuleTable> ReadRuleTable(const std::string& device) {
  const std::string attempted = absl::StrCat("reading the receive rules of device ", device);
  ethtool_rxnfc count{.cmd = ETHTOOL_GRXCLSRLCNT};
  if (const int error = EthtoolCall(device, &count); error != 0)
    return RuleRefusal(error, attempted);
  NicRuleTable table;
  table.driver_places = (count.data & RX_CLS_LOC_SPECIAL) != 0;
  CommandBuffer<ethtool_rxnfc, uint32_t> all(ETHTOOL_GRXCLSRLALL, count.rule_cnt);
  all.get()->rule_cnt = count.rule_cnt;
  if (const int error = EthtoolCall(device, all.get()); error != 0) {
    return RuleRefusal(error, attempted);
  }
  table.places = static_cast<uint32_t>(all.get()->data);
  for (uint32_t i = 0; i < std::min(all.get()->rule_cnt, count.rule_cnt); ++i) {
    // One that went in between is as if it had never been.
    if (auto rule = ReadRuleAt(device, all.get()->rule_locs[i])) table.rules.push_back(*rule);
  }
  return table;
}

}  // namespace vmqd

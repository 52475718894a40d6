// Rules over the ethtool ioctl; the contract is in the header.
#include "daemon/xdp/nic_rules.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/netlink_socket.h"

namespace vmqd {
namespace {

constexpr uint16_t kVlanIds = 0x0fff;

// Quirk: the mask of a VLAN that a driver takes, the id alone or the whole tag; tried in order.
constexpr std::array<uint16_t, 2> kVlanMasks = {kVlanIds, 0xffff};

// Quirk: what drivers mean by an errno.
struct Refusal {
  int error;
  const char* meaning;
};
constexpr std::array<Refusal, 4> kRefusals = {{
    {EOPNOTSUPP, "its driver has no rules that send a MAC address to a queue"},
    {EBUSY, "some drivers take no rule while AF_XDP sockets are bound to the device"},
    {ENOSPC, "its table of rules is full"},
    {EINVAL, "its driver does not take a rule of this form"},
}};

absl::Status Refused(int error, const std::string& attempted) {
  const auto* known = std::find_if(kRefusals.begin(), kRefusals.end(),
                                   [error](const Refusal& item) { return item.error == error; });
  return KernelRefusal({.error = error}, attempted, known == kRefusals.end() ? "" : known->meaning);
}

std::string Attempt(std::string_view what, const std::string& device) {
  return absl::StrCat(std::string(what), " of device ", device);
}

// The rules of a NIC at one moment.
struct Table {
  uint32_t places = 0;
  bool driver_places = false;  // quirk: the driver, and nobody else, chooses the place of a rule
  std::vector<ethtool_rx_flow_spec> rules;

  const ethtool_rx_flow_spec* Find(const NicFilter& filter) const;
  uint32_t FreePlace(bool with_vlan) const;
};

bool HasVlan(const ethtool_rx_flow_spec& rule) {
  return (rule.flow_type & FLOW_EXT) != 0 && rule.m_ext.vlan_tci != 0;
}

// What the rule is for, when that is a MAC address, perhaps with a VLAN, and nothing else.
std::optional<NicFilter> FilterOf(const ethtool_rx_flow_spec& rule) {
  if ((rule.flow_type & ~(FLOW_EXT | FLOW_RSS)) != ETHER_FLOW) return std::nullopt;
  const ethhdr& mask = rule.m_u.ether_spec;
  const auto zero = [](uint8_t byte) { return byte == 0; };
  const auto whole = [](uint8_t byte) { return byte == 0xff; };
  if (!std::all_of(std::begin(mask.h_dest), std::end(mask.h_dest), whole) || mask.h_proto != 0 ||
      !std::all_of(std::begin(mask.h_source), std::end(mask.h_source), zero)) {
    return std::nullopt;
  }
  NicFilter filter{.mac = MacAddress::FromWire(rule.h_u.ether_spec.h_dest)};
  if (HasVlan(rule)) filter.vlan = ntohs(rule.h_ext.vlan_tci) & kVlanIds;
  return filter;
}

bool GoesToOneQueue(const ethtool_rx_flow_spec& rule) {
  return (rule.flow_type & FLOW_RSS) == 0 && rule.ring_cookie < UINT32_MAX;
}

const ethtool_rx_flow_spec* Table::Find(const NicFilter& filter) const {
  for (const ethtool_rx_flow_spec& rule : rules) {
    if (FilterOf(rule) == filter) return &rule;
  }
  return nullptr;
}

// The first rule that matches counts, so those with a VLAN go to the lower half of the table. From
// the end, as ethtool does: who wants a rule to come first chooses a low place. `places`: none.
uint32_t Table::FreePlace(bool with_vlan) const {
  std::set<uint32_t> taken;
  for (const ethtool_rx_flow_spec& rule : rules) taken.insert(rule.location);
  const uint32_t start = with_vlan ? places / 2 : places;
  for (uint32_t i = 0; i < places; ++i) {
    const uint32_t place = (start + places - 1 - i) % places;
    if (!taken.contains(place)) return place;
  }
  return places;
}

absl::StatusOr<Table> ReadTable(const std::string& device) {
  const std::string attempted = Attempt("reading the receive rules", device);
  ethtool_rxnfc count{.cmd = ETHTOOL_GRXCLSRLCNT};
  if (const int error = EthtoolCall(device, &count); error != 0) return Refused(error, attempted);
  Table table;
  table.driver_places = (count.data & RX_CLS_LOC_SPECIAL) != 0;
  CommandBuffer<ethtool_rxnfc, uint32_t> all(ETHTOOL_GRXCLSRLALL, count.rule_cnt);
  all.get()->rule_cnt = count.rule_cnt;
  if (const int error = EthtoolCall(device, all.get()); error != 0) {
    return Refused(error, attempted);
  }
  table.places = static_cast<uint32_t>(all.get()->data);
  for (uint32_t i = 0; i < std::min(all.get()->rule_cnt, count.rule_cnt); ++i) {
    ethtool_rxnfc one{.cmd = ETHTOOL_GRXCLSRULE};
    one.fs.location = all.get()->rule_locs[i];
    // One that went in between is as if it had never been.
    if (EthtoolCall(device, &one) == 0) table.rules.push_back(one.fs);
  }
  return table;
}

ethtool_rxnfc RuleFor(const NicFilter& filter, uint32_t queue, uint16_t vlan_mask) {
  ethtool_rxnfc rule{.cmd = ETHTOOL_SRXCLSRLINS};
  rule.fs.flow_type = ETHER_FLOW;
  std::memcpy(rule.fs.h_u.ether_spec.h_dest, filter.mac.bytes.data(), 6);
  std::memset(rule.fs.m_u.ether_spec.h_dest, 0xff, 6);
  if (filter.vlan != 0) {
    rule.fs.flow_type |= FLOW_EXT;
    rule.fs.h_ext.vlan_tci = htons(static_cast<uint16_t>(filter.vlan));
    rule.fs.m_ext.vlan_tci = htons(vlan_mask);
  }
  rule.fs.ring_cookie = queue;
  return rule;
}

int Insert(const std::string& device, const NicFilter& filter, uint32_t queue, uint32_t place) {
  int error = 0;
  for (const uint16_t mask : kVlanMasks) {
    ethtool_rxnfc rule = RuleFor(filter, queue, mask);
    rule.fs.location = place;
    error = EthtoolCall(device, &rule);
    if (filter.vlan == 0 || (error != EINVAL && error != EOPNOTSUPP)) break;
  }
  return error;
}

int Delete(const std::string& device, uint32_t place) {
  ethtool_rxnfc rule{.cmd = ETHTOOL_SRXCLSRLDEL};
  rule.fs.location = place;
  return EthtoolCall(device, &rule);
}

absl::StatusOr<std::optional<uint32_t>> QueueIn(const Table& table, const std::string& device,
                                                const NicFilter& filter) {
  const ethtool_rx_flow_spec* rule = table.Find(filter);
  if (rule == nullptr) return std::nullopt;
  if (!GoesToOneQueue(*rule)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "somebody has a rule for ", DescribeFilter(filter), " on ", device,
        " that sends it to no single queue; ethtool -N ", device, " delete ", rule->location));
  }
  return static_cast<uint32_t>(rule->ring_cookie);
}

}  // namespace

std::string DescribeFilter(const NicFilter& filter) {
  return filter.vlan == 0 ? filter.mac.ToString()
                          : absl::StrCat(filter.mac.ToString(), " vlan ", filter.vlan);
}

absl::StatusOr<NicFilter> ParseFilter(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(" vlan ", 1));
  auto mac = MacAddress::Parse(parts[0]);
  if (!mac.ok()) return mac.status();
  NicFilter filter{.mac = *mac};
  if (parts.size() > 1 && !absl::SimpleAtoi(parts[1], &filter.vlan)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" names no VLAN"));
  }
  return filter;
}

absl::StatusOr<std::optional<uint32_t>> RuleQueue(const std::string& device,
                                                  const NicFilter& filter) {
  auto table = ReadTable(device);
  if (!table.ok()) return table.status();
  return QueueIn(*table, device, filter);
}

absl::Status SetRule(const std::string& device, const NicFilter& filter, uint32_t queue) {
  const std::string attempted =
      Attempt(absl::StrCat("sending ", DescribeFilter(filter), " to queue ", queue), device);
  auto table = ReadTable(device);
  if (!table.ok()) return table.status();
  const ethtool_rx_flow_spec* old = table->Find(filter);
  uint32_t place = RX_CLS_LOC_ANY;
  if (!table->driver_places) {
    place = old != nullptr ? old->location : table->FreePlace(filter.vlan != 0);
    if (place == table->places) return Refused(ENOSPC, attempted);
  }
  // Where the driver chooses the place, the old rule has to make room first: it may refuse a second
  // one for the same frames.
  if (table->driver_places && old != nullptr) Delete(device, old->location);
  if (const int error = Insert(device, filter, queue, place); error != 0) {
    return Refused(error, attempted);
  }
  auto now = RuleQueue(device, filter);
  if (!now.ok()) return now.status();
  if (*now == queue) return absl::OkStatus();
  RemoveRule(device, filter).IgnoreError();
  return absl::UnimplementedError(
      absl::StrCat(attempted, ": the driver says it is done, but the rule does not read back"));
}

absl::Status RemoveRule(const std::string& device, const NicFilter& filter) {
  auto table = ReadTable(device);
  if (!table.ok()) return table.status();
  const ethtool_rx_flow_spec* rule = table->Find(filter);
  if (rule == nullptr) return absl::OkStatus();
  return Refused(Delete(device, rule->location),
                 Attempt(absl::StrCat("removing the rule for ", DescribeFilter(filter)), device));
}

absl::StatusOr<NicRules> ReadRules(const std::string& device) {
  auto table = ReadTable(device);
  if (!table.ok()) return table.status();
  NicRules rules;
  for (const ethtool_rx_flow_spec& rule : table->rules) {
    const auto filter = FilterOf(rule);
    if (filter && GoesToOneQueue(rule)) rules[*filter] = static_cast<uint32_t>(rule.ring_cookie);
  }
  return rules;
}

absl::StatusOr<uint32_t> CountRules(const std::string& device) {
  ethtool_rxnfc count{.cmd = ETHTOOL_GRXCLSRLCNT};
  const int error = EthtoolCall(device, &count);
  if (error != 0) return Refused(error, Attempt("counting the receive rules", device));
  return count.rule_cnt;
}

}  // namespace vmqd

// Rules over the ethtool ioctl; the contract is in the header.
#include "daemon/xdp/nic_rules.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "daemon/xdp/ethtool.h"
#include "daemon/xdp/nic_contexts.h"
#include "daemon/xdp/nic_quirks.h"
#include "daemon/xdp/nic_rule_table.h"

namespace vmqd {
namespace {

std::string Attempt(std::string_view what, const std::string& device) {
  return absl::StrCat(std::string(what), " of device ", device);
}

// Where a rule sends frames, with what the contexts of its NIC spread over; empty: somewhere else.
NicQueues QueuesOf(const NicRule& rule, const NicContexts& contexts) {
  if (!rule.NamesContext()) {
    const uint64_t queue = rule.spec.ring_cookie;
    return queue < UINT32_MAX ? NicQueues{static_cast<uint32_t>(queue)} : NicQueues{};
  }
  const auto context = contexts.find(rule.context);
  if (context == contexts.end() || rule.spec.ring_cookie != 0) return {};
  return context->second;
}

// They are read only where a rule names one.
NicContexts ContextsFor(const std::string& device, const std::vector<NicRule>& rules) {
  if (std::none_of(rules.begin(), rules.end(), std::mem_fn(&NicRule::NamesContext))) return {};
  return ReadContexts(device).value_or(NicContexts{});
}

// One queue, or the context of several.
struct Target {
  uint32_t queue = 0;
  std::optional<uint32_t> context;
};

ethtool_rxnfc RuleFor(const NicFilter& filter, const Target& target, uint16_t vlan_mask) {
  ethtool_rxnfc rule{.cmd = ETHTOOL_SRXCLSRLINS};
  rule.fs.flow_type = ETHER_FLOW;
  std::memcpy(rule.fs.h_u.ether_spec.h_dest, filter.mac.bytes.data(), 6);
  std::memset(rule.fs.m_u.ether_spec.h_dest, 0xff, 6);
  if (filter.vlan != 0) {
    rule.fs.flow_type |= FLOW_EXT;
    rule.fs.h_ext.vlan_tci = htons(static_cast<uint16_t>(filter.vlan));
    rule.fs.m_ext.vlan_tci = htons(vlan_mask);
  }
  rule.fs.ring_cookie = target.queue;
  if (target.context) {
    rule.fs.flow_type |= FLOW_RSS;
    rule.rss_context = *target.context;
  }
  return rule;
}

// `place`: in, the one that is wanted; out, where the rule is.
int Insert(const std::string& device, const NicFilter& filter, const Target& target,
           uint32_t& place) {
  int error = 0;
  for (const uint16_t mask : kVlanMasks) {
    ethtool_rxnfc rule = RuleFor(filter, target, mask);
    rule.fs.location = place;
    error = EthtoolCall(device, &rule);
    if (error == 0) place = rule.fs.location;
    if (filter.vlan == 0 || (error != EINVAL && error != EOPNOTSUPP)) break;
  }
  return error;
}

int Delete(const std::string& device, uint32_t place) {
  ethtool_rxnfc rule{.cmd = ETHTOOL_SRXCLSRLDEL};
  rule.fs.location = place;
  return EthtoolCall(device, &rule);
}

absl::StatusOr<Target> TargetFor(const std::string& device, const NicQueues& queues) {
  if (queues.size() == 1) return Target{.queue = queues[0]};
  const auto context = FindContext(device, queues);
  if (!context.ok()) return context.status();
  if (*context) return Target{.context = **context};
  return absl::NotFoundError(absl::StrCat("device ", device, " has no RSS context over queues ",
                                          absl::StrJoin(queues, ",")));
}

// Whether the rule at `place` is what was asked for.
bool ReadsBack(const std::string& device, uint32_t place, const NicFilter& filter,
               const Target& target) {
  const auto rule = ReadRuleAt(device, place);
  return rule && rule->Filter() == filter && rule->spec.ring_cookie == target.queue &&
         rule->NamesContext() == target.context.has_value() &&
         (!target.context || rule->context == *target.context);
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

absl::StatusOr<std::optional<NicQueues>> RuleQueues(const std::string& device,
                                                    const NicFilter& filter) {
  auto table = ReadRuleTable(device);
  if (!table.ok()) return table.status();
  const NicRule* rule = table->Find(filter);
  if (rule == nullptr) return std::nullopt;
  NicQueues queues = QueuesOf(*rule, ContextsFor(device, {*rule}));
  if (!queues.empty()) return queues;
  return absl::FailedPreconditionError(absl::StrCat(
      "somebody has a rule for ", DescribeFilter(filter), " on ", device,
      " that sends it elsewhere; ethtool -N ", device, " delete ", rule->spec.location));
}

absl::Status SetRule(const std::string& device, const NicFilter& filter, const NicQueues& queues) {
  const std::string attempted = Attempt(
      absl::StrCat("sending ", DescribeFilter(filter), " to queue ", absl::StrJoin(queues, ",")),
      device);
  const auto target = TargetFor(device, queues);
  if (!target.ok()) return target.status();
  auto table = ReadRuleTable(device);
  if (!table.ok()) return table.status();
  const NicRule* old = table->Find(filter);
  uint32_t place = RX_CLS_LOC_ANY;
  if (!table->driver_places) {
    place = old != nullptr ? old->spec.location : table->FreePlace(filter.vlan != 0);
    if (place == table->places) return RuleRefusal(ENOSPC, attempted);
  }
  // Where the driver chooses the place, the old rule has to make room first: it may refuse a second
  // one for the same frames.
  if (table->driver_places && old != nullptr) Delete(device, old->spec.location);
  if (const int error = Insert(device, filter, *target, place); error != 0) {
    return RuleRefusal(error, attempted);
  }
  if (ReadsBack(device, place, filter, *target)) return absl::OkStatus();
  RemoveRule(device, filter).IgnoreError();
  return absl::UnimplementedError(
      absl::StrCat(attempted, ": the driver says it is done, but the rule does not read back"));
}

absl::Status RemoveRule(const std::string& device, const NicFilter& filter) {
  auto table = ReadRuleTable(device);
  if (!table.ok()) return table.status();
  const NicRule* rule = table->Find(filter);
  if (rule == nullptr) return absl::OkStatus();
  return RuleRefusal(
      Delete(device, rule->spec.location),
      Attempt(absl::StrCat("removing the rule for ", DescribeFilter(filter)), device));
}

absl::StatusOr<NicRules> ReadRules(const std::string& device) {
  auto table = ReadRuleTable(device);
  if (!table.ok()) return table.status();
  const NicContexts contexts = ContextsFor(device, table->rules);
  NicRules rules;
  for (const NicRule& rule : table->rules) {
    const auto filter = rule.Filter();
    NicQueues queues = QueuesOf(rule, contexts);
    if (filter && !queues.empty()) rules[*filter] = std::move(queues);
  }
  return rules;
}

absl::StatusOr<uint32_t> CountRules(const std::string& device) {
  ethtool_rxnfc count{.cmd = ETHTOOL_GRXCLSRLCNT};
  const int error = EthtoolCall(device, &count);
  if (error != 0) return RuleRefusal(error, Attempt("counting the receive rules", device));
  return count.rule_cnt;
}

}  // namespace vmqd

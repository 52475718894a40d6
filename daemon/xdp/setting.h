// One borrowed setting (borrowed.h) read and written by its name: "feature:rx-lro" is "on" or
// "off"; "irq:45" and "thread:123" are lists of CPUs, "0-3,8"; "rule:02:00:00:00:00:01 vlan 20" is
// where that rule sends frames (nic_rules.h), "3", "2,3" or "none"; "context:2,3", whether there is
// an RSS context over these queues (nic_contexts.h), is "there" or "none"; "spread:" is what the
// indirection table repeats (nic_spread.h), "0,1,2,3"; "channels:" is how many queues the device
// has (nic_channels.h), "combined 4"; "delay:" and "delay:5" are how long the device, or NAPI
// instance 5, defers interrupts (napi_delay.h), "2 times, 200000 ns". Control threads; blocking.
#ifndef VMQD_DAEMON_XDP_SETTING_H_
#define VMQD_DAEMON_XDP_SETTING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

inline constexpr char kFeatureSetting[] = "feature:";
inline constexpr char kIrqSetting[] = "irq:";
inline constexpr char kThreadSetting[] = "thread:";
inline constexpr char kRuleSetting[] = "rule:";
inline constexpr char kContextSetting[] = "context:";
inline constexpr char kThere[] = "there";
inline constexpr char kNone[] = "none";
inline constexpr char kSpreadSetting[] = "spread:";
inline constexpr char kChannelSetting[] = "channels:";
inline constexpr char kDelaySetting[] = "delay:";

// kNotFound: no such device, feature, interrupt or thread. kInvalidArgument: no such kind.
// kUnimplemented: the device has no rules, contexts, indirection table or channels.
absl::StatusOr<std::string> ReadSetting(const std::string& device, const std::string& setting);
absl::Status WriteSetting(const std::string& device, const std::string& setting,
                          const std::string& value);

// "0,1,2,3"; never empty.
std::string FormatQueues(const std::vector<uint32_t>& queues);
absl::StatusOr<std::vector<uint32_t>> ParseQueues(const std::string& list);

// "irq 45: CPU 0-3 -> 1"; "rule for 02:00:00:00:00:01: none -> queue 3".
std::string DescribeSetting(const std::string& setting, const std::string& before,
                            const std::string& during);

// Whether a setting recorded by another process can still be what it was then: a thread's number
// may be another thread's by now.
bool IsStillThere(const std::string& setting);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_SETTING_H_

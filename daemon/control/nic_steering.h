// NicSteering: the rules by which the NIC of an uplink sends frames to the home queues of their
// ports, the RSS contexts of rules for several queues, and the table by which the NIC spreads the
// rest. A part of UplinkRuntime, called by the Switch under its mutex.
//
// All of them are borrowed settings: in the ledger before they are set, put back when their port or
// the uplink goes, rules before the contexts they name, and taken over from a daemon that died.
// There is one context for all rules with the same queues; where somebody has made such a one
// before, theirs is used, and stays. What the NIC refuses costs nothing but the hand-over of
// frames, and is tried again with the next change: a port without its rule, or its context, has its
// flows spread by the hash with the rest.
#ifndef VMQD_DAEMON_CONTROL_NIC_STEERING_H_
#define VMQD_DAEMON_CONTROL_NIC_STEERING_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/xdp/device_settings.h"
#include "daemon/xdp/nic_rules.h"

namespace vmqd {

class NicSteering {
 public:
  // Serves queues 0 to `queues` - 1 of `device`. `settings` must outlive it and restores what it
  // did.
  NicSteering(std::string device, uint32_t queues, DeviceSettings& settings)
      : device_(std::move(device)), queues_(queues), settings_(settings) {}

  // With all sockets bound: a driver that refuses rules then refuses them for good. Has the NIC
  // take rules, tries one, and takes over those of an earlier daemon. An error is why the uplink is
  // steered by software.
  absl::Status Start();

  // Makes the NIC's rules those of `wanted`, as far as it takes them.
  void Apply(NicRules wanted);

  // What the NIC has lost, by a reset or by somebody's hand, is set again; says so, or is empty.
  // `closely`: even where it has as many rules as before.
  std::string Check(bool closely);

  // Why `filter` has no rule; empty when it has one.
  std::string ReasonFor(const NicFilter& filter) const;
  // About all that are wanted; empty when each has its rule.
  std::string Reason() const;

 private:
  void SetRules();
  std::map<NicQueues, absl::Status> MakeContexts();
  void DropContexts();
  void ForgetLostContexts();
  absl::Status SpreadRest();
  absl::StatusOr<std::vector<uint32_t>> SpreadAtFirst() const;
  std::vector<uint32_t> QueuesOfRest(const std::vector<uint32_t>& at_first) const;
  size_t ForgetLost(const NicRules& there);
  bool SpreadWasReset() const;

  const std::string device_;
  const uint32_t queues_;
  DeviceSettings& settings_;
  NicRules wanted_;
  std::map<NicFilter, std::string> refused_;  // of these, with the reason
  std::string spread_trouble_;
  uint32_t count_ = 0;  // of all rules in the NIC when it was looked at last
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_NIC_STEERING_H_

// The metrics of vmqd as prometheus-cpp's families: pure functions of what the Switch reports, so
// that no number is kept twice. Labels are stable names (uplink, queue, port, direction, reason,
// ...) and never anything out of a frame; how many series there are depends on what the operator
// made and on bpf/abi.h, not on traffic.
#ifndef VMQD_DAEMON_METRICS_FAMILIES_H_
#define VMQD_DAEMON_METRICS_FAMILIES_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "daemon/control/model.h"
#include "prometheus/metric_family.h"

namespace vmqd::metrics {

// What one scrape saw.
struct Seen {
  SwitchStatus whole;
  std::vector<UplinkStatus> uplinks;
  std::vector<PortStatus> ports;
  std::vector<QueueStatus> queues;
};

using Families = std::vector<prometheus::MetricFamily>;
using Labels = std::vector<std::pair<const char*, std::string>>;
Labels With(Labels labels, const char* name, std::string value);  // and one more

// A family under construction.
class Family {
 public:
  static Family Counter(const char* name, const char* help);
  static Family Gauge(const char* name, const char* help);
  void Add(const Labels& labels, double value);
  // Into `families`, unless nothing was added.
  void MoveTo(Families& families);

 private:
  Family(const char* name, const char* help, prometheus::MetricType type);
  prometheus::MetricFamily family_;
};

void AddSwitch(const SwitchStatus& whole, Families& families);
void AddUplinks(const std::vector<UplinkStatus>& uplinks, Families& families);
void AddPorts(const std::vector<PortStatus>& ports, Families& families);
void AddQueues(const std::vector<QueueStatus>& queues, Families& families);
// The sockets of queues and of ports in one set of families.
void AddSockets(const Seen& seen, Families& families);
// This process, under the names every exporter uses. What /proc does not tell is left out.
void AddProcess(Families& families);

// All of the above, in that order.
Families MakeFamilies(const Seen& seen);

}  // namespace vmqd::metrics

#endif  // VMQD_DAEMON_METRICS_FAMILIES_H_

// Families of the whole switch, and how one is built; the contract is in the header.
#include "daemon/metrics/families.h"

#include "absl/strings/str_cat.h"

namespace vmqd::metrics {

Labels With(Labels labels, const char* name, std::string value) {
  labels.emplace_back(name, std::move(value));
  return labels;
}

Family::Family(const char* name, const char* help, prometheus::MetricType type) {
  family_.name = name;
  family_.help = help;
  family_.type = type;
}
Family Family::Counter(const char* name, const char* help) {
  return Family(name, help, prometheus::MetricType::Counter);
}
Family Family::Gauge(const char* name, const char* help) {
  return Family(name, help, prometheus::MetricType::Gauge);
}

void Family::Add(const Labels& labels, double value) {
  prometheus::ClientMetric& metric = family_.metric.emplace_back();
  metric.label.reserve(labels.size());
  for (const auto& [name, text] : labels) metric.label.push_back({name, text});
  if (family_.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

void Family::MoveTo(Families& families) {
  if (!family_.metric.empty()) families.push_back(std::move(family_));
}

namespace {

void AddGauge(const char* name, const char* help, double value, Families& families) {
  Family family = Family::Gauge(name, help);
  family.Add({}, value);
  family.MoveTo(families);
}

// In and out of something, as a counter with the label direction.
void AddBothWays(const char* name, const char* help, uint64_t in, uint64_t out,
                 Families& families) {
  Family family = Family::Counter(name, help);
  family.Add({{"direction", "in"}}, static_cast<double>(in));
  family.Add({{"direction", "out"}}, static_cast<double>(out));
  family.MoveTo(families);
}

}  // namespace

void AddSwitch(const SwitchStatus& whole, Families& families) {
  Family build = Family::Gauge("vmqd_build_info", "Version of the daemon; always 1.");
  build.Add({{"version", whole.version}}, 1);
  build.MoveTo(families);
  AddGauge("vmqd_uptime_seconds", "Time since the daemon started.",
           static_cast<double>(whole.uptime_seconds), families);
  AddGauge("vmqd_uplinks", "Uplinks the switch has.", whole.uplink_count, families);
  AddGauge("vmqd_ports", "Ports the switch has.", whole.port_count, families);
  AddGauge("vmqd_workers", "Worker threads, one a queue.", whole.worker_count, families);
  AddGauge("vmqd_warnings", "Warnings that vmqd-cli switch show lists; 0: all is well.",
           static_cast<double>(whole.warnings.size()), families);
  AddGauge("vmqd_revision", "Revision of the latest change or event.",
           static_cast<double>(whole.revision), families);
  AddGauge("vmqd_state_revision", "Revision of the latest change in the state directory.",
           static_cast<double>(whole.state_revision), families);
  const Counters& counters = whole.counters;
  AddBothWays("vmqd_switch_packets_total", "Frames into the switch and out of it.",
              counters.in_pkts, counters.out_pkts, families);
  AddBothWays("vmqd_switch_bytes_total", "Bytes of frames into the switch and out of it.",
              counters.in_octets, counters.out_octets, families);
  AddBothWays("vmqd_switch_discards_total", "Frames dropped on the way in and out, all reasons.",
              counters.InDiscards(), counters.OutDiscards(), families);
  Family replicated = Family::Counter("vmqd_switch_replicated_packets_total",
                                      "Copies made of broadcast and multicast beyond the first.");
  replicated.Add({}, static_cast<double>(whole.replicated_pkts));
  replicated.MoveTo(families);
  Family moves = Family::Counter("vmqd_moves_total",
                                 "Moves by the balancer: of queues to other CPUs, of ports to "
                                 "other queues.");
  moves.Add({{"of", "queue"}}, static_cast<double>(whole.queue_moves));
  moves.Add({{"of", "port"}}, static_cast<double>(whole.port_moves));
  moves.MoveTo(families);
  Family others = Family::Gauge("vmqd_cpu_other_ratio",
                                "Share of the last second that anything but workers had of a CPU "
                                "that workers may use, 0 to 1.");
  for (const CpuStatus& cpu : whole.cpus) {
    others.Add({{"cpu", absl::StrCat(cpu.cpu)}}, cpu.other_percent / 100);
  }
  others.MoveTo(families);
}

Families MakeFamilies(const Seen& seen) {
  Families families;
  AddSwitch(seen.whole, families);
  AddUplinks(seen.uplinks, families);
  AddPorts(seen.ports, families);
  AddQueues(seen.queues, families);
  AddSockets(seen, families);
  AddProcess(families);
  return families;
}

}  // namespace vmqd::metrics

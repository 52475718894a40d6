// Families of uplinks and ports; the contract is in families.h.
#include "absl/strings/str_cat.h"
#include "daemon/metrics/families.h"
#include "daemon/net/drop_reason.h"

namespace vmqd::metrics {
namespace {

constexpr std::pair<OperStatus, const char*> kStates[] = {{OperStatus::kUp, "up"},
                                                          {OperStatus::kDown, "down"},
                                                          {OperStatus::kFaulted, "faulted"},
                                                          {OperStatus::kWaiting, "waiting"}};

// The counters that uplinks and ports have alike.
class CounterFamilies {
 public:
  explicit CounterFamilies(const std::string& prefix)
      : packets_(Make(prefix, "packets_total", "Frames in (from it) and out (delivered to it).")),
        bytes_(Make(prefix, "bytes_total", "Bytes of its frames in and out.")),
        forwarded_(Make(prefix, "forwarded_packets_total",
                        "Frames from it for which a destination was found.")),
        offered_(Make(prefix, "offered_packets_total", "Frames meant for it.")),
        discards_(Make(prefix, "discards_total", "Its frames that were dropped, all reasons.")),
        drops_(Make(prefix, "drops_total",
                    "Its frames that were dropped, by reason; reasons that occurred.")) {}

  void Add(const Labels& labels, const Counters& counters) {
    const Labels in = With(labels, "direction", "in");
    const Labels out = With(labels, "direction", "out");
    packets_.Add(in, static_cast<double>(counters.in_pkts));
    packets_.Add(out, static_cast<double>(counters.out_pkts));
    bytes_.Add(in, static_cast<double>(counters.in_octets));
    bytes_.Add(out, static_cast<double>(counters.out_octets));
    forwarded_.Add(labels, static_cast<double>(counters.in_forwarded_pkts));
    offered_.Add(labels, static_cast<double>(counters.offered_pkts));
    discards_.Add(in, static_cast<double>(counters.InDiscards()));
    discards_.Add(out, static_cast<double>(counters.OutDiscards()));
    AddDrops(in, counters.in_drops);
    AddDrops(out, counters.out_drops);
  }
  void MoveTo(Families& families) {
    for (Family* family : {&packets_, &bytes_, &forwarded_, &offered_, &discards_, &drops_}) {
      family->MoveTo(families);
    }
  }

 private:
  static Family Make(const std::string& prefix, const char* name, const char* help) {
    return Family::Counter(absl::StrCat(prefix, "_", name).c_str(), help);
  }
  void AddDrops(const Labels& labels, const DropCounts& drops) {
    for (size_t reason = 0; reason < kDropReasonCount; ++reason) {
      if (drops[reason] == 0) continue;
      drops_.Add(
          With(labels, "reason", std::string(DropReasonName(static_cast<DropReason>(reason)))),
          static_cast<double>(drops[reason]));
    }
  }
  Family packets_, bytes_, forwarded_, offered_, discards_, drops_;
};

// Whether it is up, and the state it is in as a set of which one is 1.
class StateFamilies {
 public:
  explicit StateFamilies(const std::string& prefix)
      : up_(Family::Gauge(absl::StrCat(prefix, "_up").c_str(), "1 when it moves frames, else 0.")),
        status_(Family::Gauge(absl::StrCat(prefix, "_status").c_str(),
                              "1 for the state it is in, 0 for the others.")) {}
  void Add(const Labels& labels, OperStatus oper) {
    up_.Add(labels, oper == OperStatus::kUp);
    for (const auto& [state, name] : kStates) {
      status_.Add(With(labels, "status", name), oper == state);
    }
  }
  void MoveTo(Families& families) {
    up_.MoveTo(families);
    status_.MoveTo(families);
  }

 private:
  Family up_, status_;
};

const char* Text(XdpMode mode) {
  return mode == XdpMode::kNative ? "native" : mode == XdpMode::kGeneric ? "generic" : "auto";
}

const char* Text(PortKind kind) {
  switch (kind) {
    case PortKind::kTap:
      return "tap";
    case PortKind::kNetdev:
      return "netdev";
    case PortKind::kVeth:
      return "veth";
    case PortKind::kHost:
      return "host";
    case PortKind::kVhostUser:
      return "vhost_user";
  }
  return "";
}

}  // namespace

void AddUplinks(const std::vector<UplinkStatus>& uplinks, Families& families) {
  Family info = Family::Gauge("vmqd_uplink_info", "Device and effective XDP mode; always 1.");
  StateFamilies state("vmqd_uplink");
  CounterFamilies counters("vmqd_uplink");
  Family to_host =
      Family::Counter("vmqd_uplink_to_host_packets_total", "Frames left to the host's own stack.");
  Family misplaced = Family::Counter("vmqd_uplink_misplaced_packets_total",
                                     "Frames that arrived on another queue than the home queue.");
  Family zero_copy = Family::Gauge("vmqd_uplink_zero_copy", "1 when frames are not copied.");
  Family survives = Family::Gauge("vmqd_uplink_survives_crash",
                                  "1 when the kernel goes on classifying without the daemon.");
  Family mtu = Family::Gauge("vmqd_uplink_mtu_bytes", "Bytes of payload.");
  for (const UplinkStatus& uplink : uplinks) {
    const Labels labels = {{"uplink", uplink.config.id}};
    info.Add({{"uplink", uplink.config.id},
              {"device", uplink.config.device},
              {"xdp_mode", Text(uplink.xdp_mode)}},
             1);
    state.Add(labels, uplink.oper);
    counters.Add(labels, uplink.counters);
    to_host.Add(labels, static_cast<double>(uplink.to_host_pkts));
    misplaced.Add(labels, static_cast<double>(uplink.misplaced_pkts));
    zero_copy.Add(labels, uplink.zero_copy);
    survives.Add(labels, uplink.survives_crash);
    mtu.Add(labels, uplink.mtu);
  }
  info.MoveTo(families);
  state.MoveTo(families);
  counters.MoveTo(families);
  for (Family* family : {&to_host, &misplaced, &zero_copy, &survives, &mtu}) {
    family->MoveTo(families);
  }
}

void AddPorts(const std::vector<PortStatus>& ports, Families& families) {
  Family info = Family::Gauge("vmqd_port_info", "Kind and device; always 1.");
  StateFamilies state("vmqd_port");
  CounterFamilies counters("vmqd_port");
  Family queue = Family::Gauge("vmqd_port_home_queue", "Number of its home queue.");
  for (const PortStatus& port : ports) {
    const Labels labels = {{"port", port.config.id}, {"uplink", port.config.uplink}};
    info.Add({{"port", port.config.id},
              {"uplink", port.config.uplink},
              {"kind", Text(port.config.kind)},
              {"device", port.config.device}},
             1);
    state.Add(labels, port.oper);
    counters.Add(labels, port.counters);
    queue.Add(labels, port.queue);
  }
  info.MoveTo(families);
  state.MoveTo(families);
  counters.MoveTo(families);
  queue.MoveTo(families);
}

}  // namespace vmqd::metrics

// Families of queues, workers and sockets; the contract is in families.h.
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "daemon/metrics/families.h"

namespace vmqd::metrics {
namespace {

size_t PortsAt(const QueueStatus& queue) {
  std::set<std::string> ports;
  for (const QueueFilter& filter : queue.filters) ports.insert(filter.port);
  return ports.size();
}

Labels LabelsOf(const QueueStatus& queue) {
  return {{"uplink", queue.uplink}, {"queue", absl::StrCat(queue.queue)}};
}

// One number of every queue.
template <typename Value>
void AddEach(Family family, const std::vector<QueueStatus>& queues, Value value,
             Families& families) {
  for (const QueueStatus& queue : queues) {
    family.Add(LabelsOf(queue), static_cast<double>(value(queue)));
  }
  family.MoveTo(families);
}

}  // namespace

void AddQueues(const std::vector<QueueStatus>& queues, Families& families) {
  Family packets = Family::Counter("vmqd_queue_packets_total",
                                   "Frames received from and sent to the hardware queue.");
  for (const QueueStatus& queue : queues) {
    const Labels labels = LabelsOf(queue);
    packets.Add(With(labels, "direction", "in"), static_cast<double>(queue.in_pkts));
    packets.Add(With(labels, "direction", "out"), static_cast<double>(queue.out_pkts));
  }
  packets.MoveTo(families);
  const auto counter = [&](const char* name, const char* help, auto value) {
    AddEach(Family::Counter(name, help), queues, value, families);
  };
  const auto gauge = [&](const char* name, const char* help, auto value) {
    AddEach(Family::Gauge(name, help), queues, value, families);
  };
  using Queue = const QueueStatus&;
  counter("vmqd_queue_drops_total", "Frames dropped by its worker and sockets, all reasons.",
          [](Queue queue) { return queue.drops; });
  counter("vmqd_queue_misplaced_packets_total",
          "Frames its worker got for ports at home elsewhere.",
          [](Queue queue) { return queue.misplaced_pkts; });
  gauge("vmqd_queue_ports", "Ports that have filters there: are at home there.", PortsAt);
  gauge("vmqd_queue_zero_copy", "1 when frames are not copied.",
        [](Queue queue) { return queue.zero_copy; });
  gauge("vmqd_queue_buffers", "Buffers in its memory.", [](Queue queue) { return queue.buffers; });
  gauge("vmqd_queue_buffers_free", "Buffers in the worker's hands, not in any ring.",
        [](Queue queue) { return queue.buffers_free; });
  gauge("vmqd_queue_buffers_reserved", "Buffers promised to sockets.",
        [](Queue queue) { return queue.buffers_reserved; });
  gauge("vmqd_queue_buffers_in_flight", "Buffers neither free nor in a ring; 0 when at rest.",
        [](Queue queue) { return queue.buffers_in_flight; });
  gauge("vmqd_worker_cpu", "CPU of the queue's worker.", [](Queue queue) { return queue.cpu; });
  gauge("vmqd_worker_numa_node", "NUMA node of that CPU; -1: not known.",
        [](Queue queue) { return queue.numa_node; });
  gauge("vmqd_worker_busy_ratio", "Share of the last second that the worker moved frames, 0 to 1.",
        [](Queue queue) { return queue.busy_percent / 100; });
  counter("vmqd_worker_wakeups_total", "Times the worker slept and woke.",
          [](Queue queue) { return queue.wakeups; });
}

namespace {

// What the kernel and the worker counted of a socket, by name.
std::vector<std::pair<const char*, uint64_t>> EventsOf(const SocketStatus& socket) {
  return {{"rx_dropped", socket.rx_dropped},
          {"rx_invalid_descs", socket.rx_invalid_descs},
          {"tx_invalid_descs", socket.tx_invalid_descs},
          {"rx_ring_full", socket.rx_ring_full},
          {"rx_fill_ring_empty_descs", socket.rx_fill_ring_empty_descs},
          {"tx_ring_empty_descs", socket.tx_ring_empty_descs},
          {"tx_kicks", socket.tx_kicks},
          {"tx_completions", socket.tx_completions}};
}

}  // namespace

// The sockets of a queue show every event; those of ports, of which there may be thousands, only
// the ones that occurred.
void AddSockets(const Seen& seen, Families& families) {
  std::map<std::vector<std::string>, uint64_t> events;  // summed: a label set may occur only once
  const auto add = [&events](const std::string& uplink, const std::string& port,
                             const std::vector<SocketStatus>& sockets) {
    for (const SocketStatus& socket : sockets) {
      for (const auto& [event, count] : EventsOf(socket)) {
        if (count == 0 && !port.empty()) continue;
        events[{uplink, port, absl::StrCat(socket.queue), socket.role, event}] += count;
      }
    }
  };
  for (const QueueStatus& queue : seen.queues) add(queue.uplink, "", queue.sockets);
  for (const PortStatus& port : seen.ports) add(port.config.uplink, port.config.id, port.sockets);
  Family family = Family::Counter(
      "vmqd_socket_events_total",
      "What the kernel counted on an AF_XDP socket, and transmit calls and completions.");
  for (const auto& [key, count] : events) {
    family.Add({{"uplink", key[0]},
                {"port", key[1]},
                {"queue", key[2]},
                {"role", key[3]},
                {"event", key[4]}},
               static_cast<double>(count));
  }
  family.MoveTo(families);
}

}  // namespace vmqd::metrics

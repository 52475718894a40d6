// vmqd-cli queue list|show: who is where, and how busy it is there. Moving them is in
// queue_balance.cc.
#include <map>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/command.h"
#include "client/history.h"
#include "client/output.h"
#include "client/queue.h"
#include "client/queue_watch.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

// Name of an uplink -> "native": how its program is attached, which is not the queue's to say.
using XdpModes = std::map<std::string, std::string>;

std::string UplinkOf(const v1::Queue& queue) {
  return queue.name().substr(0, queue.name().find("/queues/"));
}

std::string ModeText(const v1::Queue& queue, const XdpModes& xdp_modes) {
  const auto xdp = xdp_modes.find(UplinkOf(queue));
  return absl::StrCat(xdp == xdp_modes.end() ? "-" : xdp->second, "/",
                      queue.zero_copy() ? "zero-copy" : "copy", "/",
                      EnumText(v1::WakeMode_Name(queue.wake_mode())));
}

std::string FilterText(const v1::QueueFilter& filter) {
  return absl::StrCat(ShortName(filter.port()), " ", filter.mac(),
                      filter.vlan() == 0 ? "" : absl::StrCat(" v", filter.vlan()));
}

// One line each; a port's further addresses stand below its name.
std::string FilterLines(const v1::Queue& queue) {
  std::vector<std::string> lines;
  if (queue.default_queue()) lines.push_back("(default queue)");
  for (const v1::QueueFilter& filter : queue.filters()) lines.push_back(FilterText(filter));
  return lines.empty() ? "-" : absl::StrJoin(lines, "\n");
}

std::string NumaText(const v1::Queue& queue) {
  return queue.numa_node() < 0 ? "-" : absl::StrCat(queue.numa_node());
}

// "12.0 %, 11.5 % over 10 s, 3.1 % over 60 s"
std::string BusyText(const v1::Queue& queue) {
  std::string text = absl::StrFormat("%.1f %%", queue.busy_percent());
  for (const v1::Load& load : queue.loads()) {
    if (load.seconds() == 1) continue;
    absl::StrAppendFormat(&text, ", %.1f %% over %d s", load.busy_percent(), load.seconds());
  }
  return text;
}

void ListTable(const v1::ListQueuesResponse& response, const XdpModes& xdp_modes) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"UPLINK"},
               {"QUEUE", kRight},
               {"CPU", kRight},
               {"NUMA", kRight},
               {"VMS"},
               {"MODE"},
               {"RX-PPS", kRight},
               {"TX-PPS", kRight},
               {"BUSY%", kRight},
               {"DROPS", kRight},
               {"MISPLACED", kRight}});
  for (const v1::Queue& queue : response.queues()) {
    table.AddRow({ShortName(UplinkOf(queue)), absl::StrCat(queue.queue()),
                  absl::StrCat(queue.cpu()), NumaText(queue), FilterLines(queue),
                  ModeText(queue, xdp_modes), Rate(queue.rates().in_pps()),
                  Rate(queue.rates().out_pps()), absl::StrFormat("%.1f", queue.busy_percent()),
                  absl::StrCat(queue.drops()), absl::StrCat(queue.misplaced_pkts())});
  }
  table.Print();
}

void SocketTable(const v1::Queue& queue) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"SOCKET"},
               {"RX-RING", kRight},
               {"TX-RING", kRight},
               {"RX-FULL", kRight},
               {"RX-DROPPED", kRight},
               {"FILL-EMPTY", kRight},
               {"TX-INVALID", kRight},
               {"KICKS", kRight},
               {"COMPLETED", kRight}});
  for (const v1::SocketStatistics& socket : queue.sockets()) {
    table.AddRow(
        {socket.role(), absl::StrCat(socket.rx_ring_size()), absl::StrCat(socket.tx_ring_size()),
         absl::StrCat(socket.rx_ring_full()), absl::StrCat(socket.rx_dropped()),
         absl::StrCat(socket.rx_fill_ring_empty_descs()), absl::StrCat(socket.tx_invalid_descs()),
         absl::StrCat(socket.tx_kicks()), absl::StrCat(socket.tx_completions())});
  }
  if (queue.sockets_size() > 0) table.Print();
}

void ShowQueue(const v1::Queue& queue, const XdpModes& xdp_modes) {
  PrintDetails({
      {"uplink", ShortName(UplinkOf(queue))},
      {"queue", absl::StrCat(queue.queue(), queue.dedicated() ? ", dedicated" : "")},
      {"cpu", absl::StrCat(queue.cpu(), queue.pinned() ? ", pinned" : "")},
      {"numa node", NumaText(queue)},
      {"vms", FilterLines(queue)},
      {"mode",
       absl::StrCat(ModeText(queue, xdp_modes), queue.wake_mode_reason().empty() ? "" : ": ",
                    queue.wake_mode_reason())},
      {"napi", queue.napi()},
      {"busy", BusyText(queue)},
      {"wake-ups", absl::StrCat(queue.wakeups())},
      {"received", absl::StrCat(queue.in_pkts(), " frames, ", Rate(queue.rates().in_pps()),
                                " pps, ", Rate(queue.rates().in_bps()), " bit/s")},
      {"sent", absl::StrCat(queue.out_pkts(), " frames, ", Rate(queue.rates().out_pps()), " pps, ",
                            Rate(queue.rates().out_bps()), " bit/s")},
      {"drops", absl::StrCat(queue.drops())},
      {"misplaced", absl::StrCat(queue.misplaced_pkts())},
      {"buffers", absl::StrCat(queue.buffers(), ", ", queue.buffers_free(), " free, ",
                               queue.buffers_reserved(), " promised to sockets")},
  });
  SocketTable(queue);
}

grpc::Status GetXdpModes(Connection& connection, XdpModes& xdp_modes) {
  v1::ListUplinksResponse uplinks;
  const auto status = connection.CallForAll(&Stub::ListUplinks, v1::ListUplinksRequest(), &uplinks);
  for (const v1::Uplink& uplink : uplinks.uplinks()) {
    xdp_modes[uplink.name()] = EnumText(v1::XdpMode_Name(uplink.effective_xdp_mode()));
  }
  return status;
}

int List(const Session& session, Connection& connection, const std::string& uplink) {
  v1::ListQueuesRequest request;
  request.set_parent(FullName("uplinks/", uplink.empty() ? "-" : uplink));
  v1::ListQueuesResponse all;
  auto status = connection.CallForAll(&Stub::ListQueues, request, &all);
  XdpModes xdp_modes;
  if (status.ok() && session.output == "table") status = GetXdpModes(connection, xdp_modes);
  if (!status.ok()) return Fail(connection, status);
  PrintAs(session.output, all, [&] { ListTable(all, xdp_modes); });
  return kDone;
}

int Show(const Session& session, Connection& connection, const std::string& uplink,
         uint32_t number) {
  v1::GetQueueRequest request;
  request.set_name(absl::StrCat(FullName("uplinks/", uplink), "/queues/", number));
  v1::Queue queue;
  auto status = connection.Call(&Stub::GetQueue, request, &queue);
  XdpModes xdp_modes;
  if (status.ok() && session.output == "table") status = GetXdpModes(connection, xdp_modes);
  if (!status.ok()) return Fail(connection, status);
  PrintAs(session.output, queue, [&] { ShowQueue(queue, xdp_modes); });
  return kDone;
}

}  // namespace

void AddQueueCommands(CLI::App& app, Session& session) {
  CLI::App& resource =
      AddResource(app, "queue", "Hardware queues, their CPUs and the VMs at home on them");
  auto uplink = std::make_shared<std::string>();
  AddVerb(resource, session, "list", "List the queues of one uplink, or of all",
          "vmqd-cli queue list --uplink eth1",
          [&session, uplink](Connection& connection) { return List(session, connection, *uplink); })
      .add_option("--uplink", *uplink, "Only this uplink's");

  AddQueueWatchVerb(resource, session);
  AddQueueHistoryVerb(resource, session);

  auto number = std::make_shared<uint32_t>(0);
  CLI::App& show =
      AddVerb(resource, session, "show", "Show one queue with its sockets",
              "vmqd-cli queue show eth1 2", [&session, uplink, number](Connection& connection) {
                return Show(session, connection, *uplink, *number);
              });
  show.add_option("UPLINK", *uplink, "Name of the uplink")->required();
  show.add_option("QUEUE", *number, "Number of the queue")->required();
  AddQueueSetVerb(resource, session);
  AddRebalanceVerb(resource, session);
}

}  // namespace vmqd::cli

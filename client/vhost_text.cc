// See vhost_text.h.
#include "client/vhost_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

using Texts = google::protobuf::RepeatedPtrField<std::string>;

constexpr size_t kWidth = 80;  // of a line of names

// "a, b,\nc": names with commas, in lines that fit a terminal.
std::string Wrapped(const Texts& names) {
  std::string text;
  size_t line = 0;  // characters of the last one
  for (const std::string& name : names) {
    if (line > 0) {
      const bool fits = line + name.size() + 2 <= kWidth;
      absl::StrAppend(&text, fits ? ", " : ",\n");
      line = fits ? line + 2 : 0;
    }
    absl::StrAppend(&text, name);
    line += name.size();
  }
  return text;
}

std::string RoleText(const v1::Port& port) {
  return port.vhost_role() == v1::VMM_LISTENS ? "the VMM listens, vmqd connects"
                                              : "vmqd listens, the VMM connects";
}

std::string VmmText(const v1::VhostStatus& vhost) {
  std::string text = vhost.connected() ? "connected" : "not connected";
  if (vhost.has_since()) absl::StrAppend(&text, " since ", TimeText(vhost.since()));
  return text;
}

std::string QueuePairsText(const v1::Port& port) {
  return Effective(absl::StrCat(port.queue_pairs()), absl::StrCat(port.effective_queue_pairs()),
                   port.effective_queue_pairs_reason());
}

std::string RingText(const v1::VhostRing& ring) {
  return absl::StrCat(ring.index() / 2,
                      ring.index() % 2 == 0 ? " receives: " : " transmits: ", ring.size(),
                      " entries, ", ring.running() ? "running" : "stopped", ", ",
                      ring.enabled() ? "enabled" : "disabled");
}

std::string RingsText(const v1::VhostStatus& vhost) {
  std::vector<std::string> rings;
  for (const v1::VhostRing& ring : vhost.rings()) rings.push_back(RingText(ring));
  return absl::StrJoin(rings, "\n");
}

std::string MemoryText(const v1::VhostStatus& vhost) {
  if (vhost.memory_regions() == 0) return "";
  return absl::StrCat(BytesText(vhost.memory_bytes()), " in ", vhost.memory_regions(),
                      vhost.memory_regions() == 1 ? " region, " : " regions, ",
                      vhost.memory_sealed() ? "sealed" : "not sealed",
                      vhost.logging() ? ", written pages are logged" : "");
}

std::string DropsText(const v1::Counters& counters) {
  std::vector<std::string> drops;
  for (const v1::DropCount& drop : counters.in_drops()) {
    drops.push_back(absl::StrCat("in ", drop.reason(), " ", drop.pkts()));
  }
  for (const v1::DropCount& drop : counters.out_drops()) {
    drops.push_back(absl::StrCat("out ", drop.reason(), " ", drop.pkts()));
  }
  return absl::StrJoin(drops, "\n");
}

std::string LastFaultText(const v1::VhostStatus& vhost) {
  if (vhost.last_fault().empty() || !vhost.has_last_fault_time()) return vhost.last_fault();
  return absl::StrCat(TimeText(vhost.last_fault_time()), ": ", vhost.last_fault());
}

}  // namespace

std::vector<std::pair<std::string, std::string>> VhostDetails(const v1::Port& port) {
  const v1::VhostStatus& vhost = port.vhost();
  return {
      {"socket", vhost.socket_path()},
      {"role", RoleText(port)},
      {"vmm", VmmText(vhost)},
      {"connections",
       absl::StrCat(vhost.connections(), ", given up for a fault: ", vhost.faults())},
      {"last fault", LastFaultText(vhost)},
      {"queue pairs", QueuePairsText(port)},
      {"rings", RingsText(vhost)},
      {"features", Wrapped(vhost.features())},
      {"protocol features", Wrapped(vhost.protocol_features())},
      {"offloads", absl::StrJoin(vhost.offloads(), "\n")},
      {"coalescing", port.coalescing_off() ? "off" : "on"},
      {"memory", MemoryText(vhost)},
      {"drops by reason", DropsText(port.counters())},
  };
}

}  // namespace vmqd::cli

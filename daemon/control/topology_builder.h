// Builds the snapshot that workers forward by from the ports of one uplink.
#ifndef VMQD_DAEMON_CONTROL_TOPOLOGY_BUILDER_H_
#define VMQD_DAEMON_CONTROL_TOPOLOGY_BUILDER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "daemon/datapath/topology.h"

namespace vmqd {

class TopologyBuilder {
 public:
  TopologyBuilder(uint64_t sequence, size_t workers) : topology_(std::make_unique<Topology>()) {
    topology_->sequence = sequence;
    topology_->home.resize(workers);
    topology_->leaving.resize(workers);
  }

  void SetUplink(uint32_t max_len, const std::atomic<bool>& up) {
    topology_->uplink_max_len = max_len;
    topology_->uplink_up = &up;
  }

  void Add(PortEntry entry) {
    const auto index = static_cast<uint32_t>(topology_->ports.size());
    for (size_t worker = 0; worker < entry.pairs.size(); ++worker) {
      if (entry.pairs[worker].port != nullptr) {
        topology_->home[worker].push_back(index);
      } else if (entry.pairs[worker].vm_socket != nullptr) {
        topology_->leaving[worker].push_back(index);
      }
    }
    topology_->by_serial.emplace(entry.serial, index);
    for (uint64_t mac : entry.macs) {
      topology_->owners.emplace(Topology::Key(entry.vlan, mac), index);
    }
    FloodGroup& group = topology_->floods[entry.vlan];
    group.members.resize(topology_->home.size());
    group.members[entry.home].push_back(index);
    topology_->ports.push_back(std::move(entry));
  }

  void SetMove(std::unique_ptr<PortMove> move) { topology_->move = std::move(move); }

  void SetOpened(uint32_t worker, PortTurnState& state) {
    topology_->opened_at = worker;
    topology_->opened = &state;
  }

  std::unique_ptr<Topology> Build() && { return std::move(topology_); }

 private:
  std::unique_ptr<Topology> topology_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_CONTROL_TOPOLOGY_BUILDER_H_

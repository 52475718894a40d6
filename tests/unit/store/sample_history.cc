// See sample_history.h.
#include "tests/unit/store/sample_history.h"

namespace vmqd {

UplinkConfig SampleUplink(const std::string& id) {
  return {.id = id,
          .device = id,
          .xdp_mode = XdpMode::kAuto,
          .steering = Steering::kExternal,
          .wake_mode = WakeMode::kPoll,
          .queues = 4,
          .buffers_per_queue = 2048};
}

PortConfig SamplePort(const std::string& id, uint64_t number) {
  PortConfig port{.id = id,
                  .uplink = "eth0",
                  .kind = PortKind::kVeth,
                  .device = "vmq-" + id,
                  .peer_device = id + "-eth0",
                  .vlan = static_cast<uint32_t>(1 + number % 4094),
                  .weight = static_cast<uint32_t>(number % 101),
                  .queue = static_cast<uint32_t>(number % 4),
                  .trusted = true,
                  .disabled = true,
                  .mtu = 1400};
  for (uint64_t word : {number, number + (uint64_t{1} << 32)}) {
    MacAddress mac{{0x52, 0x54}};
    for (int i = 0; i < 4; ++i) mac.bytes[5 - i] = static_cast<uint8_t>(word >> (8 * i));
    mac.bytes[1] = static_cast<uint8_t>(0x54 + (word >> 32));
    port.macs.push_back(mac);
  }
  return port;
}

StateChange ChangeAt(uint64_t revision) {
  StateChange change{.revision = revision};
  const std::string number = std::to_string(revision);
  const std::string port = "vm" + std::to_string(revision % 7);
  switch (revision % 8) {
    case 1:
      change.incarnation = revision;
      change.boot_id = "boot-" + number;
      break;
    case 2:
      change.put = DesiredUplink{SampleUplink("eth" + std::to_string(revision / 8 % 2)), revision};
      change.reply = Reply{"id-" + number, "print-" + number, std::get<DesiredUplink>(change.put)};
      break;
    case 3:
    case 4:
    case 5:
      change.put = DesiredPort{SamplePort(port, revision), revision};
      change.reply = Reply{"id-" + number, "print-" + number, std::get<DesiredPort>(change.put)};
      break;
    case 6:
      change.deleted_port = "vm" + std::to_string((revision - 2) % 7);
      change.reply = Reply{"id-" + std::to_string(revision - 1), "print-" + number, {}};
      break;
    case 7:
      change.borrowed = {{"eth0", "mtu", "1500", number}, {"eth1", "irq:45", "f", "2"}};
      break;
    case 0:
      change.deleted_uplink = "eth" + std::to_string(revision / 16 % 2);
      change.borrowed.emplace();
      break;
  }
  return change;
}

DesiredState StateAt(uint64_t revision, const std::string& state_id) {
  DesiredState state{.state_id = state_id};
  for (uint64_t i = 1; i <= revision; ++i) Apply(ChangeAt(i), state);
  return state;
}

}  // namespace vmqd

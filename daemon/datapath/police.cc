#include "daemon/datapath/police.h"

#include <algorithm>
#include <optional>

#include "daemon/net/ethernet.h"
#include "daemon/net/mac_address.h"
#include "daemon/xdp/frame_tag.h"

namespace vmqd {
namespace {

bool OwnsSource(const PortEntry& port, const uint8_t* frame) {
  const uint64_t source = MacAddress::FromWire(frame + 6).ToWord();
  return std::find(port.macs.begin(), port.macs.end(), source) != port.macs.end();
}

// A VM is on one VLAN, which the switch adds and removes; it may not bring a tag of its own. A
// priority tag names no VLAN: it is taken off.
std::optional<DropReason> CheckTag(uint8_t* data, Frame& frame) {
  const uint16_t type = EtherTypeOf(data);
  if (type == kEtherTypeServiceVlan) return DropReason::kTAG_NOT_ALLOWED;
  if (type != kEtherTypeVlan) return std::nullopt;
  if (frame.len < kEthHeaderLen + kVlanTagLen) return DropReason::kTRUNCATED_TAG;
  if (VlanIdOf(data) != 0) return DropReason::kTAG_NOT_ALLOWED;
  PopVlanTag(data, frame);
  // A second tag behind the first would be a way round the check.
  const uint16_t inner = EtherTypeOf(data + kVlanTagLen);
  if (inner == kEtherTypeVlan || inner == kEtherTypeServiceVlan) {
    return DropReason::kTAG_NOT_ALLOWED;
  }
  return std::nullopt;
}

std::optional<DropReason> Check(const PortEntry& port, uint8_t* data, Frame& frame) {
  if (port.disabled) return DropReason::kPORT_DISABLED;
  if (frame.len < kEthHeaderLen) return DropReason::kRUNT;
  if (IsReservedMulticast(data)) return DropReason::kRESERVED_MULTICAST;
  if (!port.trusted && !OwnsSource(port, data)) return DropReason::kSPOOFED_SOURCE;
  return CheckTag(data, frame);
}

}  // namespace

uint32_t Police(const PortEntry& port, FramePool& pool, FrameCounters& counters, Frame* frames,
                uint32_t count) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Frame frame = frames[i];
    const std::optional<DropReason> reason = Check(port, pool.area().Data(frame.addr), frame);
    if (reason) {
      counters.DropIn(*reason);
      GiveFrame(pool, frame);
    } else {
      frames[kept++] = frame;
    }
  }
  return kept;
}

}  // namespace vmqd

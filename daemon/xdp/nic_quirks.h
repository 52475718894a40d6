// What drivers of NICs differ in where rules and RSS contexts are concerned, as data: what is
// tried, in which order, and what an errno means. Nothing is looked up by a driver's name. What a
// driver says of itself is heeded where it is read: who chooses the place of a rule (nic_rules.cc).
//
// One quirk cannot be tried: old drivers that give queues with zero-copy AF_XDP sockets numbers of
// their own. There a rule reads back well, and its frames are counted as misplaced.
#ifndef VMQD_DAEMON_XDP_NIC_QUIRKS_H_
#define VMQD_DAEMON_XDP_NIC_QUIRKS_H_

#include <array>
#include <cerrno>
#include <cstdint>

namespace vmqd {

// The mask of a VLAN that a driver takes: the id alone, or the whole tag.
inline constexpr std::array<uint16_t, 2> kVlanMasks = {0x0fff, 0xffff};

// The ioctl lists no contexts, so their numbers are tried from 1 on. Drivers, and since Linux 6.12
// the kernel, give out the lowest that is free. One beyond these would not be found again, and is
// not kept.
inline constexpr uint32_t kMostContexts = 64;

struct Refusal {
  int error;
  const char* meaning;
};

inline constexpr std::array<Refusal, 4> kRuleRefusals = {{
    {EOPNOTSUPP, "its driver has no rules that send a MAC address to a queue"},
    {EBUSY, "some drivers take no rule while AF_XDP sockets are bound to the device"},
    {ENOSPC, "its table of rules is full"},
    {EINVAL, "its driver does not take a rule of this form"},
}};

inline constexpr std::array<Refusal, 5> kContextRefusals = {{
    {EOPNOTSUPP, "its driver has no RSS contexts"},
    {ENOSPC, "all its RSS contexts are taken"},
    {ENOBUFS, "all its RSS contexts are taken"},
    {EBUSY, "a rule still names the context, or all are taken"},
    {EINVAL, "its driver does not take such a context, or all are taken"},
}};

// Empty when nothing is known of it.
template <size_t kCount>
const char* MeaningOf(int error, const std::array<Refusal, kCount>& refusals) {
  for (const Refusal& refusal : refusals) {
    if (refusal.error == error) return refusal.meaning;
  }
  return "";
}

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NIC_QUIRKS_H_

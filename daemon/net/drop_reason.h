// The drop reasons of bpf/abi.h as a C++ enum, with their names and sentences. Any thread.
#ifndef VMQD_DAEMON_NET_DROP_REASON_H_
#define VMQD_DAEMON_NET_DROP_REASON_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "bpf/abi.h"

namespace vmqd {

enum class DropReason : uint8_t {
#define X(id, name, text) k##id = VMQD_DROP_##id,
  VMQD_DROP_REASONS(X)
#undef X
};

inline constexpr size_t kDropReasonCount = VMQD_DROP_COUNT;

// "rx_ring_full": the name in API, CLI and documentation.
std::string_view DropReasonName(DropReason reason);
// One clause that completes "a frame is dropped because it ...", as in bpf/abi.h.
std::string_view DropReasonText(DropReason reason);

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_DROP_REASON_H_

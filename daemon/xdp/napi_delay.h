// How long a NAPI instance that was polled waits for the next poll before it enables its interrupt
// again: napi_defer_hard_irqs and gro_flush_timeout, of one instance over netlink, or of all of a
// device through sysfs. Control threads, in the device's network namespace; blocking.
#ifndef VMQD_DAEMON_XDP_NAPI_DELAY_H_
#define VMQD_DAEMON_XDP_NAPI_DELAY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

struct NapiDelay {
  uint32_t deferrals = 0;    // polls in a row that find nothing, until the interrupt is enabled
  uint64_t nanoseconds = 0;  // after each
};

// "2 times, 200000 ns".
std::string FormatNapiDelay(const NapiDelay& delay);
absl::StatusOr<NapiDelay> ParseNapiDelay(const std::string& text);

// `napi`: the instance; 0: the device, and so all of its instances. kNotFound: no such device or
// instance. kUnimplemented: the kernel (before Linux 6.13) does not have it for one instance, or
// does not show the device.
absl::StatusOr<NapiDelay> ReadNapiDelay(const std::string& device, uint32_t napi);
absl::Status WriteNapiDelay(const std::string& device, uint32_t napi, const NapiDelay& delay);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_NAPI_DELAY_H_

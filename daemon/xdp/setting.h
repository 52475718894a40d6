// One borrowed setting (borrowed.h) read and written by its name: "feature:rx-lro" is "on" or
// "off"; "irq:45" and "thread:123" are lists of CPUs, "0-3,8". Control threads; blocking.
#ifndef VMQD_DAEMON_XDP_SETTING_H_
#define VMQD_DAEMON_XDP_SETTING_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vmqd {

inline constexpr char kFeatureSetting[] = "feature:";
inline constexpr char kIrqSetting[] = "irq:";
inline constexpr char kThreadSetting[] = "thread:";

// kNotFound: no such device, feature, interrupt or thread. kInvalidArgument: no such kind.
absl::StatusOr<std::string> ReadSetting(const std::string& device, const std::string& setting);
absl::Status WriteSetting(const std::string& device, const std::string& setting,
                          const std::string& value);

// "irq 45: CPU 0-3 -> 1".
std::string DescribeSetting(const std::string& setting, const std::string& before,
                            const std::string& during);

// Whether a setting recorded by another process can still be what it was then: a thread's number
// may be another thread's by now.
bool IsStillThere(const std::string& setting);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_SETTING_H_

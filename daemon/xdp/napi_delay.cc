#include "daemon/xdp/napi_delay.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/xdp/device_sysfs.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/netdev_family.h"

namespace vmqd {
namespace {

constexpr int kNapiId = 2;
constexpr int kDeferrals = 5;
constexpr int kNanoseconds = 6;

constexpr char kDeferralsFile[] = "napi_defer_hard_irqs";
constexpr char kNanosecondsFile[] = "gro_flush_timeout";

std::string Attempt(const char* what, const std::string& device, uint32_t napi) {
  return absl::StrCat(what, " how long interrupts are deferred, of ",
                      napi == 0 ? "device " : absl::StrCat("NAPI ", napi, " of device "), device);
}

absl::Status NotThere(const std::string& attempted) {
  return absl::UnimplementedError(absl::StrCat(attempted, ": this kernel does not have it"));
}

// The kernel writes a number in four bytes where that is enough.
uint64_t NumberIn(nlattr* attribute) {
  return nla_len(attribute) == 8 ? nla_get_u64(attribute) : nla_get_u32(attribute);
}

absl::StatusOr<NapiDelay> ReadInstance(const std::string& attempted, uint32_t napi) {
  auto family = NetdevFamily::Open();
  std::optional<NapiDelay> found;
  if (!family) return NotThere(attempted);
  const KernelAnswer answer = family->Ask(
      NetdevFamily::kNapiGet, 0, [&](nl_msg* message) { nla_put_u32(message, kNapiId, napi); },
      kNanoseconds,
      [&](nlattr** attributes) {
        if (attributes[kDeferrals] == nullptr || attributes[kNanoseconds] == nullptr) return;
        found = {nla_get_u32(attributes[kDeferrals]), NumberIn(attributes[kNanoseconds])};
      });
  if (answer.error == ENOENT) return absl::NotFoundError(absl::StrCat(attempted, ": it is gone"));
  if (answer.ok() && found) return *found;
  if (answer.ok() || answer.error == EOPNOTSUPP) return NotThere(attempted);
  return KernelRefusal(answer, attempted);
}

absl::Status WriteInstance(const std::string& attempted, uint32_t napi, const NapiDelay& delay) {
  auto family = NetdevFamily::Open();
  if (!family) return NotThere(attempted);
  const KernelAnswer answer = family->Ask(
      NetdevFamily::kNapiSet, NLM_F_ACK,
      [&](nl_msg* message) {
        nla_put_u32(message, kNapiId, napi);
        nla_put_u32(message, kDeferrals, delay.deferrals);
        nla_put_u64(message, kNanoseconds, delay.nanoseconds);
      },
      0, [](nlattr**) {});
  if (answer.error == EOPNOTSUPP) return NotThere(attempted);
  return KernelRefusal(answer, attempted);
}

}  // namespace

std::string FormatNapiDelay(const NapiDelay& delay) {
  return absl::StrCat(delay.deferrals, " times, ", delay.nanoseconds, " ns");
}

absl::StatusOr<NapiDelay> ParseNapiDelay(const std::string& text) {
  NapiDelay delay;
  if (std::sscanf(text.c_str(), "%" SCNu32 " times, %" SCNu64 " ns", &delay.deferrals,
                  &delay.nanoseconds) == 2) {
    return delay;
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" does not say for how long"));
}

absl::StatusOr<NapiDelay> ReadNapiDelay(const std::string& device, uint32_t napi) {
  const std::string attempted = Attempt("reading", device, napi);
  if (napi != 0) return ReadInstance(attempted, napi);
  const auto link = FindLink(device);
  if (!link.ok()) return link.status();
  const DeviceSysfs sysfs(*link);
  NapiDelay delay;
  const bool known = absl::SimpleAtoi(sysfs.Read(kDeferralsFile), &delay.deferrals) &&
                     absl::SimpleAtoi(sysfs.Read(kNanosecondsFile), &delay.nanoseconds);
  if (!known) return NotThere(attempted);
  return delay;
}

absl::Status WriteNapiDelay(const std::string& device, uint32_t napi, const NapiDelay& delay) {
  const std::string attempted = Attempt("setting", device, napi);
  if (napi != 0) return WriteInstance(attempted, napi, delay);
  const auto link = FindLink(device);
  if (!link.ok()) return link.status();
  const DeviceSysfs sysfs(*link);
  int error = sysfs.Write(kDeferralsFile, absl::StrCat(delay.deferrals));
  if (error == 0) error = sysfs.Write(kNanosecondsFile, absl::StrCat(delay.nanoseconds));
  return KernelRefusal({.error = error}, attempted);
}

}  // namespace vmqd

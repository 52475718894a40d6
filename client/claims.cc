// See claims.h.
#include "client/claims.h"

#include "absl/strings/str_cat.h"

namespace vmqd::cli {
namespace {

std::string DeviceClaim(const std::string& device) { return absl::StrCat("device ", device); }

}  // namespace

std::vector<std::string> ClaimsOf(const v1::Port& port) {
  std::vector<std::string> claims;
  if (!port.device().empty()) claims.push_back(DeviceClaim(port.device()));
  if (!port.socket().empty()) claims.push_back(absl::StrCat("socket ", port.socket()));
  const std::string vlan = port.vlan() == 0 ? " untagged" : absl::StrCat(" on VLAN ", port.vlan());
  for (const std::string& mac : port.macs()) {
    claims.push_back(absl::StrCat(mac, vlan, " of ", port.uplink()));
  }
  return claims;
}

std::vector<std::string> ClaimsOf(const v1::Uplink& uplink) {
  return {DeviceClaim(uplink.device())};
}

}  // namespace vmqd::cli

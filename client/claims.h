// Who has what only one resource can have: a device, a socket, or an address on a VLAN of an
// uplink. Decides in which order ports can be created and updated. No daemon needed.
#ifndef VMQD_CLIENT_CLAIMS_H_
#define VMQD_CLIENT_CLAIMS_H_

#include <map>
#include <string>
#include <vector>

#include "vmqd/v1/port.pb.h"
#include "vmqd/v1/uplink.pb.h"

namespace vmqd::cli {

// What the resource cannot share, in words: "52:54:00:00:00:01 on VLAN 10 of uplinks/eth0".
std::vector<std::string> ClaimsOf(const v1::Port& port);
std::vector<std::string> ClaimsOf(const v1::Uplink& uplink);

class Claims {
 public:
  struct Conflict {
    std::string claim;
    std::string owner;  // "ports/vm1"
  };

  template <typename Resource>
  void Take(const Resource& resource) {
    for (const std::string& claim : ClaimsOf(resource)) owners_[claim] = resource.name();
  }
  template <typename Resource>
  void Release(const Resource& resource) {
    for (const std::string& claim : ClaimsOf(resource)) {
      const auto found = owners_.find(claim);
      if (found != owners_.end() && found->second == resource.name()) owners_.erase(found);
    }
  }
  // What others have of that which the resource would take.
  template <typename Resource>
  std::vector<Conflict> Against(const Resource& resource) const {
    std::vector<Conflict> conflicts;
    for (const std::string& claim : ClaimsOf(resource)) {
      const auto found = owners_.find(claim);
      if (found == owners_.end() || found->second == resource.name()) continue;
      conflicts.push_back({claim, found->second});
    }
    return conflicts;
  }

 private:
  std::map<std::string, std::string> owners_;  // by claim
};

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_CLAIMS_H_

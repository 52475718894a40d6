// What a tap and a veth pair of vmqd's are given beyond their name, whether they are new or were
// left by an earlier daemon. Shared by link_create.cc and link_adopt.cc; control threads.
#ifndef VMQD_DAEMON_XDP_LINK_FINISH_H_
#define VMQD_DAEMON_XDP_LINK_FINISH_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "daemon/xdp/link_parse.h"

namespace vmqd {

// A descriptor of a tap as vmqd makes it: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, no offloads.
class TapDescriptor {
 public:
  TapDescriptor() = default;
  ~TapDescriptor();
  TapDescriptor(const TapDescriptor&) = delete;
  TapDescriptor& operator=(const TapDescriptor&) = delete;

  // 0 or the errno; EBUSY when somebody has the tap open. The device is made when there is none.
  int Attach(const std::string& name, int more_flags);
  int ClearOffloads();
  int MakePersistent();

 private:
  int fd_ = -1;
};

// MTU, silence and up. The end vmqd keeps must be silent before it comes up, hence the order.
absl::Status FinishTap(int ifindex, uint32_t mtu);
// A pair with both ends here. Its mark, unless that is empty, says that all is done, and comes
// last.
absl::Status FinishVeth(const LinkDetails& near, std::string_view mark);

}  // namespace vmqd

#endif  // VMQD_DAEMON_XDP_LINK_FINISH_H_

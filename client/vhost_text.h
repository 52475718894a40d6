// What `port show` tells about a vhost-user port beyond what every port has. Pure functions, no
// daemon needed.
#ifndef VMQD_CLIENT_VHOST_TEXT_H_
#define VMQD_CLIENT_VHOST_TEXT_H_

#include <string>
#include <utility>
#include <vector>

#include "vmqd/v1/port.pb.h"

namespace vmqd::cli {

// Labels and values, for PrintDetails. An empty value: there is nothing to tell.
std::vector<std::pair<std::string, std::string>> VhostDetails(const v1::Port& port);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_VHOST_TEXT_H_

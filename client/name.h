// Names of resources as people and as the API write them. Pure functions.
#ifndef VMQD_CLIENT_NAME_H_
#define VMQD_CLIENT_NAME_H_

#include <string>

namespace vmqd::cli {

// "eth0" or "uplinks/eth0" -> "uplinks/eth0", for any collection; "" stays "".
std::string FullName(const std::string& collection, const std::string& name);
// "uplinks/eth0" -> "eth0".
std::string ShortName(const std::string& name);
// "uplinks/eth0/queues/2" -> "eth0/2"; other names as ShortName.
std::string ShortQueueName(const std::string& name);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_NAME_H_

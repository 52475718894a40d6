// How a resource that exists already differs from the one that was asked for: what --may-exist
// turns on. Pure functions.
#ifndef VMQD_CLIENT_DIFFERENCE_H_
#define VMQD_CLIENT_DIFFERENCE_H_

#include <string>
#include <vector>

#include "google/protobuf/message.h"

namespace vmqd::cli {

// One clause per field of `fields`, by name, in which the two messages of one type differ; the
// order of the values of a repeated field does not matter.
std::vector<std::string> Differences(const google::protobuf::Message& asked,
                                     const google::protobuf::Message& existing,
                                     const std::vector<std::string>& fields);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_DIFFERENCE_H_

// The word that was probably meant. Pure functions.
#ifndef VMQD_PROTO_YAML_NEAREST_H_
#define VMQD_PROTO_YAML_NEAREST_H_

#include <string>
#include <string_view>
#include <vector>

namespace vmqd {

// The one of `known` that is fewest keystrokes from `word`, case aside; empty when none is close.
std::string Nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace vmqd

#endif  // VMQD_PROTO_YAML_NEAREST_H_

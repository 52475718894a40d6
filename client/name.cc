// See name.h.
#include "client/name.h"

#include "absl/strings/str_cat.h"

namespace vmqd::cli {

std::string FullName(const std::string& collection, const std::string& name) {
  if (name.empty() || name.starts_with(collection)) return name;
  return absl::StrCat(collection, name);
}

std::string ShortName(const std::string& name) { return name.substr(name.rfind('/') + 1); }

}  // namespace vmqd::cli

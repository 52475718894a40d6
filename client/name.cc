// See name.h.
#include "client/name.h"

#include "absl/strings/str_cat.h"

namespace vmqd::cli {

std::string FullName(const std::string& collection, const std::string& name) {
  if (name.empty() || name.starts_with(collection)) return name;
  return absl::StrCat(collection, name);
}

std::string ShortName(const std::string& name) { return name.substr(name.rfind('/') + 1); }

std::string ShortQueueName(const std::string& name) {
  const size_t queues = name.find("/queues/");
  if (queues == std::string::npos) return ShortName(name);
  return absl::StrCat(ShortName(name.substr(0, queues)), "/", ShortName(name));
}

}  // namespace vmqd::cli

// See difference.h.
#include "client/difference.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/text_format.h"

namespace vmqd::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

std::string ValueOf(const Message& message, const FieldDescriptor* field) {
  std::vector<std::string> values(1);
  if (field->is_repeated()) {
    values.resize(message.GetReflection()->FieldSize(message, field));
    for (size_t i = 0; i < values.size(); ++i) {
      TextFormat::PrintFieldValueToString(message, field, static_cast<int>(i), &values[i]);
    }
    std::sort(values.begin(), values.end());
    return values.empty() ? "empty" : absl::StrJoin(values, ",");
  }
  if (field->has_presence() && !message.GetReflection()->HasField(message, field)) return "not set";
  TextFormat::PrintFieldValueToString(message, field, -1, &values[0]);
  return values[0];
}

}  // namespace

std::vector<std::string> Differences(const Message& asked, const Message& existing,
                                     const std::vector<std::string>& fields) {
  std::vector<std::string> differences;
  for (const std::string& name : fields) {
    const FieldDescriptor* field = asked.GetDescriptor()->FindFieldByName(name);
    const std::string want = ValueOf(asked, field);
    const std::string have = ValueOf(existing, field);
    if (want != have) {
      differences.push_back(absl::StrCat(name, " is ", have, ", asked for ", want));
    }
  }
  return differences;
}

}  // namespace vmqd::cli

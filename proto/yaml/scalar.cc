// See scalar.h.
#include "proto/yaml/scalar.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/yaml/nearest.h"
#include "proto/yaml/yaml.h"

namespace vmqd {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kLongestQuote = 64;

// -12, 0, 345: decimal, nothing around it. A leading zero would be octal to YAML 1.1 only.
bool LooksWhole(const std::string& text) {
  const size_t first = text.starts_with("-") ? 1 : 0;
  if (text.size() == first) return false;
  if (text[first] == '0' && text.size() > first + 1) return false;
  return text.find_first_not_of("0123456789", first) == std::string::npos;
}

template <typename Number>
std::string ParseWhole(const std::string& text, Number* number) {
  if (!LooksWhole(text)) return absl::StrCat(QuotedText(text), " is not a number");
  if (absl::SimpleAtoi(text, number)) return "";
  using Limits = std::numeric_limits<Number>;
  return absl::StrCat(QuotedText(text), " is out of range, ", Limits::min(), " to ", Limits::max());
}

// Sets or adds, by what the field is.
#define VMQD_PUT(Type, value)                                          \
  (field->is_repeated() ? reflection->Add##Type(message, field, value) \
                        : reflection->Set##Type(message, field, value))

std::string SetEnum(const std::string& text, const FieldDescriptor* field, Message* message) {
  std::vector<std::string> words;
  for (int i = 0; i < field->enum_type()->value_count(); ++i) {
    const EnumValueDescriptor* value = field->enum_type()->value(i);
    if (value->number() == 0) continue;  // "not said"
    if (absl::EqualsIgnoreCase(value->name(), text)) {
      const auto* reflection = message->GetReflection();
      VMQD_PUT(Enum, value);
      return "";
    }
    words.push_back(EnumWord(value));
  }
  const std::string meant = Nearest(text, words);
  return absl::StrCat(QuotedText(text), " is not one of ", absl::StrJoin(words, ", "),
                      meant.empty() ? "" : "; did you mean ", meant, meant.empty() ? "" : "?");
}

template <typename Number, typename Put>
std::string SetWhole(const std::string& text, Put put) {
  Number number = 0;
  std::string wrong = ParseWhole(text, &number);
  if (wrong.empty()) put(number);
  return wrong;
}

}  // namespace

std::string QuotedText(const std::string& text) {
  const bool cut = text.size() > kLongestQuote;
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text.substr(0, kLongestQuote)),
                      cut ? "...\"" : "\"");
}

std::string SetFromText(const std::string& text, const FieldDescriptor* field, Message* message) {
  const google::protobuf::Reflection* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      VMQD_PUT(String, text);
      return "";
    case FieldDescriptor::CPPTYPE_BOOL: {
      const bool yes = absl::EqualsIgnoreCase(text, "true");
      if (!yes && !absl::EqualsIgnoreCase(text, "false")) {
        return absl::StrCat(QuotedText(text), " is neither true nor false");
      }
      VMQD_PUT(Bool, yes);
      return "";
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(text, field, message);
    case FieldDescriptor::CPPTYPE_UINT32:
      return SetWhole<uint32_t>(text, [&](uint32_t number) { VMQD_PUT(UInt32, number); });
    case FieldDescriptor::CPPTYPE_INT32:
      return SetWhole<int32_t>(text, [&](int32_t number) { VMQD_PUT(Int32, number); });
    case FieldDescriptor::CPPTYPE_UINT64:
      return SetWhole<uint64_t>(text, [&](uint64_t number) { VMQD_PUT(UInt64, number); });
    case FieldDescriptor::CPPTYPE_INT64:
      return SetWhole<int64_t>(text, [&](int64_t number) { VMQD_PUT(Int64, number); });
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number = 0;
      if (!absl::SimpleAtod(text, &number) || !std::isfinite(number)) {
        return absl::StrCat(QuotedText(text), " is not a number");
      }
      VMQD_PUT(Double, number);
      return "";
    }
    default:
      return absl::StrCat("fields of type ", field->type_name(), " cannot be read from a file");
  }
}

#undef VMQD_PUT

}  // namespace vmqd

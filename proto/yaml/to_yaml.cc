// See yaml.h.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/text_format.h"
#include "proto/yaml/yaml.h"
#include "yaml-cpp/yaml.h"

namespace vmqd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kFirstOutputField = 20;  // in Uplink and Port, by convention

// A string that every YAML reader takes for that string without quotes. MAC addresses are not: to
// YAML 1.1 some of them are numbers to the base of sixty.
bool IsPlainYaml(const std::string& text) {
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/')) return false;
  for (const char* word : {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}) {
    if (absl::EqualsIgnoreCase(text, word)) return false;
  }
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '/' || c == '.';
  });
}

void EmitText(const std::string& text, YAML::Emitter& out) {
  if (!IsPlainYaml(text)) out << YAML::DoubleQuoted;
  out << text;
}

void EmitJson(const YAML::Node& node, YAML::Emitter& out) {
  switch (node.Type()) {
    case YAML::NodeType::Map:
      out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginMap;
      for (const auto& entry : node) {
        out << YAML::Key << entry.first.Scalar() << YAML::Value;
        EmitJson(entry.second, out);
      }
      out << YAML::EndMap;
      return;
    case YAML::NodeType::Sequence:
      out << (node.size() == 0 ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
      for (const auto& item : node) EmitJson(item, out);
      out << YAML::EndSeq;
      return;
    default:
      // The parser tags what stood in quotes "!"; the rest are numbers, true, false and null.
      if (node.Tag() == "!") return EmitText(node.Scalar(), out);
      out << (node.IsNull() ? "null" : node.Scalar());
  }
}

void EmitMessage(const Message& message, YAML::Emitter& out);

// One value; `index` is -1 where the field is not repeated.
void EmitValue(const Message& message, const FieldDescriptor* field, int index,
               YAML::Emitter& out) {
  const Reflection* reflection = message.GetReflection();
  std::string scratch;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return EmitMessage(index < 0 ? reflection->GetMessage(message, field)
                                   : reflection->GetRepeatedMessage(message, field, index),
                         out);
    case FieldDescriptor::CPPTYPE_STRING:
      return EmitText(index < 0
                          ? reflection->GetStringReference(message, field, &scratch)
                          : reflection->GetRepeatedStringReference(message, field, index, &scratch),
                      out);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EmitText(EnumWord(index < 0 ? reflection->GetEnum(message, field)
                                         : reflection->GetRepeatedEnum(message, field, index)),
                      out);
    default:
      google::protobuf::TextFormat::PrintFieldValueToString(message, field, index, &scratch);
      out << scratch;
  }
}

// {3: 1}, by key.
void EmitMap(const Message& message, const FieldDescriptor* field, YAML::Emitter& out) {
  const Reflection* reflection = message.GetReflection();
  std::vector<const Message*> pairs;
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    pairs.push_back(&reflection->GetRepeatedMessage(message, field, i));
  }
  const FieldDescriptor* key = field->message_type()->map_key();
  std::sort(pairs.begin(), pairs.end(), [key](const Message* one, const Message* other) {
    return one->GetReflection()->GetUInt32(*one, key) <
           other->GetReflection()->GetUInt32(*other, key);
  });
  out << YAML::Flow << YAML::BeginMap;
  for (const Message* pair : pairs) {
    out << YAML::Key;
    EmitValue(*pair, key, -1, out);
    out << YAML::Value;
    EmitValue(*pair, field->message_type()->map_value(), -1, out);
  }
  out << YAML::EndMap;
}

void EmitMessage(const Message& message, YAML::Emitter& out) {
  std::vector<const FieldDescriptor*> fields;  // by number
  message.GetReflection()->ListFields(message, &fields);
  std::erase_if(fields, [](const FieldDescriptor* field) { return !IsSettable(field); });
  out << (fields.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
  for (const FieldDescriptor* field : fields) {
    out << YAML::Key << field->name() << YAML::Value;
    if (!field->is_repeated()) {
      EmitValue(message, field, -1, out);
      continue;
    }
    if (field->is_map()) {
      EmitMap(message, field, out);
      continue;
    }
    out << YAML::BeginSeq;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      EmitValue(message, field, i, out);
    }
    out << YAML::EndSeq;
  }
  out << YAML::EndMap;
}

}  // namespace

std::string ToYaml(const Message& message) {
  YAML::Emitter out;
  EmitMessage(message, out);
  return absl::StrCat(out.c_str(), "\n");
}

std::string JsonToYaml(const std::string& json) {
  YAML::Emitter out;
  EmitJson(YAML::Load(json), out);
  return absl::StrCat(out.c_str(), "\n");
}

bool IsSettable(const FieldDescriptor* field) {
  const std::string& type = field->containing_type()->full_name();
  const bool has_outputs = type == "vmqd.v1.Uplink" || type == "vmqd.v1.Port";
  return !has_outputs || field->number() < kFirstOutputField;
}

std::string EnumWord(const google::protobuf::EnumValueDescriptor* value) {
  return absl::AsciiStrToLower(value->name());
}

}  // namespace vmqd

// See yaml.h: the node tree walked along the message's descriptor, so that every value is met where
// its field is known.
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/stubs/common.h"
#include "proto/yaml/nearest.h"
#include "proto/yaml/scalar.h"
#include "proto/yaml/yaml.h"
#include "yaml-cpp/anchor.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"

namespace vmqd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string Article(const YAML::Node& node) {
  if (node.IsSequence()) return "a list";
  return node.IsMap() ? "a group of keys" : QuotedText(node.Scalar());
}

class Walker {
 public:
  Walker(std::string file, YamlPositions* positions)
      : file_(std::move(file)), positions_(positions) {
    if (positions_ != nullptr) positions_->SetFile(file_);
  }

  void Fill(const YAML::Node& node, const std::string& path, Message* message);
  // With the position of `mark`.
  void Say(const YAML::Mark& mark, const std::string& path, const std::string& what);
  const std::vector<std::string>& errors() const { return errors_; }

 private:
  bool Full() const { return errors_.size() >= kMaxYamlErrors || values_ > kMaxYamlValues; }
  bool Count(const YAML::Node& node, const std::string& path);
  const FieldDescriptor* FieldOf(const YAML::Node& key, const std::string& path,
                                 const Descriptor* type);
  void SetField(const YAML::Node& value, const YAML::Mark& key, const std::string& path,
                const FieldDescriptor* field, Message* message);
  void SetMap(const YAML::Node& value, const std::string& path, const FieldDescriptor* field,
              Message* message);
  void SetValue(const YAML::Node& value, const std::string& path, const FieldDescriptor* field,
                Message* message);

  const std::string file_;
  YamlPositions* const positions_;
  std::vector<std::string> errors_;
  int values_ = 0;
};

void Walker::Say(const YAML::Mark& mark, const std::string& path, const std::string& what) {
  errors_.push_back(absl::StrCat(file_, ":", mark.line + 1, ":", mark.column + 1, ": ", path,
                                 path.empty() ? "" : ": ", what));
}

// The text is small, but what its aliases stand for need not be.
bool Walker::Count(const YAML::Node& node, const std::string& path) {
  if (Full()) return false;
  if (positions_ != nullptr) {
    positions_->Add(path, node.Mark().line + 1, node.Mark().column + 1);
  }
  if (++values_ <= kMaxYamlValues) return true;
  Say(node.Mark(), path,
      absl::StrCat("with its aliases the file has more than ", kMaxYamlValues,
                   " values, too many"));
  return false;
}

// The field that a key means; nullptr, and said, when it means none.
const FieldDescriptor* Walker::FieldOf(const YAML::Node& key, const std::string& path,
                                       const Descriptor* type) {
  if (!key.IsScalar()) {
    Say(key.Mark(), path, absl::StrCat("a key has to be a word, not ", Article(key)));
    return nullptr;
  }
  std::vector<std::string> known;
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (key.Scalar() == field->name() || key.Scalar() == field->json_name()) {
      if (IsSettable(field)) return field;
      Say(key.Mark(), path,
          absl::StrCat(field->name(), " is told by vmqd and cannot be set; remove the line"));
      return nullptr;
    }
    if (IsSettable(field)) known.push_back(field->name());
  }
  const std::string meant = Nearest(key.Scalar(), known);
  Say(key.Mark(), path,
      absl::StrCat("unknown key ", QuotedText(key.Scalar()),
                   meant.empty() ? absl::StrCat("; there are ", absl::StrJoin(known, ", "))
                                 : absl::StrCat("; did you mean ", meant, "?")));
  return nullptr;
}

void Walker::Fill(const YAML::Node& node, const std::string& path, Message* message) {
  if (!Count(node, path)) return;
  if (!node.IsMap()) {
    std::vector<std::string> known;
    for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message->GetDescriptor()->field(i);
      if (IsSettable(field)) known.push_back(field->name());
    }
    Say(node.Mark(), path,
        node.IsNull() ? "has no value; write {} to leave everything in it at its default"
                      : absl::StrCat("is ", Article(node), "; wanted are keys with values, of ",
                                     absl::StrJoin(known, ", ")));
    return;
  }
  std::set<const FieldDescriptor*> seen;
  for (const auto& entry : node) {
    if (Full()) return;
    const YAML::Node& key = entry.first;
    const FieldDescriptor* field = FieldOf(key, path, message->GetDescriptor());
    if (field == nullptr) continue;
    const std::string name = absl::StrCat(path, path.empty() ? "" : ".", field->name());
    if (!seen.insert(field).second) {
      Say(key.Mark(), name, "is there twice");
      continue;
    }
    SetField(entry.second, key.Mark(), name, field, message);
  }
}

void Walker::SetField(const YAML::Node& value, const YAML::Mark& key, const std::string& path,
                      const FieldDescriptor* field, Message* message) {
  if (value.IsNull()) {
    // "ports:" with every item of it taken out.
    if (field->is_repeated()) return;
    return Say(key, path,
               field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
                   ? "has no value; write {} to leave everything in it at its default, or remove "
                     "the line"
                   : "has no value; give it one, or remove the line");
  }
  if (!field->is_repeated()) return SetValue(value, path, field, message);
  if (field->is_map()) return SetMap(value, path, field, message);
  if (!Count(value, path)) return;
  if (!value.IsSequence()) {
    return Say(value.Mark(), path,
               absl::StrCat("is ", Article(value),
                            "; wanted is a list: each item behind a \"- \""
                            " of its own, or [...]"));
  }
  size_t index = 0;
  for (const YAML::Node& item : value) {
    if (Full()) return;
    const std::string item_path = absl::StrCat(path, "[", index++, "]");
    if (item.IsNull()) {
      Say(item.Mark(), item_path, "has no value");
    } else {
      SetValue(item, item_path, field, message);
    }
  }
}

void Walker::SetMap(const YAML::Node& value, const std::string& path, const FieldDescriptor* field,
                    Message* message) {
  if (!Count(value, path)) return;
  if (!value.IsMap()) {
    return Say(value.Mark(), path,
               absl::StrCat("is ", Article(value), "; wanted are pairs, {key: value, ...}"));
  }
  std::set<std::string> seen;
  for (const auto& entry : value) {
    if (Full()) return;
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : Article(entry.first);
    const std::string entry_path = absl::StrCat(path, "[", key, "]");
    if (!seen.insert(key).second) {
      Say(entry.first.Mark(), entry_path, "is there twice");
      continue;
    }
    Message* pair = message->GetReflection()->AddMessage(message, field);
    SetValue(entry.first, entry_path, field->message_type()->map_key(), pair);
    SetValue(entry.second, entry_path, field->message_type()->map_value(), pair);
  }
}

void Walker::SetValue(const YAML::Node& value, const std::string& path,
                      const FieldDescriptor* field, Message* message) {
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const auto* reflection = message->GetReflection();
    return Fill(value, path,
                field->is_repeated() ? reflection->AddMessage(message, field)
                                     : reflection->MutableMessage(message, field));
  }
  if (!Count(value, path)) return;
  if (!value.IsScalar()) {
    return Say(value.Mark(), path, absl::StrCat("is ", Article(value), "; wanted is one value"));
  }
  const std::string wrong = SetFromText(value.Scalar(), field, message);
  if (!wrong.empty()) Say(value.Mark(), path, wrong);
}

// Hears of a document and keeps where it began.
class Listener : public YAML::EventHandler {
 public:
  YAML::Mark start;
  void OnDocumentStart(const YAML::Mark& mark) override { start = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// YAML::Load reads the first document and is silent about the rest; YAML::LoadAll reads some texts,
// such as ",", as documents without end. So: the first, and whether there is a second.
void Read(const std::string& text, Walker& walker, Message* message) {
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    Listener listener;
    if (parser.HandleNextDocument(listener) && parser.HandleNextDocument(listener)) {
      return walker.Say(listener.start, "", "the document has ended, and only one is read");
    }
    const YAML::Node document = YAML::Load(text);
    if (!document.IsNull()) walker.Fill(document, "", message);
  } catch (const YAML::Exception& error) {
    walker.Say(error.mark, "", absl::StrCat("not YAML: ", error.msg));
  }
}

}  // namespace

absl::Status FromYaml(std::string_view text, const std::string& file, Message* message,
                      YamlPositions* positions) {
  message->Clear();
  if (text.size() > kMaxYamlBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": ", text.size(), " bytes; at most ", kMaxYamlBytes, " are read"));
  }
  const std::string copy(text);  // protobuf's string piece is its own
  if (!google::protobuf::internal::IsStructurallyValidUTF8(copy) ||
      copy.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not text in UTF-8"));
  }
  Walker walker(file, positions);
  Read(copy, walker, message);
  if (walker.errors().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(walker.errors(), "\n"));
}

std::string YamlPositions::At(const std::string& path) const {
  if (file_.empty()) return path;
  std::string known = path;
  while (!known.empty() && !marks_.contains(known)) {
    const size_t end = known.find_last_of(".[");
    known.resize(end == std::string::npos ? 0 : end);
  }
  const auto mark = marks_.find(known);
  if (mark == marks_.end()) return absl::StrCat(file_, ": ", path);
  return absl::StrCat(file_, ":", mark->second.first, ":", mark->second.second, ": ", path);
}

}  // namespace vmqd

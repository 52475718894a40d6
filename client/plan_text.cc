// See plan_text.h.
#include "client/plan_text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/output.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"

namespace vmqd::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

struct Words {
  const char* sign;
  const char* verb;
  const char* past;
};
// By ChangeKind.
constexpr std::array<Words, 4> kKinds = {{{"+", "create", "created"},
                                          {"~", "update", "updated"},
                                          {"-/+", "replace", "replaced"},
                                          {"-", "delete", "deleted"}}};
const Words& WordsOf(ChangeKind kind) { return kKinds[static_cast<size_t>(kind)]; }

const Message& MessageOf(const Resource& resource) {
  return *std::visit([](const auto& message) -> const Message* { return &message; }, resource);
}

// "2 created, 1 deleted", of the changes that `counts` takes.
template <typename Counts>
std::string Count(const Plan& plan, const char* Words::*word, const char* before, Counts counts) {
  std::vector<std::string> parts;
  for (size_t kind = 0; kind < kKinds.size(); ++kind) {
    size_t count = 0;
    for (size_t i = 0; i < plan.changes.size(); ++i) {
      if (plan.changes[i].kind == static_cast<ChangeKind>(kind) && counts(i)) ++count;
    }
    if (count > 0) parts.push_back(absl::StrCat(count, " ", before, kKinds[kind].*word));
  }
  return absl::StrJoin(parts, ", ");
}

std::string Json(const Message& message) {
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return json;
}

std::string Json(const std::vector<std::string>& texts) {
  return absl::StrCat("[",
                      absl::StrJoin(texts, ", ",
                                    [](std::string* out, const std::string& text) {
                                      absl::StrAppend(out, JsonText(text));
                                    }),
                      "]");
}

std::string ChangeJson(const Change& change) {
  std::vector<std::string> fields;
  for (const FieldChange& field : change.fields) {
    fields.push_back(absl::StrCat("{\"field\": ", JsonText(field.field),
                                  ", \"before\": ", JsonText(field.before),
                                  ", \"after\": ", JsonText(field.after), "}"));
  }
  std::string json =
      absl::StrCat("{\"action\": ", JsonText(WordsOf(change.kind).verb),
                   ", \"name\": ", JsonText(change.name), ", \"reason\": ", JsonText(change.reason),
                   ", \"fields\": [", absl::StrJoin(fields, ", "), "]");
  if (change.kind != ChangeKind::kDelete) {
    absl::StrAppend(&json, ", \"wanted\": ", Json(MessageOf(change.wanted)));
  }
  return json + "}";
}

// queue_cpus: "{1: 0, 3: 1}".
std::string MapText(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  std::map<uint32_t, int32_t> pairs;
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    const Message& pair = reflection->GetRepeatedMessage(message, field, i);
    pairs[pair.GetReflection()->GetUInt32(pair, field->message_type()->map_key())] =
        pair.GetReflection()->GetInt32(pair, field->message_type()->map_value());
  }
  return absl::StrCat("{", absl::StrJoin(pairs, ", ", absl::PairFormatter(": ")), "}");
}

// A value as a line of a diff shows it.
std::string ValueText(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  if (field->is_map()) return MapText(message, field);
  if (field->is_repeated()) {  // macs: in any order
    std::vector<std::string> values;
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      values.push_back(reflection->GetRepeatedString(message, field, i));
    }
    std::sort(values.begin(), values.end());
    return absl::StrCat("[", absl::StrJoin(values, ", "), "]");
  }
  if (field->has_presence() && !reflection->HasField(message, field)) return "none";
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumWord(reflection->GetEnum(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection->GetUInt32(message, field));
    default: {
      const std::string text = reflection->GetString(message, field);
      return text.empty() ? "none" : text;
    }
  }
}

}  // namespace

std::vector<FieldChange> DifferencesOf(const Message& before, const Message& after) {
  std::vector<FieldChange> changes;
  for (int i = 0; i < before.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = before.GetDescriptor()->field(i);
    if (!IsSettable(field) || field->name() == "name") continue;
    const std::string had = ValueText(before, field);
    const std::string gets = ValueText(after, field);
    if (had != gets) changes.push_back({field->name(), had, gets});
  }
  return changes;
}

std::string DiffText(const Plan& plan) {
  std::string text;
  for (const Change& change : plan.changes) {
    absl::StrAppend(&text, WordsOf(change.kind).sign, " ", change.name);
    if (!change.reason.empty()) absl::StrAppend(&text, ": ", change.reason);
    absl::StrAppend(&text, "\n");
    for (const FieldChange& field : change.fields) {
      absl::StrAppend(&text, "    ", field.field, ": ", field.before, " -> ", field.after, "\n");
    }
    if (change.kind != ChangeKind::kCreate) continue;
    const std::string yaml = ToYaml(MessageOf(change.wanted));
    for (const absl::string_view line : absl::StrSplit(yaml, '\n', absl::SkipEmpty())) {
      if (line.substr(0, 6) == "name: ") continue;
      absl::StrAppend(&text, "    ", line, "\n");
    }
  }
  return text;
}

std::string StepText(const Plan& plan, const Step& step) {
  static constexpr const char* kCalls[] = {"delete ", "create ", "update "};
  return absl::StrCat(kCalls[static_cast<size_t>(step.call)], plan.changes[step.change].name);
}

std::string DoneText(const Plan& plan, const Step& step) {
  static constexpr const char* kCalls[] = {" deleted", " created", " updated"};
  return absl::StrCat(plan.changes[step.change].name, kCalls[static_cast<size_t>(step.call)]);
}

std::string CountText(const Plan& plan, size_t done) {
  // A change is made when no step of it is left.
  const std::string text = Count(plan, &Words::past, "", [&](size_t change) {
    return std::none_of(plan.steps.begin() + static_cast<ptrdiff_t>(done), plan.steps.end(),
                        [&](const Step& step) { return step.change == change; });
  });
  return text.empty() ? "nothing done" : text;
}

std::string ToDoText(const Plan& plan) {
  return Count(plan, &Words::verb, "to ", [](size_t) { return true; });
}

std::string PlanJson(const Plan& plan, size_t done, const std::vector<std::string>& refusals) {
  std::vector<std::string> changes;
  for (const Change& change : plan.changes) changes.push_back(ChangeJson(change));
  return absl::StrCat("{\n \"changes\": [", changes.empty() ? "" : "\n  ",
                      absl::StrJoin(changes, ",\n  "), "],\n \"steps\": ", plan.steps.size(),
                      ",\n \"stepsDone\": ", done, ",\n \"kept\": ", Json(plan.extra),
                      ",\n \"refusals\": ", Json(refusals), "\n}\n");
}

}  // namespace vmqd::cli

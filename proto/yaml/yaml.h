// YAML to and from protobuf messages: the schema of every file that vmqd reads is a message, and a
// mistake in a file is told with line, column and field. Any thread; values only.
#ifndef VMQD_PROTO_YAML_YAML_H_
#define VMQD_PROTO_YAML_YAML_H_

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace vmqd {

inline constexpr size_t kMaxYamlBytes = 4 << 20;
inline constexpr int kMaxYamlValues = 1 << 20;  // aliases count each time they are used
inline constexpr int kMaxYamlErrors = 10;       // more are not told

// Where in a file the fields of a message were said, for checks that come after reading.
class YamlPositions {
 public:
  // "switch.yaml:12:5: ports[3].vlan"; where a field was left out, the position of what it would
  // belong to. Just the path when the message came from no file.
  std::string At(const std::string& path) const;

  void SetFile(const std::string& file) { file_ = file; }
  bool HasContent() const { return !marks_.empty(); }  // not just blanks and comments
  void Add(const std::string& path, int line, int column) { marks_[path] = {line, column}; }

 private:
  std::string file_;
  std::map<std::string, std::pair<int, int>> marks_;  // line and column from 1
};

// Fills `message` from `text`, one YAML document. Keys are the names of its fields, as in the
// .proto file or in JSON; enums are said by name in either case. A key without a value is an empty
// list where a list is wanted, and an error elsewhere; an empty document leaves `message` empty.
// Fields that vmqd only tells, not takes (in Uplink and Port those from number 20), are refused.
//
// InvalidArgument names every mistake, up to kMaxYamlErrors, one a line:
//   switch.yaml:12:11: ports[3].vlan: "4096x" is not a number
// `file` is what messages call the text. `message` is then not to be used.
absl::Status FromYaml(std::string_view text, const std::string& file,
                      google::protobuf::Message* message, YamlPositions* positions = nullptr);

// The fields that are set, in the order of their numbers, enums in lower case, without those that
// FromYaml refuses. "{}" when none is. FromYaml reads it back.
std::string ToYaml(const google::protobuf::Message& message);

// Whether an operator sets the field, as opposed to being told it.
bool IsSettable(const google::protobuf::FieldDescriptor* field);
// A value of an enum as files and people write it: in lower case.
std::string EnumWord(const google::protobuf::EnumValueDescriptor* value);

// JSON, which has to be valid, as YAML in block style.
std::string JsonToYaml(const std::string& json);

}  // namespace vmqd

#endif  // VMQD_PROTO_YAML_YAML_H_

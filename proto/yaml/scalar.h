// One scalar of a YAML file as the value of a field. Any thread.
#ifndef VMQD_PROTO_YAML_SCALAR_H_
#define VMQD_PROTO_YAML_SCALAR_H_

#include <string>

#include "google/protobuf/message.h"

namespace vmqd {

// Sets `field` of `message`, or adds to it when it is repeated. Returns what is wrong with the text
// as a clause, `"x" is not a number`, and has then set nothing; empty when all is well.
std::string SetFromText(const std::string& text, const google::protobuf::FieldDescriptor* field,
                        google::protobuf::Message* message);

// A piece of a file as a sentence may repeat it: quoted, escaped, cut where it is long.
std::string QuotedText(const std::string& text);

}  // namespace vmqd

#endif  // VMQD_PROTO_YAML_SCALAR_H_

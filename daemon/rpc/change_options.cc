// See change_options.h.
#include "daemon/rpc/change_options.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/rpc/error.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace vmqd::rpc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMaxRequestId = 64;
constexpr int kFirstOutputField = 20;  // of Uplink and Port

// FNV-1a. absl::Hash has another seed in every process, and this is compared after a restart.
uint64_t StableHash(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) {
    hash ^= static_cast<unsigned char>(byte);
    hash *= 0x100000001b3;
  }
  return hash;
}

// Who changes what it has read sends counters along, which differ from one try to the next.
void ClearOutputFields(Message& resource) {
  std::vector<const FieldDescriptor*> fields;
  resource.GetReflection()->ListFields(resource, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->number() < kFirstOutputField || field->name() == "etag") continue;
    resource.GetReflection()->ClearField(&resource, field);
  }
}

bool IsResource(const FieldDescriptor& field) {
  return field.message_type() == v1::Uplink::descriptor() ||
         field.message_type() == v1::Port::descriptor();
}

std::string Serialized(const Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

}  // namespace

absl::Status CheckRequestId(const std::string& request_id) {
  const bool legal = request_id.size() <= kMaxRequestId &&
                     std::all_of(request_id.begin(), request_id.end(),
                                 [](char c) { return absl::ascii_isprint(c); });
  if (legal) return absl::OkStatus();
  return Invalid("REQUEST_ID_MALFORMED", "request_id",
                 absl::StrCat(Quoted(request_id), " is not 1-", kMaxRequestId,
                              " printable ASCII characters; a UUID will do"));
}

std::string Fingerprint(std::string_view method, const Message& request) {
  const std::unique_ptr<Message> content(request.New());
  content->CopyFrom(request);
  std::vector<const FieldDescriptor*> fields;
  content->GetReflection()->ListFields(*content, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->name() == "request_id") content->GetReflection()->ClearField(content.get(), field);
    if (IsResource(*field)) {
      ClearOutputFields(*content->GetReflection()->MutableMessage(content.get(), field));
    }
  }
  return absl::StrCat(std::string(method), ":",
                      absl::Hex(StableHash(Serialized(*content)), absl::kZeroPad16));
}

}  // namespace vmqd::rpc

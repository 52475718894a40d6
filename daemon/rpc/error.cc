// See error.h.
#include "daemon/rpc/error.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/control/error.h"
#include "google/rpc/error_details.pb.h"

namespace vmqd::rpc {
namespace {

constexpr char kDomain[] = "vmqd";

// gRPC peers accept 8 KiB of trailers. The sentence is in them twice, once percent-encoded (up to
// three bytes a byte) and once in base64 (four for three), which leaves room for the rest.
constexpr size_t kMaxSentence = 1500;
constexpr size_t kMaxQuoted = 80;

// Protobuf strings are UTF-8; what a kernel or a verifier says need not be.
std::string Sentence(std::string sentence) {
  const bool cut = sentence.size() > kMaxSentence;
  if (cut) sentence.resize(kMaxSentence);
  for (char& c : sentence) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  if (cut) sentence += "...";
  return sentence;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const Refusal refusal = RefusalOf(status);
  const std::string sentence = Sentence(std::string(status.message()));

  google::rpc::ErrorInfo info;
  info.set_reason(refusal.reason);
  info.set_domain(kDomain);
  if (!refusal.field.empty()) (*info.mutable_metadata())["field"] = refusal.field;

  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(sentence);
  details.add_details()->PackFrom(info);
  // absl and gRPC share the canonical codes, number by number.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), sentence,
                      details.SerializeAsString());
}

absl::Status Invalid(std::string_view reason, const std::string& field, const std::string& what) {
  return Refuse(absl::StatusCode::kInvalidArgument, reason, field, absl::StrCat(field, ": ", what));
}

absl::Status UnknownEnum(const std::string& field, int value, const char* known) {
  return Invalid("ENUM_UNKNOWN", field,
                 absl::StrCat(value, " is not a value this daemon knows; it knows ", known));
}

std::string Quoted(const std::string& value) {
  if (value.size() <= kMaxQuoted) return absl::StrCat("\"", absl::CHexEscape(value), "\"");
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, kMaxQuoted)), "...\" (", value.size(),
                      " characters)");
}

}  // namespace vmqd::rpc

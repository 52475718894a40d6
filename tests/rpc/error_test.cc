// The error channel from Refuse() to the trailer a client reads.
#include "daemon/rpc/error.h"

#include "daemon/control/error.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace vmqd::rpc {
namespace {

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  const google::rpc::Status details = DetailsOf(status);
  google::rpc::ErrorInfo info;
  EXPECT_EQ(details.details_size(), 1);
  EXPECT_TRUE(details.details(0).UnpackTo(&info));
  return info;
}

TEST(Error, OkStaysOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(Error, CarriesEverything) {
  const grpc::Status status = ToGrpcStatus(
      Refuse(absl::StatusCode::kAlreadyExists, "MAC_IN_USE", "port.macs[0]", "a sentence"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(status.error_message(), "a sentence");
  EXPECT_EQ(DetailsOf(status).code(), 6);
  EXPECT_EQ(DetailsOf(status).message(), "a sentence");
  const google::rpc::ErrorInfo info = InfoOf(status);
  EXPECT_EQ(info.reason(), "MAC_IN_USE");
  EXPECT_EQ(info.domain(), "vmqd");
  EXPECT_EQ(info.metadata().at("field"), "port.macs[0]");
}

TEST(Error, NoFieldNoMetadata) {
  const grpc::Status status =
      ToGrpcStatus(Refuse(absl::StatusCode::kInternal, "KERNEL_REFUSED", "", "a sentence"));
  EXPECT_TRUE(InfoOf(status).metadata().empty());
}

TEST(Error, StatusNotMadeByRefuse) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError("bind: no"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(InfoOf(status).reason(), "UNKNOWN");
}

TEST(Error, CodesAreTheSameNumbers) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "x");
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(status).error_code()), code);
  }
}

// A verifier log of 100 KB must not make a trailer that the client's gRPC refuses.
TEST(Error, LongAndForeignTextFitsATrailer) {
  const grpc::Status status =
      ToGrpcStatus(absl::InternalError(std::string(100000, 'x') + "\xff\xfe"));
  EXPECT_LT(status.error_message().size() * 3 + status.error_details().size() * 4 / 3, 8192u);
  EXPECT_TRUE(status.error_message().ends_with("..."));
  const grpc::Status foreign = ToGrpcStatus(absl::InternalError("caf\xe9"));
  EXPECT_EQ(foreign.error_message(), "caf?");
}

TEST(Error, QuotedIsSafeToPrint) {
  EXPECT_EQ(Quoted("vm1"), "\"vm1\"");
  EXPECT_EQ(Quoted("a\n\033[2J\"").find('\n'), std::string::npos);
  EXPECT_EQ(Quoted("a\n\033[2J\"").find('\033'), std::string::npos);
  EXPECT_LT(Quoted(std::string(100000, 'x')).size(), 200u);
}

}  // namespace
}  // namespace vmqd::rpc

// What a change may carry: request ids, fingerprints, etags, flags.
#include "daemon/rpc/change_options.h"

#include <set>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/rpc/refusal.h"

namespace vmqd::rpc {
namespace {

template <typename Message>
Message FromText(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(RequestId, PrintableAndNotLong) {
  for (const std::string& id :
       {std::string(), std::string("x"), std::string(64, 'x'), std::string("6a7a-41 ~!\"/\\")}) {
    EXPECT_TRUE(CheckRequestId(id).ok()) << id;
  }
  for (const std::string& id : {std::string(65, 'x'), std::string("a\nb"), std::string("a\0b", 3),
                                std::string("\x7f"), std::string("\u00e9")}) {
    EXPECT_THAT(CheckRequestId(id), IsInvalid("REQUEST_ID_MALFORMED", "request_id")) << id;
  }
}

TEST(ChangeOptions, TakesWhatTheRequestHas) {
  const auto update = ChangeOptionsFrom(
      "UpdatePort", FromText<v1::UpdatePortRequest>("port { name: 'ports/a' etag: 'e1' } "
                                                    "validate_only: true allow_missing: true"));
  ASSERT_TRUE(update.ok()) << update.status();
  EXPECT_TRUE(update->validate_only);
  EXPECT_TRUE(update->allow_missing);
  EXPECT_EQ(update->etag, "e1");
  EXPECT_EQ(update->request_id, "");
  EXPECT_EQ(update->fingerprint, "") << "without an id";

  const auto deletion = ChangeOptionsFrom(
      "DeleteUplink",
      FromText<v1::DeleteUplinkRequest>("name: 'uplinks/a' etag: 'e2' request_id: 'r'"));
  ASSERT_TRUE(deletion.ok()) << deletion.status();
  EXPECT_EQ(deletion->etag, "e2");
  EXPECT_EQ(deletion->request_id, "r");
  EXPECT_NE(deletion->fingerprint, "");
  EXPECT_FALSE(deletion->allow_missing);

  const auto creation = ChangeOptionsFrom(
      "CreatePort", FromText<v1::CreatePortRequest>("port { etag: 'of another' }"));
  ASSERT_TRUE(creation.ok()) << creation.status();
  EXPECT_EQ(creation->etag, "") << "there is nothing yet that it could be of";
}

TEST(ChangeOptions, RefusesAMalformedId) {
  v1::DeletePortRequest request;
  request.set_request_id("\t");
  EXPECT_THAT(ChangeOptionsFrom("DeletePort", request).status(),
              IsInvalid("REQUEST_ID_MALFORMED", "request_id"));
}

constexpr char kPort[] =
    "port { name: 'ports/a' vlan: 7 macs: '52:54:00:00:00:01' } update_mask { paths: 'vlan' } ";

// The update above with `more` merged into it.
std::string FingerprintWith(const std::string& more) {
  auto request = FromText<v1::UpdatePortRequest>(kPort);
  request.MergeFrom(FromText<v1::UpdatePortRequest>(more));
  return Fingerprint("M", request);
}

TEST(Fingerprint, IsKeptAcrossVersions) {
  // As written to the state by a released daemon: must never change.
  EXPECT_EQ(Fingerprint("UpdatePort", FromText<v1::UpdatePortRequest>(kPort)),
            "UpdatePort:af42a6f0fe715fe2");
  EXPECT_EQ(Fingerprint("DeletePort", v1::DeletePortRequest()), "DeletePort:cbf29ce484222325");
}

TEST(Fingerprint, IgnoresTheIdAndWhatIsOutputOnly) {
  for (const char* more :
       {"request_id: 'one'", "request_id: 'two'", "port { counters { in_pkts: 7 } }",
        "port { oper_status: UP cpu: 3 effective_macs: 'x' sockets { role: 'vm' } }"}) {
    EXPECT_EQ(FingerprintWith(more), FingerprintWith("")) << more;
  }
}

TEST(Fingerprint, TellsContentsAndMethodsApart) {
  std::set<std::string> seen = {FingerprintWith(""),
                                Fingerprint("N", FromText<v1::UpdatePortRequest>(kPort))};
  for (const char* more :
       {"port { vlan: 8 }", "port { weight: 0 }", "port { weight: 100 }", "port { etag: 'e' }",
        "port { macs: '52:54:00:00:00:02' }", "validate_only: true", "allow_missing: true",
        "update_mask { paths: 'mtu' }"}) {
    seen.insert(FingerprintWith(more));
  }
  EXPECT_EQ(seen.size(), 10u);
}

}  // namespace
}  // namespace vmqd::rpc

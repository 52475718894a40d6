// Who may what, as a table of its own: every method of the service has a row here and in roles.cc,
// or the test fails. Then the parts that the front is made of: names to roles, seats, tokens,
// frames.
#include "daemon/rpc/roles.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::rpc {
namespace {

struct Expected {
  v1::Role least;
  bool change;
};
const std::map<std::string, Expected> kExpected = {
    {"GetSwitch", {v1::VIEWER, false}},   {"GetUplink", {v1::VIEWER, false}},
    {"ListUplinks", {v1::VIEWER, false}}, {"GetQueue", {v1::VIEWER, false}},
    {"ListQueues", {v1::VIEWER, false}},  {"GetPort", {v1::VIEWER, false}},
    {"ListPorts", {v1::VIEWER, false}},   {"Watch", {v1::VIEWER, false}},
    {"ListEvents", {v1::VIEWER, false}},  {"Diagnose", {v1::VIEWER, false}},
    {"CreatePort", {v1::OPERATOR, true}}, {"UpdatePort", {v1::OPERATOR, true}},
    {"DeletePort", {v1::OPERATOR, true}}, {"CreateUplink", {v1::ADMIN, true}},
    {"UpdateUplink", {v1::ADMIN, true}},  {"DeleteUplink", {v1::ADMIN, true}},
    {"Rebalance", {v1::ADMIN, true}},
};

TEST(Roles, EveryMethodOfTheService) {
  const auto* service = v1::GetSwitchRequest::descriptor()->file()->FindServiceByName("Vmqd");
  ASSERT_NE(service, nullptr);
  EXPECT_EQ(service->method_count(), static_cast<int>(kExpected.size()));
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string& method = service->method(i)->name();
    const auto expected = kExpected.find(method);
    ASSERT_NE(expected, kExpected.end()) << method << " has no row: who may call it?";
    EXPECT_EQ(LeastRoleFor(method), expected->second.least) << method;
    EXPECT_EQ(IsChange(method), expected->second.change) << method;
    for (const v1::Role role : {v1::ROLE_UNSPECIFIED, v1::VIEWER, v1::OPERATOR, v1::ADMIN}) {
      EXPECT_EQ(MayCall(role, method), role >= expected->second.least)
          << RoleName(role) << " " << method;
    }
  }
}

TEST(Roles, UnknownMethodsAndRolesMayNothing) {
  for (const char* method :
       {"", "GetSwitc", "GetSwitchX", "getswitch", "/vmqd.v1.Vmqd/GetSwitch"}) {
    EXPECT_FALSE(MayCall(v1::ADMIN, method)) << method;
    EXPECT_FALSE(LeastRoleFor(method).has_value()) << method;
  }
  EXPECT_FALSE(MayCall(static_cast<v1::Role>(99), "GetSwitch"));
  EXPECT_FALSE(MayCall(static_cast<v1::Role>(-1), "GetSwitch"));
}

TEST(Roles, FirstBindingThatFits) {
  v1::TcpListener listener;
  const auto bind = [&](const std::string& name, v1::Role role) {
    v1::RoleBinding* binding = listener.add_roles();
    binding->set_name(name);
    binding->set_role(role);
  };
  bind("b.test", v1::OPERATOR);
  bind("a.test", v1::ADMIN);
  bind("*.test", v1::VIEWER);
  EXPECT_EQ(RoleOf({"a.test"}, listener), v1::ADMIN);
  EXPECT_EQ(RoleOf({"a.test", "b.test"}, listener), v1::OPERATOR) << "of the listener's order";
  EXPECT_EQ(RoleOf({"c.test"}, listener), v1::ROLE_UNSPECIFIED) << "no wildcards";
  EXPECT_EQ(RoleOf({"*.test"}, listener), v1::VIEWER) << "but a name like any other";
  EXPECT_EQ(RoleOf({"A.test"}, listener), v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(RoleOf({}, listener), v1::ROLE_UNSPECIFIED);
}

}  // namespace
}  // namespace vmqd::rpc

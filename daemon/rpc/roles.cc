// See roles.h.
#include "daemon/rpc/roles.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace vmqd::rpc {
namespace {

struct Row {
  std::string_view method;
  v1::Role least;
  bool change;
};

// A method without a row is denied to everybody; tests/rpc/roles_test.cc fails when the service has
// one.
constexpr Row kTable[] = {
    {"GetSwitch", v1::VIEWER, false},   {"GetUplink", v1::VIEWER, false},
    {"ListUplinks", v1::VIEWER, false}, {"GetQueue", v1::VIEWER, false},
    {"ListQueues", v1::VIEWER, false},  {"GetPort", v1::VIEWER, false},
    {"ListPorts", v1::VIEWER, false},   {"Watch", v1::VIEWER, false},
    {"ListEvents", v1::VIEWER, false},  {"Diagnose", v1::VIEWER, false},
    {"CreatePort", v1::OPERATOR, true}, {"UpdatePort", v1::OPERATOR, true},
    {"DeletePort", v1::OPERATOR, true}, {"CreateUplink", v1::ADMIN, true},
    {"UpdateUplink", v1::ADMIN, true},  {"DeleteUplink", v1::ADMIN, true},
    {"Rebalance", v1::ADMIN, true},
};

const Row* Find(std::string_view method) {
  const Row* row = std::find_if(std::begin(kTable), std::end(kTable),
                                [&](const Row& each) { return each.method == method; });
  return row == std::end(kTable) ? nullptr : row;
}

}  // namespace

std::optional<v1::Role> LeastRoleFor(std::string_view method) {
  const Row* row = Find(method);
  if (row == nullptr) return std::nullopt;
  return row->least;
}

bool IsChange(std::string_view method) {
  const Row* row = Find(method);
  return row != nullptr && row->change;
}

bool MayCall(v1::Role role, std::string_view method) {
  const std::optional<v1::Role> least = LeastRoleFor(method);
  return least.has_value() && role >= *least && role <= v1::ADMIN;
}

v1::Role RoleOf(const std::vector<std::string>& names, const v1::TcpListener& listener) {
  for (const v1::RoleBinding& binding : listener.roles()) {
    if (std::find(names.begin(), names.end(), binding.name()) != names.end()) return binding.role();
  }
  return v1::ROLE_UNSPECIFIED;
}

std::string RoleName(v1::Role role) {
  if (role == v1::ROLE_UNSPECIFIED) return "none";
  return absl::AsciiStrToLower(v1::Role_Name(role));
}

}  // namespace vmqd::rpc

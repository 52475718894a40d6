// Who may what: the one table of methods and roles, and which role a certificate's names have. Pure
// functions; any thread.
#ifndef VMQD_DAEMON_RPC_ROLES_H_
#define VMQD_DAEMON_RPC_ROLES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmqd/v1/settings.pb.h"

namespace vmqd::rpc {

// The least role that may call `method` ("CreatePort"); absent for a method the table does not
// know, which nobody may call.
std::optional<v1::Role> LeastRoleFor(std::string_view method);

// Whether the method changes something; false for one the table does not know.
bool IsChange(std::string_view method);

bool MayCall(v1::Role role, std::string_view method);

// The role of the first binding that names one of `names`; ROLE_UNSPECIFIED when none does. Names
// are compared byte by byte; "*" in a name means itself.
v1::Role RoleOf(const std::vector<std::string>& names, const v1::TcpListener& listener);

// As the settings spell it: "viewer"; "none" for ROLE_UNSPECIFIED.
std::string RoleName(v1::Role role);

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_ROLES_H_

// See listening.h.
#include "daemon/rpc/listening.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/unix_socket.h"

namespace vmqd::rpc {
namespace {

std::string ErrorText(int error) { return std::generic_category().message(error); }

absl::Status CannotListen(const std::string& address) {
  const int error = errno;
  return absl::FailedPreconditionError(
      absl::StrCat("cannot listen on ", address, ": ", ErrorText(error),
                   error == EADDRINUSE ? "; stop what listens there, or listen elsewhere" : ""));
}

}  // namespace

absl::StatusOr<Descriptor> ListenUnix(const std::string& path) {
  if (auto status = ClearSocketPath(path); !status.ok()) return status;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // The mode before bind is the mode the file is born with, whatever the umask allows beyond it.
  if (!listener.open() || fchmod(listener.get(), 0600) != 0 ||
      bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener.get(), SOMAXCONN) != 0) {
    return CannotListen(path);
  }
  return listener;
}

absl::StatusOr<Descriptor> ListenTcp(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon == std::string::npos ? 0 : colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    host.clear();  // IPv6 without brackets: which colon is the port's?
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  if (host.empty() || getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tcp.address: \"", address, "\" is not of the form 192.0.2.1:9443 or [::1]:9443"));
  }
  Descriptor listener(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  const int off = 0;
  if (listener.open()) {
    setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  }
  const bool bound =
      listener.open() && bind(listener.get(), found->ai_addr, found->ai_addrlen) == 0;
  const int error = errno;
  freeaddrinfo(found);
  errno = error;
  if (!bound || listen(listener.get(), SOMAXCONN) != 0) return CannotListen(address);
  return listener;
}

int PortOf(const Descriptor& listener) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return 0;
}

}  // namespace vmqd::rpc

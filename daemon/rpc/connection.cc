// See connection.h.
#include "daemon/rpc/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vmqd::rpc {
namespace {

void Set(const Descriptor& socket, int level, int option, int value) {
  setsockopt(socket.get(), level, option, &value, sizeof(value));
}

// A peer that vanished without a word is found out within 90 seconds.
void KeepAlive(const Descriptor& client) {
  Set(client, IPPROTO_TCP, TCP_NODELAY, 1);
  Set(client, SOL_SOCKET, SO_KEEPALIVE, 1);
  Set(client, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  Set(client, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  Set(client, IPPROTO_TCP, TCP_KEEPCNT, 3);
  Set(client, IPPROTO_TCP, TCP_USER_TIMEOUT, 90'000);
}

std::string Text(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(family, address, text, sizeof(text));
  return text;
}

std::optional<Visitor> FromNetwork(const Descriptor& client) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getpeername(client.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  KeepAlive(client);
  Visitor visitor{.caller = {.listener = Listener::kTcp}, .peer_key = ""};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    visitor.peer_key = Text(AF_INET, &v4.sin_addr);
    visitor.caller.address = absl::StrCat(visitor.peer_key, ":", ntohs(v4.sin_port));
    return visitor;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    visitor.peer_key = Text(AF_INET, &v6.sin6_addr.s6_addr[12]);
    visitor.caller.address = absl::StrCat(visitor.peer_key, ":", ntohs(v6.sin6_port));
    return visitor;
  }
  visitor.caller.address =
      absl::StrCat("[", Text(AF_INET6, &v6.sin6_addr), "]:", ntohs(v6.sin6_port));
  // Whoever has one address of a /64 has all of them.
  in6_addr network = v6.sin6_addr;
  std::memset(&network.s6_addr[8], 0, 8);
  visitor.peer_key = absl::StrCat(Text(AF_INET6, &network), "/64");
  return visitor;
}

}  // namespace

std::optional<Visitor> VisitorAt(const Descriptor& client, Listener listener) {
  if (listener == Listener::kTcp) return FromNetwork(client);
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return {};
  return Visitor{.caller = {.listener = listener,
                            .role = listener == Listener::kControl ? v1::ADMIN : v1::VIEWER,
                            .uid = credentials.uid,
                            .pid = credentials.pid},
                 .peer_key = absl::StrCat("user ", credentials.uid)};
}

absl::StatusOr<NamedEnds> NamedPair() {
  char random[16];
  if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
    return absl::InternalError("no random numbers");
  }
  const std::string name = "vmqd-" + absl::BytesToHexString(std::string(random, sizeof(random)));
  sockaddr_un address{};  // a zero before the name: abstract, no file
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const socklen_t length = offsetof(sockaddr_un, sun_path) + 1 + name.size();

  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return absl::InternalError(
        absl::StrCat("cannot make a socket pair: ", std::generic_category().message(errno)));
  }
  NamedEnds pair{
      .ours = Descriptor(ends[0]), .theirs = Descriptor(ends[1]), .name = "unix-abstract:" + name};
  if (bind(pair.ours.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return absl::InternalError(
        absl::StrCat("cannot name a socket pair: ", std::generic_category().message(errno)));
  }
  return pair;
}

}  // namespace vmqd::rpc

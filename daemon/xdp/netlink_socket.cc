// Requests and answers over netlink; the contract is in the header. Control threads, and the link
// monitor's own.
#include "daemon/xdp/netlink_socket.h"

#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

// The kernel's explanation in an acknowledgement, behind the request it quotes.
std::string Explanation(nlmsghdr* header, const nlmsgerr* error) {
  if (!(header->nlmsg_flags & NLM_F_ACK_TLVS)) return "";
  size_t offset = sizeof(nlmsgerr);
  if (!(header->nlmsg_flags & NLM_F_CAPPED)) {
    offset += NLMSG_ALIGN(error->msg.nlmsg_len) - sizeof(nlmsghdr);
  }
  const int left = nlmsg_datalen(header) - static_cast<int>(offset);
  if (left <= 0) return "";
  auto* first = reinterpret_cast<nlattr*>(static_cast<char*>(nlmsg_data(header)) + offset);
  nlattr* text = nla_find(first, left, NLMSGERR_ATTR_MSG);
  if (text == nullptr) return "";
  const auto* data = static_cast<const char*>(nla_data(text));
  return std::string(data, strnlen(data, static_cast<size_t>(nla_len(text))));
}

// What ends a request: an error, an acknowledgement (error 0), the end of a dump. Their payload
// starts with a negative errno.
KernelAnswer Ending(nlmsghdr* header) {
  int error = 0;
  if (nlmsg_datalen(header) >= static_cast<int>(sizeof(error))) {
    std::memcpy(&error, nlmsg_data(header), sizeof(error));
  }
  if (header->nlmsg_type == NLMSG_DONE) return {.error = -error};
  if (nlmsg_datalen(header) < static_cast<int>(sizeof(nlmsgerr))) {
    return {.error = EBADMSG, .text = "truncated acknowledgement"};
  }
  const auto* quoted = static_cast<const nlmsgerr*>(nlmsg_data(header));
  return {.error = -error, .text = error == 0 ? "" : Explanation(header, quoted)};
}

struct Freed {
  void operator()(unsigned char* buffer) const { std::free(buffer); }
};

}  // namespace

absl::Status KernelRefusal(const KernelAnswer& answer, const std::string& attempted,
                           std::string cure) {
  if (answer.ok()) return absl::OkStatus();
  absl::StatusCode code = absl::ErrnoToStatusCode(answer.error);
  if (answer.error == ENODEV) {
    code = absl::StatusCode::kNotFound;
    cure = "`ip link` lists the devices of this network namespace";
  } else if (answer.error == EPERM || answer.error == EACCES) {
    code = absl::StatusCode::kPermissionDenied;
    cure = "CAP_NET_ADMIN in the device's network namespace is needed";
  }
  std::string message =
      absl::StrCat(attempted, ": ", std::generic_category().message(answer.error));
  if (!answer.text.empty()) absl::StrAppend(&message, " (", answer.text, ")");
  if (!cure.empty()) absl::StrAppend(&message, "; ", cure);
  return absl::Status(code, message);
}

absl::StatusOr<NetlinkSocket> NetlinkSocket::Open(int protocol) {
  NetlinkSocket socket(nl_socket_alloc());
  if (socket.get() == nullptr) {
    return absl::ResourceExhaustedError("opening a netlink socket: out of memory");
  }
  if (const int error = nl_connect(socket.get(), protocol); error < 0) {
    return absl::UnavailableError(
        absl::StrCat("opening a netlink socket of protocol ", protocol, ": ", nl_geterror(error),
                     "; does the kernel, or a sandbox around this process, allow AF_NETLINK?"));
  }
  // Without it (before Linux 4.12) refusals come without an explanation, nothing worse.
  const int on = 1;
  setsockopt(socket.descriptor(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  return socket;
}

KernelAnswer NetlinkSocket::Transact(nl_msg* message,
                                     const std::function<void(nlmsghdr*)>& on_reply) {
  if (const int sent = nl_send_auto(socket_.get(), message); sent < 0) {
    return {.error = EIO, .text = absl::StrCat("sending: ", nl_geterror(sent))};
  }
  const uint32_t sequence = nlmsg_hdr(message)->nlmsg_seq;
  for (;;) {
    sockaddr_nl sender{};
    unsigned char* data = nullptr;
    int left = nl_recv(socket_.get(), &sender, &data, nullptr);
    std::unique_ptr<unsigned char, Freed> buffer(data);
    if (left <= 0) return {.error = EIO, .text = absl::StrCat("receiving: ", nl_geterror(left))};
    if (sender.nl_pid != 0) continue;  // not the kernel
    auto* header = reinterpret_cast<nlmsghdr*>(data);
    for (; nlmsg_ok(header, left); header = nlmsg_next(header, &left)) {
      if (header->nlmsg_seq != sequence) continue;
      if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
        return Ending(header);
      }
      if (on_reply) on_reply(header);
    }
  }
}

}  // namespace vmqd

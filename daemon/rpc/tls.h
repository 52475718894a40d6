// The TLS of the TCP listener: TLS 1.3 and nothing older, and a client certificate that the pinned
// CA has signed for clients. The system's own CAs do not count. No session is resumed, so that
// every connection shows its certificate.
//
// OpenSSL itself and not gRPC's credentials: those of 1.51 take no least version, and a stranger
// would be inside gRPC before he has shown a certificate.
#ifndef VMQD_DAEMON_RPC_TLS_H_
#define VMQD_DAEMON_RPC_TLS_H_

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vmqd/v1/settings.pb.h"

namespace vmqd::rpc {

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, FreeSsl>;

class TlsContext {
 public:
  // Reads the three PEM files of the listener. FAILED_PRECONDITION names the file and says what to
  // do: not there, not PEM, the key not the certificate's, the key readable by everybody.
  // INVALID_ARGUMENT: one is not given.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Load(const v1::TcpListener& listener);

  // The server's side of a connection on the socket `fd`, which stays the caller's. Any thread.
  SslPtr Accept(int fd) const;

  // What the operator should know: a certificate that has expired. Sentences.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  TlsContext() = default;

  std::unique_ptr<SSL_CTX, FreeContext> context_;
  std::vector<std::string> warnings_;
};

struct Certificate {
  // Subject alternative names (URI, DNS, e-mail, in the order of the certificate); the common name
  // where there are none of these.
  std::vector<std::string> names;
  std::chrono::system_clock::time_point expires;
};
// The certificate the client has shown; absent before the handshake is over.
std::optional<Certificate> PeerCertificate(SSL* ssl);

// The reason of the calling thread's last failure in OpenSSL, in words; clears it.
std::string TlsError();

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_TLS_H_

// See client_stream.h.
#include "daemon/rpc/client_stream.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace vmqd::rpc {

ClientStream::ClientStream(Descriptor socket, SslPtr tls)
    : socket_(std::move(socket)), tls_(std::move(tls)), shaken_(tls_ == nullptr) {}

ClientStream::~ClientStream() {
  if (tls_ == nullptr || !shaken_ || broken_) return;
  SSL_shutdown(tls_.get());
  ERR_clear_error();
}

ClientStream::Io ClientStream::Handshake() {
  if (shaken_) return Io::kDone;
  ERR_clear_error();
  const Io outcome = Outcome(SSL_do_handshake(tls_.get()));
  shaken_ = outcome == Io::kDone;
  return outcome;
}

ClientStream::Io ClientStream::Read(char* to, size_t room, size_t& moved) {
  moved = 0;
  if (tls_ != nullptr) {
    ERR_clear_error();
    return Outcome(SSL_read_ex(tls_.get(), to, room, &moved));
  }
  const ssize_t n = recv(socket_.get(), to, room, MSG_DONTWAIT);
  if (n == 0) return Io::kEnd;
  if (n < 0) return Outcome(-1);
  moved = n;
  plain_bytes_ += n;
  return Io::kDone;
}

ClientStream::Io ClientStream::Write(const char* from, size_t length, size_t& moved) {
  moved = 0;
  if (tls_ != nullptr) {
    ERR_clear_error();
    return Outcome(SSL_write_ex(tls_.get(), from, length, &moved));
  }
  const ssize_t n = send(socket_.get(), from, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) return Outcome(-1);
  moved = n;
  return Io::kDone;
}

// `result`: positive for success, as OpenSSL's; without TLS, errno says more.
ClientStream::Io ClientStream::Outcome(int result) {
  const int error = errno;
  wants_write_ = false;
  if (result > 0) return Io::kDone;
  if (tls_ == nullptr) {
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR) return Io::kAgain;
    error_ = std::generic_category().message(error);
    return Io::kFailed;
  }
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Io::kAgain;
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      return Io::kAgain;
    case SSL_ERROR_ZERO_RETURN:
      return Io::kEnd;
    case SSL_ERROR_SYSCALL:
      broken_ = true;
      error_ = error == 0 ? "the client went away" : std::generic_category().message(error);
      return Io::kFailed;
    default: {
      broken_ = true;
      const long verified = SSL_get_verify_result(tls_.get());
      error_ = TlsError();
      if (verified != X509_V_OK) {
        error_ = error_ + ": " + X509_verify_cert_error_string(verified);
      }
      return Io::kFailed;
    }
  }
}

uint64_t ClientStream::TakeWireBytes() {
  const uint64_t all = tls_ == nullptr ? plain_bytes_ : BIO_number_read(SSL_get_rbio(tls_.get()));
  return all - std::exchange(wire_bytes_taken_, all);
}

std::optional<Certificate> ClientStream::certificate() const {
  if (tls_ == nullptr) return std::nullopt;
  return PeerCertificate(tls_.get());
}

}  // namespace vmqd::rpc

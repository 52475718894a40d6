// See tls.h.
#include "daemon/rpc/tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "daemon/rpc/descriptor.h"

namespace vmqd::rpc {
namespace {

constexpr size_t kMaxFile = 1 << 20;   // a bundle of some hundred CAs
constexpr size_t kMaxNames = 64;       // of one certificate
constexpr size_t kMaxNameBytes = 512;  // longer ones are passed over
constexpr int kMaxDepth = 8;           // intermediate CAs

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>>;

absl::Status Unusable(const char* field, const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat("tcp.", field, ": ", path, " ", why));
}

absl::StatusOr<std::string> ReadFile(const char* field, const std::string& path, bool secret) {
  if (path.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tcp.", field,
                     ": required; TCP is served with TLS and client certificates "
                     "only: name PEM files in tcp.certificate, tcp.key and "
                     "tcp.client_ca"));
  }
  // Not blocking: the path may be a fifo.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file.open() || fstat(file.get(), &status) != 0) {
    return Unusable(field, path,
                    absl::StrCat("cannot be read: ", std::generic_category().message(errno)));
  }
  if (!S_ISREG(status.st_mode)) return Unusable(field, path, "is not a file");
  if (secret && (status.st_mode & 0007) != 0) {
    return Unusable(field, path,
                    "is a private key that everybody on this machine may read or write; chmod 0640 "
                    "it, and make a new key if somebody may have seen it");
  }
  std::string text(kMaxFile + 1, '\0');
  size_t length = 0;
  for (ssize_t n = 1; n > 0 && length < text.size(); length += n) {
    n = read(file.get(), text.data() + length, text.size() - length);
    if (n < 0) {
      return Unusable(field, path,
                      absl::StrCat("cannot be read: ", std::generic_category().message(errno)));
    }
  }
  if (length > kMaxFile) return Unusable(field, path, "is larger than 1 MiB");
  text.resize(length);
  return text;
}

BioPtr Memory(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::vector<X509Ptr> ReadCertificates(const std::string& pem) {
  std::vector<X509Ptr> certificates;
  const BioPtr bio = Memory(pem);
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  ERR_clear_error();  // the end of the file
  return certificates;
}

// A key behind a pass phrase is refused instead of asking on a terminal.
int NoPassPhrase(char*, int, int, void*) { return 0; }

absl::Status UseIdentity(SSL_CTX* context, const v1::TcpListener& listener,
                         std::vector<std::string>& warnings) {
  const auto chain_pem = ReadFile("certificate", listener.certificate(), false);
  if (!chain_pem.ok()) return chain_pem.status();
  auto key_pem = ReadFile("key", listener.key(), true);
  if (!key_pem.ok()) return key_pem.status();
  std::vector<X509Ptr> chain = ReadCertificates(*chain_pem);
  if (chain.empty()) {
    return Unusable("certificate", listener.certificate(), "has no certificate in PEM form");
  }
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1) {
    return Unusable("certificate", listener.certificate(), "is refused: " + TlsError());
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) {
      return Unusable("certificate", listener.certificate(), "is refused: " + TlsError());
    }
  }
  const KeyPtr key(PEM_read_bio_PrivateKey(Memory(*key_pem).get(), nullptr, NoPassPhrase, nullptr));
  ERR_clear_error();
  OPENSSL_cleanse(key_pem->data(), key_pem->size());
  if (key == nullptr) {
    return Unusable("key", listener.key(), "has no private key in PEM form without pass phrase");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    return Unusable("key", listener.key(),
                    absl::StrCat("is not the key of ", listener.certificate(), ": ", TlsError()));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(chain.front().get())) < 0) {
    warnings.push_back(absl::StrCat("the certificate in ", listener.certificate(),
                                    " has expired: clients will refuse it"));
  }
  return absl::OkStatus();
}

absl::Status UseClientCa(SSL_CTX* context, const v1::TcpListener& listener,
                         std::vector<std::string>& warnings) {
  const auto pem = ReadFile("client_ca", listener.client_ca(), false);
  if (!pem.ok()) return pem.status();
  const std::vector<X509Ptr> authorities = ReadCertificates(*pem);
  bool valid = false;
  for (const X509Ptr& authority : authorities) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return Unusable("client_ca", listener.client_ca(), "is refused: " + TlsError());
    }
    valid |= X509_cmp_current_time(X509_get0_notAfter(authority.get())) > 0;
  }
  if (authorities.empty()) {
    return Unusable("client_ca", listener.client_ca(), "has no certificate in PEM form");
  }
  if (!valid) {
    warnings.push_back(absl::StrCat("every CA in ", listener.client_ca(),
                                    " has expired: no client will be let in"));
  }
  return absl::OkStatus();
}

// gRPC clients insist on "h2".
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* length,
                   const unsigned char* offered, unsigned int offered_length, void*) {
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, kH2, sizeof(kH2), offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

// Absent for what is no name to go by: empty, huge, or with a zero inside, which one program reads
// as an end and another does not.
std::optional<std::string> NameIn(const ASN1_STRING* string) {
  const auto* data = reinterpret_cast<const char*>(ASN1_STRING_get0_data(string));
  const size_t length = ASN1_STRING_length(string);
  if (length == 0 || length > kMaxNameBytes || memchr(data, 0, length) != nullptr) return {};
  return std::string(data, length);
}

std::vector<std::string> AlternativeNames(X509* certificate) {
  std::vector<std::string> names;
  const NamesPtr all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; all != nullptr && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type != GEN_URI && name->type != GEN_DNS && name->type != GEN_EMAIL) continue;
    if (auto text = NameIn(name->d.ia5); text.has_value() && names.size() < kMaxNames) {
      names.push_back(*std::move(text));
    }
  }
  return names;
}

std::vector<std::string> CommonName(X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return {};
  const auto name = NameIn(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (!name.has_value()) return {};
  return {*name};
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Load(
    const v1::TcpListener& listener) {
  std::shared_ptr<TlsContext> tls(new TlsContext);
  tls->context_.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* context = tls->context_.get();
  if (context == nullptr) return absl::InternalError("no TLS context: " + TlsError());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_early_data(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  // Else one SSL_read goes on for as long as a client sends nothing but key updates.
  SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_verify_depth(context, kMaxDepth);
  SSL_CTX_set_alpn_select_cb(context, ChooseProtocol, nullptr);
  if (auto used = UseIdentity(context, listener, tls->warnings_); !used.ok()) return used;
  if (auto used = UseClientCa(context, listener, tls->warnings_); !used.ok()) return used;
  return std::shared_ptr<const TlsContext>(std::move(tls));
}

SslPtr TlsContext::Accept(int fd) const {
  SslPtr ssl(SSL_new(context_.get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), fd) != 1) return nullptr;
  SSL_set_accept_state(ssl.get());
  return ssl;
}

std::optional<Certificate> PeerCertificate(SSL* ssl) {
  const X509Ptr shown(SSL_get1_peer_certificate(ssl));
  if (shown == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return std::nullopt;
  Certificate certificate;
  certificate.names = AlternativeNames(shown.get());
  if (certificate.names.empty()) certificate.names = CommonName(shown.get());
  std::tm expires{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(shown.get()), &expires) != 1) return std::nullopt;
  certificate.expires = std::chrono::system_clock::from_time_t(timegm(&expires));
  return certificate;
}

std::string TlsError() {
  const unsigned long error = ERR_peek_error();
  const char* reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return reason != nullptr ? reason : "no reason given";
}

}  // namespace vmqd::rpc

// ClientStream: a client's connection as bytes, plain on a unix socket, decrypted on a TCP one.
// Never blocks. The front's thread.
#ifndef VMQD_DAEMON_RPC_CLIENT_STREAM_H_
#define VMQD_DAEMON_RPC_CLIENT_STREAM_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "daemon/rpc/descriptor.h"
#include "daemon/rpc/tls.h"

namespace vmqd::rpc {

class ClientStream {
 public:
  // `tls` nullptr: plain.
  ClientStream(Descriptor socket, SslPtr tls);
  ~ClientStream();  // says good-bye where TLS has one
  ClientStream(const ClientStream&) = delete;
  ClientStream& operator=(const ClientStream&) = delete;

  enum class Io { kDone, kAgain, kEnd, kFailed };

  // To be called until kDone, before anything else.
  Io Handshake();
  // kDone: at least one byte was moved and `moved` says how many.
  Io Read(char* to, size_t room, size_t& moved);
  Io Write(const char* from, size_t length, size_t& moved);

  // Bytes that came over the wire since the last call.
  uint64_t TakeWireBytes();
  // Whether the last call waits for the socket to become writable, whatever it was.
  bool wants_write() const { return wants_write_; }
  // What the client's certificate says, after the handshake; absent on a plain stream.
  std::optional<Certificate> certificate() const;
  // Of kFailed, in words.
  const std::string& error() const { return error_; }
  int fd() const { return socket_.get(); }

 private:
  Io Outcome(int result);

  Descriptor socket_;
  SslPtr tls_;
  bool shaken_ = false;
  bool broken_ = false;
  bool wants_write_ = false;
  uint64_t plain_bytes_ = 0;
  uint64_t wire_bytes_taken_ = 0;
  std::string error_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_CLIENT_STREAM_H_

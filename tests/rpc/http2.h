// HTTP/2 frames written by hand, for clients that do not behave.
#ifndef VMQD_TESTS_RPC_HTTP2_H_
#define VMQD_TESTS_RPC_HTTP2_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace vmqd::rpc {

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113, section 4.1.
inline std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame += static_cast<char>(payload.size() >> shift);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(stream >> shift);
  return frame + payload;
}

// HPACK, a literal without indexing and without Huffman (RFC 7541, section 6.2.2); short strings.
inline std::string Field(const std::string& name, const std::string& value) {
  std::string field(1, '\0');
  for (const std::string& part : {name, value}) {
    field += static_cast<char>(part.size());
    field += part;
  }
  return field;
}

// The header block of a call.
inline std::string CallHeaders(const std::string& path) {
  return Field(":method", "POST") + Field(":scheme", "http") + Field(":path", path) +
         Field(":authority", "localhost") + Field("te", "trailers") +
         Field("content-type", "application/grpc");
}

}  // namespace vmqd::rpc

#endif  // VMQD_TESTS_RPC_HTTP2_H_

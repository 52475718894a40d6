// Frames are written front to back; lengths and checksums are filled in at the end.
#include "tests/support/frame_builder.h"

namespace vmqd::testing {
namespace {

void Put16(Bytes& out, uint32_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}
void Put32(Bytes& out, uint32_t value) {
  Put16(out, value >> 16);
  Put16(out, value & 0xffff);
}
void PutAll(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }
void Set16(Bytes& out, size_t at, uint32_t value) {
  out[at] = static_cast<uint8_t>(value >> 8);
  out[at + 1] = static_cast<uint8_t>(value);
}

uint8_t ProtocolOf(const FrameSpec& spec) { return spec.udp ? 17 : 6; }

void PutEthernet(Bytes& out, const MacAddress& destination, const MacAddress& source,
                 const std::vector<VlanTag>& tags, uint16_t type) {
  out.insert(out.end(), destination.bytes.begin(), destination.bytes.end());
  out.insert(out.end(), source.bytes.begin(), source.bytes.end());
  for (const VlanTag& tag : tags) {
    Put16(out, tag.type);
    Put16(out, tag.control);
  }
  Put16(out, type);
}

void PutIpv4(Bytes& out, const FrameSpec& spec) {
  out.push_back(static_cast<uint8_t>(0x40 | (5 + spec.ipv4_options.size() / 4)));
  out.push_back(spec.traffic_class);
  Put16(out, 0);  // total length, set later
  Put16(out, spec.ip_id);
  Put16(out, spec.ipv4_fragment);
  out.push_back(spec.hop_limit);
  out.push_back(ProtocolOf(spec));
  Put16(out, 0);  // checksum, set later
  Put32(out, 0x0a000000u | spec.host);
  Put32(out, 0x0a000001);
  PutAll(out, spec.ipv4_options);
}

void PutIpv6(Bytes& out, const FrameSpec& spec) {
  const auto& chain = spec.extensions;
  Put32(out, 0x60012345u | uint32_t{spec.traffic_class} << 20);
  Put16(out, 0);  // payload length, set later
  out.push_back(chain.empty() ? ProtocolOf(spec) : chain.front().type);
  out.push_back(spec.hop_limit);
  for (uint8_t host : {spec.host, uint8_t{1}}) {
    PutAll(out, {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host});
  }
  for (size_t i = 0; i < chain.size(); ++i) {
    out.push_back(i + 1 < chain.size() ? chain[i + 1].type : ProtocolOf(spec));
    out.push_back(static_cast<uint8_t>((chain[i].body.size() + 2) / 8 - 1));
    PutAll(out, chain[i].body);
  }
}

void PutTransport(Bytes& out, const FrameSpec& spec) {
  Put16(out, spec.source_port);
  Put16(out, 80);
  if (spec.udp) {
    Put16(out, static_cast<uint32_t>(8 + spec.payload.size()));
    Put16(out, 0);
    return;
  }
  Put32(out, spec.tcp_sequence);
  Put32(out, spec.tcp_acknowledged);
  out.push_back(static_cast<uint8_t>((5 + spec.tcp_options.size() / 4) << 4));
  out.push_back(spec.tcp_flags);
  Put16(out, spec.tcp_window);
  Put16(out, 0);  // checksum, set later
  Put16(out, spec.tcp_urgent);
  PutAll(out, spec.tcp_options);
}

uint16_t PseudoHeaderSum(const BuiltFrame& frame, const FrameSpec& spec) {
  const uint8_t* ip = frame.bytes.data() + frame.network;
  const auto length = static_cast<uint32_t>(frame.bytes.size() - frame.transport);
  const uint32_t sum = ProtocolOf(spec) + length;
  if (!spec.ipv6) return ReferenceSum(ip + 12, 8, sum);
  if (spec.final_destination.empty()) return ReferenceSum(ip + 8, 32, sum);
  return ReferenceSum(spec.final_destination.data(), 16, ReferenceSum(ip + 8, 16, sum));
}

void SetTransportChecksum(BuiltFrame& frame, const FrameSpec& spec) {
  if (spec.checksum == Checksum::kNone) return;
  const uint16_t pseudo = PseudoHeaderSum(frame, spec);
  if (spec.checksum == Checksum::kPartial) return Set16(frame.bytes, frame.field, pseudo);
  uint16_t sum = ~ReferenceSum(frame.bytes.data() + frame.transport,
                               frame.bytes.size() - frame.transport, pseudo);
  if (spec.udp && sum == 0) sum = 0xffff;
  Set16(frame.bytes, frame.field, sum);
}

void SetNetworkLengths(BuiltFrame& frame, const FrameSpec& spec) {
  const auto length = static_cast<uint32_t>(frame.bytes.size() - frame.network);
  if (spec.ipv6) return Set16(frame.bytes, frame.network + 4, length - 40);
  Set16(frame.bytes, frame.network + 2, length);
  const uint16_t sum =
      ReferenceSum(frame.bytes.data() + frame.network, 20 + spec.ipv4_options.size());
  Set16(frame.bytes, frame.network + 10, static_cast<uint16_t>(~sum));
}

}  // namespace

BuiltFrame Build(const FrameSpec& spec) {
  BuiltFrame frame;
  Bytes& out = frame.bytes;
  PutEthernet(out, spec.destination, spec.source, spec.tags, spec.ipv6 ? 0x86dd : 0x0800);
  frame.network = out.size();
  spec.ipv6 ? PutIpv6(out, spec) : PutIpv4(out, spec);
  frame.transport = out.size();
  frame.field = out.size() + (spec.udp ? 6 : 16);
  PutTransport(out, spec);
  frame.payload = out.size();
  PutAll(out, spec.payload);
  SetNetworkLengths(frame, spec);
  SetTransportChecksum(frame, spec);
  out.insert(out.end(), spec.padding, 0xa5);
  return frame;
}

Bytes EthernetFrame(const MacAddress& destination, const MacAddress& source,
                    const std::vector<VlanTag>& tags, uint16_t ether_type, size_t length) {
  Bytes out;
  PutEthernet(out, destination, source, tags, ether_type);
  if (length > out.size()) PutAll(out, Pattern(length - out.size()));
  out.resize(length);
  return out;
}

Bytes Pattern(size_t length, uint8_t first) {
  Bytes out(length);
  for (size_t i = 0; i < length; ++i) out[i] = static_cast<uint8_t>((first + i) % 251);
  return out;
}

uint16_t ReferenceSum(const uint8_t* data, size_t length, uint32_t sum) {
  for (size_t i = 0; i < length; ++i) {
    sum += i % 2 == 0 ? data[i] * 256u : data[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>((sum & 0xffff) + (sum >> 16));
}

}  // namespace vmqd::testing

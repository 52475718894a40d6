// See state_record.h.
#include "daemon/store/state_record.h"

#include <zlib.h>

#include <array>
#include <limits>

namespace vmqd {
namespace {

constexpr std::string_view kMagic = "vmqstate";
constexpr size_t kVersionAt = 8;
constexpr size_t kHeaderCrcAt = 12;
constexpr size_t kCrcAt = 4;
constexpr size_t kRevisionAt = 8;

// What FindRecord reads at most, bytes: damaged lengths may point anywhere, and a start must not
// take minutes. A hundred times what a file of an ordinary switch has.
constexpr size_t kSearchBytes = size_t{256} << 20;

template <typename T>
void Store(T value, char* out) {
  for (size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<char>(value >> (8 * i));
}

template <typename T>
T Load(std::string_view file, size_t place) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= T{static_cast<uint8_t>(file[place + i])} << (8 * i);
  }
  return value;
}

uint32_t Crc(std::string_view bytes, uint32_t seed = 0) {
  return static_cast<uint32_t>(
      crc32_z(seed, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t RecordCrc(size_t place, uint32_t length, uint64_t revision, std::string_view payload) {
  std::array<char, 20> covered;
  Store<uint64_t>(place, covered.data());
  Store<uint32_t>(length, covered.data() + 8);
  Store<uint64_t>(revision, covered.data() + 12);
  return Crc(payload, Crc({covered.data(), covered.size()}));
}

}  // namespace

std::string StateHeader(uint32_t format) {
  std::string header(kStateHeaderBytes, '\0');
  kMagic.copy(header.data(), kMagic.size());
  Store(format, header.data() + kVersionAt);
  Store(Crc(std::string_view(header).substr(0, kHeaderCrcAt)), header.data() + kHeaderCrcAt);
  return header;
}

std::optional<uint32_t> StateFormatOf(std::string_view file) {
  if (file.size() < kStateHeaderBytes || file.substr(0, kMagic.size()) != kMagic) return {};
  if (Load<uint32_t>(file, kHeaderCrcAt) != Crc(file.substr(0, kHeaderCrcAt))) return {};
  return Load<uint32_t>(file, kVersionAt);
}

std::string MakeRecord(size_t place, uint64_t revision_before, std::string_view payload) {
  const auto length = static_cast<uint32_t>(payload.size());
  std::string record(kRecordHeadBytes, '\0');
  Store(length, record.data());
  Store(RecordCrc(place, length, revision_before, payload), record.data() + kCrcAt);
  Store(revision_before, record.data() + kRevisionAt);
  return record.append(payload);
}

std::optional<RecordView> ReadRecord(std::string_view file, size_t place) {
  if (place > file.size() || file.size() - place < kRecordHeadBytes) return {};
  const uint32_t length = Load<uint32_t>(file, place);
  if (length > file.size() - place - kRecordHeadBytes) return {};
  const uint64_t revision = Load<uint64_t>(file, place + kRevisionAt);
  const std::string_view payload = file.substr(place + kRecordHeadBytes, length);
  if (Load<uint32_t>(file, place + kCrcAt) != RecordCrc(place, length, revision, payload)) {
    return {};
  }
  return RecordView{revision, payload, place + kRecordHeadBytes + length};
}

std::optional<size_t> FindRecord(std::string_view file, size_t from) {
  size_t budget = kSearchBytes;
  for (size_t place = from; place + kRecordHeadBytes <= file.size(); ++place) {
    const size_t length = Load<uint32_t>(file, place);
    if (length > file.size() - place - kRecordHeadBytes) continue;
    if (length + kRecordHeadBytes > budget) return {};
    budget -= length + kRecordHeadBytes;
    if (ReadRecord(file, place).has_value()) return place;
  }
  return {};
}

}  // namespace vmqd

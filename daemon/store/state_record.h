// The framing of a state file: bytes in, bytes out; no I/O, no protobuf. Pure functions; any
// thread.
//
//   header   "vmqstate", u32 format version, u32 crc32 of the twelve bytes before
//   records  u32 length of payload, u32 crc32, u64 revision the state had before it, payload
//   mark     a record without payload: the end. It is overwritten by the next record, so that a
//            file that was cut short, even between two records, does not look like a whole one.
//
// All integers are little-endian. The crc32 of a record covers its place in the file too, so that
// bytes of another place are never taken for a record; the revision keeps a record from being
// applied to any other state than the one it was made for.
//
// The format version grows whenever a daemon of before would misread, or lose, what is written: a
// daemon refuses a newer version than it knows. The header and its place stay as they are.
#ifndef VMQD_DAEMON_STORE_STATE_RECORD_H_
#define VMQD_DAEMON_STORE_STATE_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmqd {

inline constexpr uint32_t kStateFormat = 1;
inline constexpr size_t kStateHeaderBytes = 16;
inline constexpr size_t kRecordHeadBytes = 16;

std::string StateHeader(uint32_t format = kStateFormat);
// The version; absent: the header is damaged.
std::optional<uint32_t> StateFormatOf(std::string_view file);

// A record for byte `place` of a file. The mark is one with an empty payload.
std::string MakeRecord(size_t place, uint64_t revision_before, std::string_view payload);

struct RecordView {
  uint64_t revision_before = 0;
  std::string_view payload;  // into the file; empty: the mark
  size_t end = 0;            // of the record in the file, bytes
};
// The record at `place`; absent: none, or a damaged one.
std::optional<RecordView> ReadRecord(std::string_view file, size_t place);

// Where the first whole record at or behind `from` begins, behind damage of any length.
std::optional<size_t> FindRecord(std::string_view file, size_t from);

}  // namespace vmqd

#endif  // VMQD_DAEMON_STORE_STATE_RECORD_H_
